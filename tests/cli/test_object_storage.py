"""A model's whole life on an S3 server that fails now and then."""

import json

import pytest
from s3_server import serve

import bertsmith
from bertsmith.cli.main import main
from bertsmith.core import mirror, remote

pytest.importorskip("obstore")

FAULTS = {3: "500", 5: "cut", 7: "drop", 11: "500", 13: "slow", 17: "cut"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with (
        serve(tmp_path_factory.mktemp("s3")) as server,
        pytest.MonkeyPatch.context() as changes,
    ):
        changes.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.01)
        changes.setattr(mirror, "_PUSH_SECONDS", 0.2)
        yield server


def on_machine(monkeypatch, tmp_path, name):
    """Goes on where nothing is in the cache yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def test_prepare_pretrain_resume_finetune_and_predict_on_a_faulty_server(
    store, tmp_path, monkeypatch, capsys
):
    files = store.folder / "bucket"
    (files / "texts").mkdir()
    words = "red green blue old new big small warm cold kind".split()
    sentences = [f"The {a} thing is {b}." for a in words for b in words]
    texts = [" ".join(sentences[i : i + 5]) for i in range(0, 100, 5)]
    (files / "texts" / "a.txt").write_text("\n\n".join(texts))
    rows = [{"text": f"A {word} day.", "label": str(word < "k")} for word in words] * 8
    (files / "texts" / "task.jsonl").write_text("\n".join(map(json.dumps, rows)))
    # Of all requests together some fail in every way there is; the next of the kind passes.
    store.fault = lambda method, path, number: FAULTS.get(sum(store.requests.values()) % 19, "")

    def run(*words: str) -> str:
        assert main(words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    s3 = "s3://bucket"
    on_machine(monkeypatch, tmp_path, "one")
    run("tokenizer", "train", f"{s3}/texts/*.txt", "--out", f"{s3}/tokenizer", "--vocab-size", "90")
    prepared = ["prepare", f"{s3}/texts/a.txt", "--tokenizer", f"{s3}/tokenizer"]
    prepared += ["--held-out", "0.2", "--workers", "1", "--out"]
    out = run(*prepared, f"{s3}/corpus")
    assert f"pretrain --data {s3}/corpus" in out
    run(*prepared, str(tmp_path / "corpus"))
    for path in (tmp_path / "corpus").rglob("*.*"):
        name = path.relative_to(tmp_path).as_posix()
        assert (files / name).read_bytes() == path.read_bytes()
    run(*prepared, f"{s3}/corpus")  # done: nothing changes

    # A run that ends at step 4 on one machine and goes on to step 8 on another.
    pretrain = ["pretrain", "--data", f"{s3}/corpus", "--size", "tiny", "--batch-size", "4"]
    pretrain += ["--phases", "32:1", "--seed", "1", "--save-every", "4", "--steps", "8"]
    run(*pretrain, "--out", f"{s3}/model")
    model = store.files("bucket/model")
    assert {"config.json", "model.safetensors", "metrics.jsonl"} <= model.keys()
    assert json.loads(model["pretrain.json"])["data"] == f"{s3}/corpus"
    for name in model:
        if name in ("config.json", "model.safetensors") or "step-00000008" in name:
            remote.RemoteFolder(f"{s3}/model").remove(name)
    on_machine(monkeypatch, tmp_path, "two")
    assert main([*pretrain, "--out", f"{s3}/model"]) == 2
    assert f"--out {s3}/model already holds a pre-training run" in capsys.readouterr().err
    run(*pretrain, "--out", f"{s3}/model", "--resume")
    assert store.files("bucket/model")["model.safetensors"] == model["model.safetensors"]
    assert store.files("bucket/model").keys() >= model.keys()

    tune = ["finetune", "classification", "--model", f"{s3}/model", "--epochs", "1"]
    out = run(*tune, "--train", f"{s3}/texts/task.jsonl", "--out", f"{s3}/tuned")
    assert f"bertsmith serve {s3}/tuned" in out
    on_machine(monkeypatch, tmp_path, "three")
    answer = bertsmith.load(f"{s3}/tuned").predict("A warm day.")
    assert answer.label in ("True", "False")
    run("predict", f"{s3}/tuned", f"{s3}/texts/task.jsonl", "--out", f"{s3}/answers.jsonl")
    assert len((files / "answers.jsonl").read_text().splitlines()) == len(rows)
    assert all(store.faults[fault] > 5 for fault in ("500", "cut", "drop", "slow"))


def test_a_server_that_is_gone_is_an_error_that_says_what_to_do(store, capsys, monkeypatch):
    store.fault = lambda method, path, number: "500"
    assert main(["fill", "s3://bucket/tuned", "A [MASK] day."]) == 2
    error = capsys.readouterr().err
    assert "s3://bucket/tuned" in error
    assert "check the address, the network and the credentials" in error
    assert "Traceback" not in error
    store.fault = lambda method, path, number: ""
