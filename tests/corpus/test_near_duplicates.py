"""Near-duplicates against the exact Jaccard similarity of the sets."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from corpus_files import contents, texts, tokenizer_folder

from bertsmith.core.errors import UsageError
from bertsmith.corpus import blocks, selection
from bertsmith.corpus.near_duplicates import REPORT, band_width, signatures_of
from bertsmith.corpus.parts import Block, PartMaker
from bertsmith.corpus.prepare import prepare
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def changed(text: str, words: int, draw: random.Random) -> str:
    parts = text.split(" ")
    for place in draw.sample(range(len(parts)), words):
        parts[place] = "zzzz"
    return " ".join(parts)


def jaccard(one: list[int], other: list[int]) -> float:
    runs = [{tuple(ids[i : i + 5]) for i in range(len(ids) - 4)} for ids in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_signatures_estimate_the_similarity_of_the_sets(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder(tmp_path))
    draw = random.Random(0)
    plain = texts(12, seed=4)
    docs = [doc for text in plain for doc in (text, changed(text, draw.randint(1, 8), draw))]
    block = Block(tmp_path / "p", docs, [f"f:{n}" for n in range(len(docs))], len(docs), 0, 0)
    part = PartMaker(tokenizer, "en", "none").make(block)
    assert part.places_D == block.wheres
    signatures = signatures_of(part)
    assert signatures.shape == (24, 128)
    errors = []
    for number in range(0, 24, 2):
        ids = [tokenizer.encode_flat([doc])[0].tolist() for doc in docs[number : number + 2]]
        estimate = (signatures[number] == signatures[number + 1]).mean()
        errors.append(estimate - jaccard(*ids))
    # The standard error of one is at most 0.044.
    assert np.abs(errors).max() < 0.2
    assert abs(np.mean(errors)) < 0.05
    assert (signatures[0] == signatures[2]).mean() < 0.2


def test_bands_are_as_wide_as_the_threshold_allows() -> None:
    assert [band_width(one) for one in (0.5, 0.7, 0.8, 0.95, 1.0)] == [4, 4, 8, 16, 16]


def test_near_duplicates_are_dropped_counted_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(1)
    docs = texts(60, seed=5)
    close = {50: 3, 55: 3, 58: 20}
    for late, early in close.items():
        docs[late] = changed(docs[early], 1, draw)
    docs[30] = docs[20]  # an exact one is no near one
    file = tmp_path / "a.txt"
    file.write_text("\n\n".join(docs))
    tokenizer = tokenizer_folder(tmp_path / "tokenizer")

    def make(name: str, **settings):
        return prepare(
            [str(file)], tokenizer=tokenizer, out=tmp_path / name, held_out=0.1, **settings
        )

    manifest = make("one", near_duplicates=0.8, workers=1)
    assert manifest.dropped["near duplicate"] == 3
    assert manifest.dropped["exact duplicate"] == 1
    assert manifest.documents_kept == 56
    report = json.loads((tmp_path / "one" / REPORT).read_text())
    assert (report["threshold"], report["documents"]) == (0.8, 3)
    lines = {number: 2 * number + 1 for number in range(60)}
    shown = {(one["dropped"], one["like"]) for one in report["examples"]}
    assert {(f"{file}:{lines[a]}", f"{file}:{lines[b]}") for a, b in close.items()} <= shown
    assert all(one["similarity"] >= 0.8 for one in report["examples"])

    # Not of how the work is cut: many parts, small files of hashes, several processes.
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 3000)
    monkeypatch.setattr(selection, "RECORDS", 7)
    make("two", near_duplicates=0.8, workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert make("one", near_duplicates=0.8).dropped["near duplicate"] == 3
    with pytest.raises(UsageError, match=r"near_duplicates: 0\.8 -> 0\.9"):
        make("one", near_duplicates=0.9)

    plain = make("three", workers=1)
    assert plain.documents_kept == 59
    assert "near duplicate" not in plain.dropped
    assert not (tmp_path / "three" / REPORT).exists()
    with pytest.raises(UsageError, match="near_duplicates is 80"):
        make("four", near_duplicates=80)
