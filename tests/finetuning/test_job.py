"""One contract for every task of the paper, and the job around the runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import official_files
import pytest
from safetensors.numpy import load_file, save_file

from bertsmith.cli.main import main
from bertsmith.core.errors import DataError, FolderError, UsageError
from bertsmith.core.storage import read_json
from bertsmith.finetuning.best_epoch import read_predictions
from bertsmith.finetuning.data import Source, read
from bertsmith.finetuning.job import Job, finetune
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.inference.evaluation import Evaluation, evaluate
from bertsmith.inference.files import predict_file
from bertsmith.inference.predictor import Model
from bertsmith.tasks.datasets.registry import TASKS, load
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.task_config import Columns
from bertsmith.text.tokenizer.tokenizer import SPECIAL

FAST = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


def job(task: str, model: Path, data: Path, **more: object) -> Job:
    return Job(source=Source(task=task, data=str(data)), model=str(model), settings=FAST, **more)


def test_every_row_of_the_table_has_files() -> None:
    assert len(TASKS) == 13
    assert sorted(official_files.WRITERS) == sorted(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_trains_evaluates_predicts_and_reloads(
    name: str, small_model: Path, tmp_path: Path
) -> None:
    official_files.WRITERS[name](tmp_path / "data" / name)
    task = TASKS[name]
    result = finetune(job(name, small_model, tmp_path / "data"), tmp_path / "out", show=list)
    dev_parts = [part for part in task.files if part.startswith("dev")]
    assert list(result.best_run.scores) == dev_parts
    for part in dev_parts:
        assert tuple(result.best_run.scores[part]) == task.metrics
        for metric, value in result.best_run.scores[part].items():
            # An error has no upper end; every other score lies between -1 and 1.
            assert value is None or -1 <= value <= (5 if metric == "mae" else 1)
    # Evaluation of the folder gives the scores that training told.
    predictor = Model(tmp_path / "out")
    found = evaluate(predictor, tmp_path / "data", columns=Columns())
    assert isinstance(found, Evaluation)
    for part in dev_parts:
        # A regression's scale is folded into its weights, which rounds them.
        close = 1e-4 if task.kind.is_number else 1e-6
        assert found.parts[part].scores == pytest.approx(result.best_run.scores[part], abs=close)
    # The reloaded model says what the run said.
    dev = load(tmp_path / "data", task, result.deciding)
    told = read_predictions(Path(result.best_run.out), kind_named(result.kind))
    again = predictor.predict(dev)
    assert [type(one) for one in again] == [type(one) for one in told]
    assert [_shown(one) for one in again] == [_shown(one) for one in told]
    # An official file without labels, as many rows out as in.
    part = "test" if name not in ("squad", "squad2") else "dev"
    source = next(path for path in (tmp_path / "data" / name).iterdir() if part in path.stem)
    done = predict_file(predictor, source, tmp_path / "answers.jsonl", columns=Columns())
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert len(lines) == done.rows > 3
    assert ("predicted_tags" if name == "conll2003" else "predicted") in json.loads(lines[0])
    assert (tmp_path / "out" / "report.html").read_bytes().startswith(b"<!doctype html>")


def _shown(prediction: object) -> object:
    """Numbers to four places: batches differ, and so do the last bits."""
    return json.loads(
        json.dumps(msgspec.to_builtins(prediction)),
        parse_float=lambda text: round(float(text), 4),
    )


def test_seeds_are_averaged_and_more_can_be_added(small_model: Path, tmp_path: Path) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    out = tmp_path / "out"
    finetune(job("rte", small_model, tmp_path, seeds=2), out, show=list)
    first = [path.stat().st_mtime_ns for path in sorted(out.glob("runs/*/result.json"))]
    result = finetune(job("rte", small_model, tmp_path, seeds=3), out, resume=True, show=list)
    after = [path.stat().st_mtime_ns for path in sorted(out.glob("runs/*/result.json"))]
    assert after[:2] == first
    assert [run.seed for run in result.runs] == [0, 1, 2]
    scores = [run.scores["dev"]["accuracy"] for run in result.runs if not run.degenerate]
    sound = scores or [run.scores["dev"]["accuracy"] for run in result.runs]
    summary = result.summary["dev"]["accuracy"]
    assert summary.mean == pytest.approx(np.mean(sound))
    assert summary.deviation == pytest.approx(np.std(sound, ddof=1) if len(sound) > 1 else 0)
    assert summary.runs == len(sound)
    assert len(list(out.glob("runs/*/best"))) == 1, "only the best model is kept"
    assert read_json(out / "results.json", FinetuneResult) == result


def test_a_job_goes_on_wherever_its_files_lie(small_model: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    official_files.WRITERS["rte"](old / "data" / "rte")
    shutil.copytree(small_model, old / "model")
    finetune(job("rte", old / "model", old / "data"), old / "out", show=list)
    first = (old / "out" / "results.json").read_bytes()
    old.rename(new)
    [done] = new.glob("out/runs/*/result.json")
    before = done.stat().st_mtime_ns
    moved = Job(
        source=Source(task="rte", data=str(new / "data")),
        model=str(new / "model"),
        # Of no account: another order, a default that is said, and tokens computed at once.
        settings={"micro_tokens": 64, "seed": 0, **dict(reversed(FAST.items()))},
        seeds=2,
    )
    result = finetune(moved, new / "out", resume=True, show=list)
    assert done.stat().st_mtime_ns == before
    assert [run.seed for run in result.runs] == [0, 1]
    assert read_json(new / "out" / "job.json", Job) == moved
    assert msgspec.json.decode(first)["runs"][0]["scores"] == result.runs[0].scores
    # Other examples, another tokenizer or other weights are another job.
    train = new / "data" / "rte" / "train.tsv"
    text = train.read_text()
    train.write_text(text.replace("red", "new"))
    with pytest.raises(FolderError, match=r"^The examples are not what .*/out was begun with; "):
        finetune(moved, new / "out", resume=True, show=list)
    train.write_text(text)
    other = msgspec.structs.replace(moved, settings=FAST | {"learning_rate": 2e-3})
    with pytest.raises(UsageError, match=r"0\.001 -> 0\.002\); use the same settings"):
        finetune(other, new / "out", resume=True, show=list)
    weights = new / "model" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, weights)
    with pytest.raises(FolderError, match=r"^The model's weights are not what "):
        finetune(moved, new / "out", resume=True, show=list)


def test_a_job_killed_in_its_first_moment_can_be_begun_again(
    small_model: Path, tmp_path: Path
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "identity.json").write_text("{}")
    result = finetune(job("rte", small_model, tmp_path), tmp_path / "out", show=list)
    assert len(result.runs) == 1


def flip(path: Path) -> None:
    """Changes a bit in the middle, where headers and ends do not show it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_damage_of_a_finished_job_is_named_when_it_is_continued(
    small_model: Path, tmp_path: Path, how: str
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    out = tmp_path / "out"
    todo = job("rte", small_model, tmp_path)
    finetune(todo, out, show=list)
    [run] = (out / "runs").iterdir()
    paths = [out / "identity.json", out / "job.json", run / "finetune.json", run / "result.json"]
    paths += [run / "predictions.jsonl", *sorted((run / "best").iterdir())]
    assert len(paths) == 12
    published = (out / "model.safetensors").read_bytes()
    for path in paths:
        whole = path.read_bytes()
        if how == "flip":
            flip(path)
        elif how == "cut":
            path.write_bytes(whole[: len(whole) * 9 // 10])
        elif path.name not in ("job.json", "result.json"):  # these say that there is a job, a run
            path.unlink()
        else:
            continue
        with pytest.raises(FolderError) as caught:
            finetune(todo, out, resume=True, show=list)
        assert str(path) in str(caught.value)
        assert (out / "config.json").is_file()
        assert (out / "model.safetensors").read_bytes() == published
        path.write_bytes(whole)
    assert finetune(todo, out, resume=True, show=list).runs[0].seed == 0


def test_errors_call_the_model_as_the_user_does(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    broken = tmp_path / "site-packages" / "model"
    shutil.copytree(small_model, broken)
    pieces = [*SPECIAL, *(f"piece{number}" for number in range(1995))]
    (broken / "vocab.txt").write_text("\n".join(pieces))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).unlink()
    monkeypatch.setattr("bertsmith.finetuning.job.resolve", lambda name: broken)
    with pytest.raises(
        FolderError, match=r"^minilm: the tokenizer has 2000 pieces, config\.json says"
    ):
        finetune(job("rte", Path("minilm"), tmp_path), tmp_path / "out", show=list)


def test_the_longest_input_is_told_as_it_came(small_model: Path, tmp_path: Path) -> None:
    long = "red " * 200
    lines = "".join(f"{official_files.text(n)} {long * (n == 7)},{n % 2}\n" for n in range(30))
    (tmp_path / "own.csv").write_text("text,label\n" + lines)
    (tmp_path / "dev.csv").write_text("text,label\nred,0\nblue,1\n")
    told: list[str] = []
    source = Source(
        task="classification", train=str(tmp_path / "own.csv"), dev=str(tmp_path / "dev.csv")
    )
    request = Job(source=source, model=str(small_model), settings=FAST)
    result = finetune(request, tmp_path / "out", show=told.append)
    assert result.lengths.longest == 205
    assert result.lengths.counts == {5: 29, 205: 1}
    assert "inputs: median 5 tokens, maximum 205 (limit 64)" in told
    assert "train: 1 inputs are too long and are truncated" in told


def test_a_sweep_keeps_every_result_and_the_best_model(small_model: Path, tmp_path: Path) -> None:
    official_files.WRITERS["wnli"](tmp_path / "wnli")
    source = Source(task="wnli", data=str(tmp_path))
    # What the user gave stays as it is: one epoch instead of Google's four.
    request = Job(source=source, model=str(small_model), sweep=True, settings={"epochs": 1})
    result = finetune(request, tmp_path / "out", show=list)
    assert {run.epochs for run in result.runs} == {1}
    assert len(result.runs) == 20, "Google's grid for small models: 4 rates, 5 batch sizes"
    best = max(run.main for run in result.runs)
    assert result.best_run.main == best
    assert len(list((tmp_path / "out").glob("runs/*/result.json"))) == 20
    assert len(list((tmp_path / "out").glob("runs/*/best"))) == 1


def test_a_job_is_not_overwritten(small_model: Path, tmp_path: Path) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    out = tmp_path / "out"
    finetune(job("rte", small_model, tmp_path), out, show=list)
    with pytest.raises(UsageError, match="already holds a fine-tuning; add resume=True"):
        finetune(job("rte", small_model, tmp_path), out, show=list)
    with pytest.raises(UsageError, match=r"sweep: False -> True; fixed: .*; use the same settings"):
        finetune(job("rte", small_model, tmp_path, sweep=True), out, resume=True, show=list)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="holds other files than a fine-tuning"):
        finetune(job("rte", small_model, tmp_path), tmp_path / "other", show=list)


OWN = "review,mark\n" + "".join(
    f"{official_files.text(n)} {official_files.text(n // 10)},{n % 2}\n" for n in range(40)
)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_own_files_from_the_command_line(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.csv").write_text(OWN)
    out = tmp_path / "out"
    flags = ["--model", small_model, "--text", "review", "--label", "mark", "--epochs", 1]
    assert (
        run("finetune", "classification", "--train", tmp_path / "own.csv", "--out", out, *flags)
        == 0
    )
    told = capsys.readouterr()
    assert "train: 36 examples: 0 50.0%, 1 50.0%" in told.err
    assert f"bertsmith predict {out} INPUT --out answers.jsonl" in told.out
    split = json.loads((out / "split.json").read_text())
    assert len(split["dev"]) == 4
    assert run("evaluate", out, "--data", tmp_path / "own.csv") == 0
    assert "own.csv: 40 examples" in capsys.readouterr().out
    assert run("predict", out, tmp_path / "own.csv", "--out", tmp_path / "said.csv") == 0
    rows = (tmp_path / "said.csv").read_text().splitlines()
    assert rows[0] == "review,mark,predicted,probability,probabilities"
    assert [row.split(",")[:2] for row in rows[1:]] == [
        row.split(",") for row in OWN.split("\n")[1:-1]
    ]


BAD = {
    "a wrong column": (
        OWN,
        ["--text", "reviw"],
        "no column 'reviw' (perhaps you meant 'review'); found 'review', 'mark': name another with "
        "--text.",
    ),
    "an empty text": (
        "review,mark\nred,0\n,1\n",
        [],
        "own.csv:3: the text in column 'review' is empty; remove the row.",
    ),
    "a ragged row": (
        "review,mark\nred,0\nblue,1,2\n",
        [],
        "own.csv:3: found 3 columns, expected 2 as in the header",
    ),
    "one class only": (
        "review,mark\n" + "red,0\ngreen,0\nblue,0\n",
        [],
        "this and every other example of train has the label '0'; add examples",
    ),
    "a label of its own for every text": (
        "review,mark\nred,a\nblue,b\nold,c\n",
        [],
        "own.csv:2: this and each of the 2 other examples has a different label, so none "
        "can be held out for dev; check that the right column is read, give more examples, or ",
    ),
    "too few texts to put one aside": (
        "review,mark\nred,a\nblue,b\nred,a\nred,a\n",
        [],
        "own.csv:2: the 2 different inputs from here on, with 2 labels, are too few",
    ),
    "no file": (None, [], "no such file or folder; check the spelling"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_ends_in_a_sentence_and_leaves_nothing(
    what: str, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, flags, message = BAD[what]
    if content is not None:
        (tmp_path / "own.csv").write_text(content)
    columns = ["--text", "review", "--label", "mark", *flags]
    model = ["--model", small_model, "--out", tmp_path / "out"]
    assert run("finetune", "classification", "--train", tmp_path / "own.csv", *columns, *model) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "out").exists()


def test_a_label_of_dev_that_train_never_had(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nred,good\nblue,bad\n")
    (tmp_path / "dev.csv").write_text("text,label\nred,goood\n")
    source = Source(
        task="classification", train=str(tmp_path / "train.csv"), dev=str(tmp_path / "dev.csv")
    )
    with pytest.raises(DataError, match=r"dev\.csv:2: the label 'goood' of dev .*'good'"):
        finetune(Job(source=source, model=str(small_model)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_illegal_tags_are_named(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.conll").write_text("red B-X\nold I-X\n\nblue O\ngreen I-Y\n\nnew B-Y\n\n")
    source = Source(task="token-classification", train=str(tmp_path / "t.conll"), strict_tags=True)
    expected = r"t\.conll:5: the tag of word 2, 'green', is not allowed: 'I-Y' is after 'O'"
    with pytest.raises(DataError, match=expected):
        finetune(Job(source=source, model=str(small_model)), tmp_path / "out")


def test_labels_that_are_alike_are_told_or_joined(tmp_path: Path) -> None:
    names = ("Pos", "pos", "POS", "neg", "neg", "pos")
    rows = "".join(f"text {number},{names[number % 6]}\n" for number in range(60))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    for join, labels in ((False, ("POS", "Pos", "neg", "pos")), (True, ("neg", "pos"))):
        source = Source(task="classification", train=str(tmp_path / "t.csv"), merge_labels=join)
        parts = read(source, seed=1)
        assert parts.labels == labels
        [note] = parts.notes
        assert "'pos' (20), 'Pos' (10), 'POS' (10)" in note


def test_unknown_words_and_classes_that_are_numbers_are_told(
    small_model: Path, tmp_path: Path
) -> None:
    words = official_files.WORDS.split()
    rows = [f"{words[n % 10]} {words[n // 10]} 饕,{n % 25}.5" for n in range(75)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    source = Source(
        task="classification", train=str(tmp_path / "t.csv"), dev=str(tmp_path / "t.csv")
    )
    told: list[str] = []
    job = Job(source=source, model=str(small_model), settings=FAST)
    finetune(job, tmp_path / "out", show=told.append)
    assert any("33.3% of the tokens" in line and "[UNK]" in line for line in told)
    assert "labels: 25 classes, all of them numbers, which `regression` learns as such" in told


def test_a_slip_in_the_tags_of_entities_is_named(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.conll").write_text("red B-X\nold I-X\n\nblue O\ngreen b_y\n\nnew B-Y\n\n")
    source = Source(task="token-classification", train=str(tmp_path / "t.conll"))
    with pytest.raises(DataError) as caught:
        finetune(Job(source=source, model=str(small_model)), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 't.conll'}:5: the tag of word 2, 'green', is 'b_y' (perhaps you meant "
        "'B-Y'), expected O or a mark (B, I, E, S), a hyphen and a type, as most others are; "
        "correct it."
    )
    assert not (tmp_path / "out").exists()


def test_what_tags_are_taken_for_and_labels_that_contradict_are_told(
    small_model: Path, tmp_path: Path
) -> None:
    row = "red B-X\nold M-X\ngreen E-X\nblue {}\n\n"
    (tmp_path / "t.conll").write_text("".join(map(row.format, ("O", "S-Y", "O"))))
    (tmp_path / "d.conll").write_text(row.format("O").replace("red", "blue"))
    source = Source(
        task="token-classification", train=f"{tmp_path}/t.conll", dev=f"{tmp_path}/d.conll"
    )
    told: list[str] = []
    job = Job(source=source, model=str(small_model), settings=FAST | {"epochs": 1})
    finetune(job, tmp_path / "out", show=told.append)
    assert "tags: entities (X, Y), scheme BIOES" in told
    train = tmp_path / "t.conll"
    assert (
        "train: 2 examples repeat an earlier one, 1 of them with another label, e.g. "
        f"{train}:6 = {train}:1"
    ) in told


def test_parts_of_speech_are_scored_word_by_word(small_model: Path, tmp_path: Path) -> None:
    words = official_files.WORDS.split()
    lines = "".join(
        f"{words[n % 10]} {'NN' if n % 2 else 'JJ'}\n" + "\n" * (n % 3 == 2) for n in range(60)
    )
    (tmp_path / "t.conll").write_text(lines)
    source = Source(task="token-classification", train=str(tmp_path / "t.conll"))
    told: list[str] = []
    result = finetune(
        Job(source=source, model=str(small_model), settings=FAST | {"epochs": 20}),
        tmp_path / "out",
        show=told.append,
    )
    assert "tags: one for each word alone (tags of entities would be O, B-TYPE, I-TYPE)" in told
    assert list(result.summary["dev"]) == ["tag_accuracy"]
    assert result.summary["dev"]["tag_accuracy"].mean > 0.9


def test_flags_of_the_other_sort_are_refused(small_model: Path, tmp_path: Path) -> None:
    def refused(message: str, **source: Any) -> None:
        with pytest.raises(UsageError, match=message):
            finetune(Job(source=Source(**source), model=str(small_model)), tmp_path / "out")

    refused("give their folder with data", task="rte", train="x.csv")
    refused("give the training file with train", task="classification", data="x")
    refused("train='/tmp' is a folder; give the one file", task="classification", train="/tmp")
    refused(
        "dev='/tmp' is a folder; give", task="token-classification", train="x.conll", dev="/tmp"
    )
    refused("skip_bad is for files of your own", task="rte", data="x", skip_bad=True)
    refused("merge_labels is for", task="regression", train="x.csv", merge_labels=True)
    refused("strict_tags is for", task="classification", train="x.csv", strict_tags=True)
    refused(
        "choices names a column that 'classification' does not read",
        task="classification",
        train="x.csv",
        columns=Columns(choices=("a", "b")),
    )
    refused(
        "label names a column, but official files have fixed columns",
        task="rte",
        data="x",
        columns=Columns(label="mark"),
    )
    refused("memory://none/rte does not exist or is empty", task="rte", data="memory://none/rte")
    refused(r"Unknown task 'rtee' \(perhaps you meant 'rte'\)", task="rtee", data="x")
    for seeds, expected in ((0, "at least 1"), (10**9, "at most 1,000")):
        with pytest.raises(UsageError, match=f"seeds is {seeds}; it must be {expected}"):
            finetune(
                Job(source=Source(task="rte", data="x"), model=str(small_model), seeds=seeds),
                tmp_path / "out",
            )
