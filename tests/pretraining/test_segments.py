"""Pairs follow Google's data script: against a transcription of it, and in the long run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.pretraining import segments
from bertsmith.pretraining.rng import below, draw, heads, uniform
from bertsmith.pretraining.segments import EXAMPLE, SPECIALS, cut_examples

# A tiny corpus's pairs: a start, a length, b start, b length, label. A change of them is a change
# of every run that is resumed or compared; the commit must say why.
GOLDEN_PAIRS = [
    [3, 7, 12, 6, 0],
    [18, 7, 38, 4, 1],
    [25, 2, 13, 11, 1],
    [27, 2, 40, 2, 1],
    [29, 9, 3, 4, 1],
    [38, 3, 7, 10, 1],
    [41, 1, 10, 12, 1],
]
GOLDEN_KEYS = [16477776314135148703, 1337115702573758890]


@dataclass
class Lengths:
    """Documents of which only the sentences' lengths matter; enough of a split to cut examples."""

    documents: list[list[int]]

    def __post_init__(self) -> None:
        self.counts = np.array([len(document) for document in self.documents])
        self.stops = np.cumsum(self.counts)
        flat = [size for document in self.documents for size in document]
        self.starts = np.concatenate([[0], np.cumsum(flat)])
        self.document_count = len(self.documents)
        # document of every token
        self.owner_T = np.repeat(np.arange(len(self.documents)), [sum(d) for d in self.documents])

    def sentence_ranges(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (self.stops - self.counts)[documents], self.stops[documents]

    def sentence_starts(self, sentences: np.ndarray) -> np.ndarray:
        return self.starts[sentences]


def many(count: int, *, seed: int, sentence: int = 40, sentences: int = 30) -> Lengths:
    rng = np.random.default_rng(seed)
    return Lengths(
        [rng.integers(1, sentence, size=rng.integers(1, sentences)).tolist() for _ in range(count)]
    )


def cut(split: Lengths, *, pair_task: Any = "nsp", key: int = 7, **changes: Any) -> np.ndarray:
    settings = {"length": 128, "short_seq_prob": 0.1} | changes
    everything = np.arange(split.document_count)
    return cut_examples(split, everything, pair_task=pair_task, key=key, **settings)


def within(hits: int, trials: int, probability: float) -> bool:
    """Whether a count is within 5 standard deviations of a binomial's mean."""
    deviation = np.sqrt(trials * probability * (1 - probability))
    return abs(hits - trials * probability) < 5 * deviation


# -- a transcription of create_instances_from_document ---------------------------------------------


def google(
    split: Lengths, document: int, *, length: int, share: float, key: int
) -> list[list[int]]:
    """Google's loop, sentence by sentence and token by token, fed with this package's draws."""
    own = draw(key, document)
    sizes = split.documents[document]
    first = int(split.stops[document] - split.counts[document])
    longest = target = length - 3
    if uniform(draw(own, segments._IS_SHORT))[0] < share:
        target = 2 + int(below(draw(own, segments._SHORT_TARGET), longest - 1)[0])
    found = []
    chunk: list[int] = []
    i = 0
    while i < len(sizes):
        chunk.append(i)
        if i == len(sizes) - 1 or sum(sizes[j] for j in chunk) >= target:
            name = draw(draw(own, segments._SENTENCES), chunk[0])
            a_end = 1
            if len(chunk) >= 2:
                a_end = 1 + int(below(draw(name, segments._A_END), len(chunk) - 1)[0])
            a = [int(split.starts[first + chunk[0]]), sum(sizes[j] for j in chunk[:a_end])]
            is_random = len(chunk) == 1 or uniform(draw(name, segments._COIN))[0] < 0.5
            if is_random:
                other = int(
                    below(draw(name, segments._OTHER_DOCUMENT), split.document_count - 1)[0]
                )
                other += other >= document
                start = int(
                    below(draw(name, segments._OTHER_SENTENCE), len(split.documents[other]))[0]
                )
                before = int(split.stops[other] - split.counts[other])
                b = [int(split.starts[before + start]), 0]
                for j in range(start, len(split.documents[other])):
                    b[1] += split.documents[other][j]
                    if b[1] >= target - a[1]:
                        break
                i -= len(chunk) - a_end
            else:
                b = [a[0] + a[1], sum(sizes[j] for j in chunk[a_end:])]
            pops = [0, 0]
            while a[1] + b[1] > longest:
                longer = 0 if a[1] > b[1] else 1
                (a, b)[longer][1] -= 1
                pops[longer] += 1
            a[0] += int(heads(draw(name, segments._CUT_A), np.array(pops[:1]))[0])
            b[0] += int(heads(draw(name, segments._CUT_B), np.array(pops[1:]))[0])
            found.append([*a, *b, int(is_random)])
            chunk = []
        i += 1
    return found


@settings(deadline=None, max_examples=150)
@given(
    documents=st.lists(
        st.lists(st.integers(1, 30), min_size=1, max_size=25), min_size=2, max_size=6
    ),
    length=st.integers(8, 60),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    key=st.integers(0, 2**63 - 1),
)
def test_pairs_equal_googles_loop(
    documents: list[list[int]], length: int, share: float, key: int
) -> None:
    split = Lengths(documents)
    found = cut(split, length=length, short_seq_prob=share, key=key)
    expected = [
        row
        for document in range(len(documents))
        for row in google(split, document, length=length, share=share, key=key)
    ]
    assert [list(row)[:5] for row in found.tolist()] == expected


def test_a_tiny_corpus_gives_these_pairs() -> None:
    split = Lengths([[3, 4, 5, 6, 7], [2, 2, 9], [1, 1, 1, 1]])
    found = cut(split, length=16, key=2018)
    assert [list(row)[:5] for row in found.tolist()] == GOLDEN_PAIRS
    assert found["key"][:2].tolist() == GOLDEN_KEYS


# -- the long run ----------------------------------------------------------------------------------


def test_half_of_the_pairs_are_random_and_all_lone_sentences() -> None:
    split = many(4000, seed=1)
    found = cut(split, short_seq_prob=0.0)
    chunks, random = 0, 0
    last = set((split.stops - 1).tolist())
    number = {int(start): i for i, start in enumerate(split.starts)}
    for a_start, label in zip(found["a_start"], found["label"], strict=True):
        # An uncut A that is its document's last sentence had nothing to follow it.
        if number.get(int(a_start)) in last:
            assert label == 1
        else:
            chunks += 1
            random += int(label)
    assert chunks > 10_000
    assert within(random, chunks, 0.5)


def test_random_segments_come_from_every_other_document_alike() -> None:
    split = Lengths([[5] * 40 for _ in range(10)])
    counts = np.zeros((10, 10), dtype=np.int64)
    for key in range(200):
        found = cut(split, key=key)
        found = found[found["label"] == 1]
        np.add.at(counts, (split.owner_T[found["a_start"]], split.owner_T[found["b_start"]]), 1)
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(10, dtype=bool)]
    total = others.sum()
    assert total > 4_000
    assert np.abs(others - total / 90).max() < 5 * np.sqrt(total / 90)


def test_a_random_segment_starts_at_any_sentence_and_stays_in_its_document() -> None:
    split = Lengths([[4] * 50, [4] * 50])
    found = np.concatenate([cut(split, key=key, length=512) for key in range(600)])
    found = found[found["label"] == 1]
    ends = found["b_start"] + found["b_length"] - 1
    assert (split.owner_T[ends] == split.owner_T[found["b_start"]]).all()
    uncut = found["a_length"] + found["b_length"] < 509
    assert (found["b_start"][uncut] % 4 == 0).all()
    counts = np.bincount(found["b_start"][uncut] % 200 // 4, minlength=50)
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())


def test_a_tenth_of_the_documents_is_short_with_any_target() -> None:
    # Sentences of one token: an example's length is its target, but at a document's end.
    split = Lengths([[1] * 130 for _ in range(8_000)])
    found = cut(split, length=64)
    first = np.searchsorted(split.owner_T[found["a_start"]], np.arange(8_000))
    targets = (found["a_length"] + found["b_length"])[first]
    # B of a random pair may end with its document; take the first pairs that are not random.
    targets = targets[found["label"][first] == 0]
    assert targets.min() >= 2
    assert targets.max() == 61
    short = targets[targets < 61]
    assert within(len(short), len(targets), 0.1 * 59 / 60)
    counts = np.bincount(short, minlength=61)[2:]
    assert np.abs(counts - len(short) / 59).max() < 5 * np.sqrt(len(short) / 59)


def test_unused_sentences_are_put_back() -> None:
    # Sentences of one token are never truncated: A, and B where it is the actual next, must tile
    # every document.
    split = Lengths([[1] * size for size in (1, 2, 3, 50, 400, 777)])
    for key in range(20):
        found = cut(split, key=key, length=32)
        used = np.zeros(len(split.owner_T), dtype=np.int64)
        for row in found:
            used[row["a_start"] : row["a_start"] + row["a_length"]] += 1
            if row["label"] == 0:
                used[row["b_start"] : row["b_start"] + row["b_length"]] += 1
        assert (used == 1).all()


def test_truncation_takes_from_front_and_back_alike_and_from_the_longer() -> None:
    split = Lengths([[200] for _ in range(4000)])
    found = cut(split, length=103, short_seq_prob=0.0)
    assert (found["a_length"] == 50).all()
    assert (found["b_length"] == 50).all()
    for name in ("a_start", "b_start"):
        front = found[name] % 200
        assert within(int(front.sum()), 150 * 4000, 0.5)
        assert abs(front.var() / 37.5 - 1) < 5 * np.sqrt(2 / 4000)
    assert abs(np.corrcoef(found["a_start"] % 200, found["b_start"] % 200)[0, 1]) < 0.08
    # An odd room: the tie costs B.
    odd = cut(split, length=104, short_seq_prob=0.0)
    assert set(zip(odd["a_length"].tolist(), odd["b_length"].tolist(), strict=True)) == {(51, 50)}


@pytest.mark.parametrize("pair_task", ["nsp", "sop", "none"])
@pytest.mark.parametrize("length", [8, 37, 128, 512])
def test_every_example_fits_and_stays_inside_its_document(pair_task: Any, length: int) -> None:
    split = many(300, seed=3, sentence=150)
    found = cut(split, pair_task=pair_task, length=length)
    assert found.dtype == EXAMPLE
    total = found["a_length"] + found["b_length"] + SPECIALS[pair_task]
    assert total.max() <= length
    assert found["a_length"].min() >= 1
    assert (found["b_length"].min() >= 1) == (pair_task != "none")
    for side in "ab" if pair_task != "none" else "a":
        last = found[f"{side}_start"] + found[f"{side}_length"] - 1
        assert (split.owner_T[found[f"{side}_start"]] == split.owner_T[last]).all()
    assert len(set(found["key"].tolist())) == len(found)


def test_an_example_depends_on_its_document_alone() -> None:
    split = many(60, seed=4)
    whole = cut(split)
    some = np.array([41, 3, 59])
    part = cut_examples(split, some, length=128, pair_task="nsp", short_seq_prob=0.1, key=7)
    owners = split.owner_T[whole["a_start"]]
    expected = np.concatenate([whole[owners == document] for document in some])
    assert (part == expected).all()
    assert not np.array_equal(cut(split, key=8), whole)


def test_order_pairs_are_neighbours_half_of_them_swapped() -> None:
    split = Lengths([[2] * 30 for _ in range(4000)])
    found = cut(split, pair_task="sop", length=43, short_seq_prob=0.0)
    swapped = found["label"] == 1
    assert within(int(swapped.sum()), len(found), 0.5)
    first = np.where(swapped, found["b_start"], found["a_start"])
    middle = np.where(swapped, found["a_start"], found["b_start"])
    size = np.where(swapped, found["b_length"], found["a_length"])
    assert (first + size == middle).all()  # nothing is truncated here: 20 sentences fit exactly
    assert (found["a_length"] + found["b_length"]).reshape(4000, 2).tolist() == [[40, 20]] * 4000


def test_order_pairs_of_few_sentences() -> None:
    # 50 + 50: the first sentence fills the target alone and takes the second; the third goes with
    # the second again; one sentence is cut in two; a lone token makes nothing.
    split = Lengths([[50, 50, 50], [20], [1]])
    found = cut(split, pair_task="sop", length=43, short_seq_prob=0.0)
    pairs = [
        sorted([(int(r["a_start"]), int(r["a_length"])), (int(r["b_start"]), int(r["b_length"]))])
        for r in found
    ]
    assert len(pairs) == 3
    assert [size for pair in pairs[:2] for _, size in pair] == [20] * 4
    assert [[start // 50 for start, _ in pair] for pair in pairs] == [[0, 1], [1, 2], [3, 3]]
    (left, left_size), (right, right_size) = pairs[2]
    assert (left, left + left_size, right + right_size) == (150, right, 170)
    cuts = {
        int(min(row["a_length"], row["b_length"]))
        for key in range(100)
        for row in cut(Lengths([[4]]), pair_task="sop", length=43, key=key)
    }
    assert cuts == {1, 2}


def test_without_pairs_whole_sentences_as_long_as_they_fit() -> None:
    split = Lengths([[10, 20, 30, 5, 60, 3], [200]])
    found = cut(split, pair_task="none", length=42, short_seq_prob=0.0)
    spans = [(int(row["a_start"]), int(row["a_length"])) for row in found]
    assert spans[:2] == [(0, 30), (30, 35)]
    assert spans[2][1] == 40  # cut out of the 60
    assert 65 <= spans[2][0] <= 85
    assert spans[3] == (125, 3)
    assert spans[4][1] == 40
    assert (found["label"] == 0).all()
