"""Masks: the paper's shares, never a special token, whole words, and no dependence on packing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.pretraining.masking import Vocabulary, mask
from bertsmith.pretraining.rng import draw
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

V = 1000
CLS, SEP, MASK, UNK = 2, 3, 4, 1
IS_SPECIAL = np.arange(V) < 5
WORDS = Vocabulary(MASK, IS_SPECIAL, np.arange(5, V))

# The masks of two literal sequences; a change of them changes every run (see test_segments).
GOLDEN_MASKED = [1, 2, 5, 6, 7, 15, 18, 23, 27, 31, 32]
GOLDEN_LABELS = [100, 101, 104, 105, 106, 114, 117, 200, 204, 208, 209]
GOLDEN_SEEN = [4, 4, 4, 4, 106, 4, 4, 154, 4, 4, 4]


def sequences(lengths: list[int], *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        row = rng.integers(5, V, size=length)
        row[0], row[-1] = CLS, SEP
        rows.append(row)
    return np.concatenate(rows)


def within(hits: int, trials: int, probability: float) -> bool:
    deviation = np.sqrt(trials * probability * (1 - probability))
    return abs(hits - trials * probability) < 5 * deviation


def test_the_tokenizers_special_ids() -> None:
    vocabulary = Vocabulary.of(Tokenizer(("a", *SPECIAL, "b", "##c")))
    assert vocabulary.mask_id == 5
    assert vocabulary.ordinary_ids.tolist() == [0, 6, 7]
    assert vocabulary.is_special_V.tolist() == [False] + [True] * 5 + [False] * 2


def test_eighty_ten_ten() -> None:
    lengths = np.full(4000, 128)
    ids_T = sequences(lengths.tolist())
    seen_T, masked_P, labels_P = mask(
        ids_T, lengths, draw(1, np.arange(4000)), share=0.15, vocabulary=WORDS
    )
    assert len(masked_P) == 4000 * 19  # round(128 * 0.15)
    assert (labels_P == ids_T[masked_P]).all()
    untouched = np.ones(len(ids_T), dtype=bool)
    untouched[masked_P] = False
    assert (seen_T[untouched] == ids_T[untouched]).all()
    seen_P = seen_T[masked_P]
    assert within(int((seen_P == MASK).sum()), len(masked_P), 0.8)
    # A random token is the original itself once in 995 times.
    assert within(int((seen_P == labels_P).sum()), len(masked_P), 0.1 + 0.1 / 995)
    random_P = seen_P[(seen_P != MASK) & (seen_P != labels_P)]
    assert within(len(random_P), len(masked_P), 0.1 * 994 / 995)
    assert random_P.min() == 5
    assert random_P.max() == V - 1
    counts = np.bincount(random_P // 100, minlength=10)[1:]
    assert np.abs(counts - len(random_P) * 100 / 995).max() < 5 * np.sqrt(len(random_P) / 10)


def test_every_position_is_chosen_alike() -> None:
    lengths = np.full(20_000, 22)
    _, masked_P, _ = mask(
        sequences(lengths.tolist()),
        lengths,
        draw(2, np.arange(20_000)),
        share=0.15,
        vocabulary=WORDS,
    )
    counts = np.bincount(masked_P % 22, minlength=22)
    assert counts[[0, 21]].tolist() == [0, 0]
    assert counts.sum() == 3 * 20_000
    assert np.abs(counts[1:21] - 3000).max() < 5 * np.sqrt(3000 * 0.85)
    # and pairs of positions independently of each other, as far as a fixed number lets them be
    chosen = np.zeros((20_000, 22))
    chosen[masked_P // 22, masked_P % 22] = 1
    both = (chosen.T @ chosen)[1:21, 1:21]
    expected = 20_000 * 3 / 20 * 2 / 19
    assert np.abs(both[~np.eye(20, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(3, 90), min_size=1, max_size=12),
    share=st.sampled_from([0.05, 0.15, 0.3, 0.9]),
    key=st.integers(0, 2**63 - 1),
    whole_words=st.booleans(),
)
def test_numbers_order_and_specials(
    lengths: list[int], share: float, key: int, whole_words: bool
) -> None:
    ids_T = sequences(lengths, seed=key % 1000)
    ids_T[5::7] = UNK
    starts = np.cumsum(lengths) - lengths
    ids_T[starts] = CLS
    word_starts_T = ids_T % 3 != 0
    seen_T, masked_P, labels_P = mask(
        ids_T,
        np.array(lengths),
        draw(key, np.arange(len(lengths))),
        share=share,
        vocabulary=WORDS,
        word_starts_T=word_starts_T if whole_words else None,
    )
    assert (np.diff(masked_P) > 0).all()
    assert not IS_SPECIAL[labels_P].any()
    assert (labels_P == ids_T[masked_P]).all()
    assert (~IS_SPECIAL[seen_T[masked_P]] | (seen_T[masked_P] == MASK)).all()
    chosen = np.zeros(len(ids_T), dtype=bool)
    chosen[masked_P] = True
    for start, length in zip(starts, lengths, strict=True):
        here = slice(start, start + length)
        quota = max(1, round(length * share))  # Google's formula
        ordinary = int((~IS_SPECIAL[ids_T[here]]).sum())
        if whole_words:
            assert chosen[here].sum() <= min(quota, ordinary)
        else:
            assert chosen[here].sum() == min(quota, ordinary)


@settings(deadline=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=8), st.booleans())
def test_packing_does_not_change_masks(lengths: list[int], whole_words: bool) -> None:
    keys = draw(9, np.arange(len(lengths)))
    ids_T = sequences(lengths)
    starts = np.cumsum(lengths) - lengths
    word_starts_T = ids_T % 4 != 0 if whole_words else None
    together, _, _ = mask(
        ids_T,
        np.array(lengths),
        keys,
        share=0.2,
        vocabulary=WORDS,
        word_starts_T=word_starts_T,
    )
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        here = slice(start, start + length)
        alone, _, _ = mask(
            ids_T[here],
            np.array([length]),
            keys[row : row + 1],
            share=0.2,
            vocabulary=WORDS,
            word_starts_T=None if word_starts_T is None else word_starts_T[here],
        )
        assert (alone == together[here]).all()


def test_whole_words_are_chosen_whole() -> None:
    lengths = np.full(500, 100)
    ids_T = sequences(lengths.tolist())
    word_starts_T = ids_T % 3 != 0
    word_starts_T[1::100] = False  # a segment that begins inside a word
    _, masked_P, _ = mask(
        ids_T,
        lengths,
        draw(4, np.arange(500)),
        share=0.15,
        vocabulary=WORDS,
        word_starts_T=word_starts_T,
    )
    chosen = np.zeros(len(ids_T), dtype=bool)
    chosen[masked_P] = True
    inside = ~word_starts_T & ~IS_SPECIAL[ids_T]
    inside[1::100] = False
    assert inside.sum() > 10_000
    assert (chosen[inside] == chosen[np.flatnonzero(inside) - 1]).all()
    per_sequence = chosen.reshape(500, 100).sum(axis=1)
    assert per_sequence.max() == 15
    assert per_sequence.mean() > 14.9  # shorter words fill what a long one left


def test_a_word_longer_than_the_quota_is_passed_over() -> None:
    ids_T = np.array([CLS, *range(10, 19), SEP, CLS, *range(20, 28), 40, SEP])
    word_starts_T = np.isin(ids_T, [10, 20, 40])
    _, masked_P, labels_P = mask(
        ids_T,
        np.array([11, 11]),
        draw(5, np.arange(2)),
        share=0.15,
        vocabulary=WORDS,
        word_starts_T=word_starts_T,
    )
    assert (masked_P.tolist(), labels_P.tolist()) == ([20], [40])


def test_these_masks() -> None:
    ids_T = np.array([CLS, *range(100, 120), SEP, CLS, *range(200, 210), SEP])
    seen_T, masked_P, labels_P = mask(
        ids_T,
        np.array([22, 12]),
        np.array([11, 12], dtype=np.uint64),
        share=0.3,
        vocabulary=WORDS,
    )
    assert masked_P.tolist() == GOLDEN_MASKED
    assert labels_P.tolist() == GOLDEN_LABELS
    assert seen_T[masked_P].tolist() == GOLDEN_SEEN


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_sequence_of_nothing_but_specials_predicts_nothing(whole_words: bool) -> None:
    ids_T = np.array([CLS, UNK, UNK, SEP])
    seen_T, masked_P, _ = mask(
        ids_T,
        np.array([4]),
        draw(0, np.arange(1)),
        share=0.15,
        vocabulary=WORDS,
        word_starts_T=np.ones(4, dtype=bool) if whole_words else None,
    )
    assert (seen_T.tolist(), masked_P.tolist()) == (ids_T.tolist(), [])
