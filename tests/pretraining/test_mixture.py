"""Training on several corpora with weights."""

import json

import numpy as np
import pytest
from conftest import write_toy_corpus

from bertsmith.cli.main import main
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.storage import checksum
from bertsmith.corpus.mixture import PERIOD, Interleaving, open_data, parse_mixture
from bertsmith.corpus.shards import Corpus
from bertsmith.pretraining.batches import Batches


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    for number, name in enumerate(("a", "b", "c")):
        write_toy_corpus(root / name, seed=number, documents=20 + 30 * number)
    write_toy_corpus(root / "other", unused=["more"])
    return root


def test_a_mixture_is_read_from_words(tmp_path, monkeypatch):
    assert parse_mixture("wiki") == [("wiki", 1.0)]
    assert parse_mixture("s3://b/x=0.5,y/z=2") == [("s3://b/x", 0.5), ("y/z", 2.0)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=1,b").mkdir()
    assert parse_mixture("a=1,b") == [("a=1,b", 1.0)]
    for text, why in (
        ("a,b=1", "'a' is no corpus with a weight"),
        ("a=x,b=1", "'a=x' is no corpus with a weight"),
        ("a=0,b=1", "the weight of a must be above 0"),
        ("a=inf,b=1", "the weight of a must be above 0"),
        ("a=1,a=2", "names a twice"),
    ):
        with pytest.raises(UsageError, match=why):
            parse_mixture(text)


def test_examples_of_the_sources_alternate_evenly_and_add_up():
    row = Interleaving([7000, 2500, 500])
    counts = np.array([row.counts(n) for n in (*range(30), 9_999, 10_000, 10_001, 10**12)])
    assert (counts.sum(axis=1) == [*range(30), 9_999, 10_000, 10_001, 10**12]).all()
    assert counts[-1].tolist() == [7 * 10**11, 25 * 10**10, 5 * 10**10]
    assert (np.diff(counts[:30], axis=0) >= 0).all()
    for n in (10, 100, 5_003):
        assert np.abs(row.counts(n) - n * np.array([0.7, 0.25, 0.05])).max() < 1.5


def sources_of(batches: Batches, corpus: Corpus, steps: range) -> list[np.ndarray]:
    """Of each step, where in the split its examples begin."""
    found = []
    for step in steps:
        first, end = (batches._interleaving.counts(n * 8).tolist() for n in (step, step + 1))
        each = zip(batches._streams, first, end, strict=True)
        found.append(np.concatenate([s.examples(a, b)["a_start"] for s, a, b in each]))
    return found


def test_batches_have_the_shares_and_every_document_of_a_source_comes_in_its_epoch(corpora):
    corpus = open_data(f"{corpora}/a=0.5,{corpora}/b=0.25,{corpora}/c=0.25")
    sizes = [Corpus.open(corpora / name).split("train").token_count for name in "abc"]
    bounds = np.cumsum([0, *sizes])
    assert corpus.split("train").token_count == bounds[-1] == corpus.manifest.tokens("train")

    def batches(**changes):
        return Batches(
            corpus.split("train"),
            corpus.tokenizer,
            sources=corpus.sources,
            length=32,
            batch_size=8,
            pair_task="none",
            **changes,
        )

    with batches() as made, batches(seed=1) as other:
        starts = sources_of(made, corpus, range(200))
        for step in starts:
            assert np.histogram(step, bounds)[0].tolist() == [4, 2, 2]
        # The text that an example shows is that of its corpus.
        [whole] = made.at(3)
        assert len(whole.packed.lengths) == 8
        dealt = [made.at(3, rank, 2) for rank in range(2)]
        assert sum(len(batch.packed.lengths) for [batch] in dealt) == 8
        ids = sorted(i for [batch] in dealt for i in batch.packed.ids_T.tolist())
        assert ids == sorted(whole.packed.ids_T.tolist())
        assert not np.array_equal(np.concatenate(sources_of(other, corpus, range(200))), starts)
        cursor = made.cursor
        assert {"pool", "pool-1", "pool-2"} <= cursor.keys()
        [after] = made.at(150)
    with batches(cursor=cursor) as resumed:
        [again] = resumed.at(150)
        assert again.packed.ids_T.tolist() == after.packed.ids_T.tolist()
    flat = np.concatenate(starts)
    split = corpus.split("train")
    documents = np.append(
        split.sentence_starts(split.sentence_ranges(np.arange(split.document_count))[0]),
        split.token_count,
    )
    seen = np.unique(np.searchsorted(documents, flat, side="right") - 1)
    assert len(seen) == split.document_count


def test_counts_for_the_baseline_are_by_weight(corpora):
    plain = [Corpus.open(corpora / name) for name in "ab"]
    mixed = open_data(f"{corpora}/a=3,{corpora}/b=1")
    shares = [one.unigrams_V / one.unigrams_V.sum() for one in plain]
    wanted = 0.75 * shares[0] + 0.25 * shares[1]
    assert mixed.unigrams_V / mixed.unigrams_V.sum() == pytest.approx(wanted, abs=1e-3)
    held = [one.split("heldout").document_count for one in plain]
    assert mixed.split("heldout").document_count == sum(held)


def test_what_cannot_be_mixed_is_named(corpora):
    with pytest.raises(FolderError, match=r"other was prepared with another tokenizer than .*/a;"):
        open_data(f"{corpora}/a=1,{corpora}/other=1")
    with pytest.raises(UsageError, match=f"weight of {corpora}/b is less than 1/{PERIOD:,}"):
        open_data(f"{corpora}/a=1,{corpora}/b=1e-9")


def test_a_run_on_a_mixture_resumes_to_the_same_model(corpora, tmp_path, capsys):
    data = f"{corpora}/a=0.7,{corpora}/b=0.3"
    command = ["pretrain", "--data", data, "--size", "tiny", "--batch-size", "4", "--phases"]
    command += ["32:1", "--save-every", "3", "--steps", "6"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    assert main([*command, "--out", str(tmp_path / "two")]) == 0
    two = tmp_path / "two"
    for path in (two / "model.safetensors", two / "config.json"):
        path.unlink()
    for path in sorted((two / "checkpoints" / "step-00000006").iterdir()):
        path.unlink()
    (two / "checkpoints" / "step-00000006").rmdir()
    changed = [*command[:2], data.replace("0.7", "0.8"), *command[3:]]
    assert main([*changed, "--out", str(two), "--resume"]) == 2
    assert "data" in capsys.readouterr().err
    assert main([*command, "--out", str(two), "--resume"]) == 0
    sums = {checksum(tmp_path / name / "model.safetensors") for name in ("one", "two")}
    assert len(sums) == 1
    assert json.loads((two / "pretrain.json").read_text())["data"] == data
