"""Chooses the tokens to predict and masks them (paper, sections 3.1 and A.1).

As in Google's `create_pretraining_data.py`, a share of the tokens of every sequence is predicted
(of all tokens including special ones, rounded, at least one). 80% of these are replaced by
`[MASK]`, 10% by a random token, 10% are kept. With whole-word masking, all pieces of a word are
chosen together; a word that would exceed the number is skipped, so there may be fewer, never more.

Unlike Google's script, special tokens are never involved: the script may choose `[UNK]`, whose
prediction teaches nothing, and draws random tokens from the whole vocabulary, including `[PAD]` and
`[MASK]`.

All sequences are masked at once. The random numbers of a token are a hash of its sequence's key and
its position, so masks do not depend on packing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.arrays import ranges
from bertsmith.pretraining.rng import Integers, Keys, below, draw, uniform
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Flags = NDArray[np.bool_]

# Counters in a sequence's random stream.
_ORDER, _SEEN_AS, _RANDOM_ID = range(3)

PAPER_MIX = (0.8, 0.1, 0.1)
"""Shares of the predicted tokens: `[MASK]`, random token, kept."""


@dataclass(frozen=True)
class Vocabulary:
    """The properties of a tokenizer that masking needs."""

    mask_id: int
    is_special_V: Flags
    ordinary_ids: Integers
    """Ids that are not special, from which random tokens are drawn."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """The vocabulary of `tokenizer`."""
        is_special_V = np.zeros(len(tokenizer.vocab), dtype=np.bool_)
        is_special_V[sorted(tokenizer.special_ids)] = True
        return cls(tokenizer.mask_id, is_special_V, np.flatnonzero(~is_special_V))


def mask(
    ids_T: Integers,
    lengths: Integers,
    keys_B: Keys,
    *,
    share: float,
    vocabulary: Vocabulary,
    mix: tuple[float, float, float] = PAPER_MIX,
    word_starts_T: Flags | None = None,
) -> tuple[Integers, Integers, Integers]:
    """Chooses the tokens to predict and masks them.

    Args:
        ids_T: concatenated sequences with their special tokens; not changed.
        lengths: tokens of each sequence [B].
        keys_B: random key of each sequence.
        share: share of each sequence's tokens to predict.
        vocabulary: special ids, and the ids of random tokens.
        mix: shares of `[MASK]`, random and kept tokens; they add up to 1.
        word_starts_T: whether each token starts a word, to mask whole words; None masks pieces.

    Returns:
        ids_T as the model sees them, masked_P (indices into T, ascending) and labels_P (the
        original ids there).
    """
    starts = np.cumsum(lengths) - lengths
    sequence_T = np.repeat(np.arange(len(lengths)), lengths)
    is_ordinary_T = ~vocabulary.is_special_V[ids_T]
    quota_B = np.maximum(1, np.rint(lengths * share)).astype(np.int64)
    order = draw(keys_B, _ORDER)
    if word_starts_T is None:
        units = np.flatnonzero(is_ordinary_T)
        chosen = _shuffled(units, sequence_T, starts, lengths, keys_B=order)
        rank = _rank(sequence_T[chosen], len(lengths))
        masked_P = np.sort(chosen[rank < quota_B[sequence_T[chosen]]])
    else:
        # A special token ends a word, and so does the start of a segment, which follows one.
        begins_T = word_starts_T.copy()
        begins_T[1:] |= ~is_ordinary_T[:-1]
        units = np.flatnonzero(is_ordinary_T & begins_T)
        after = np.flatnonzero(begins_T | ~is_ordinary_T)  # Ends of the previous word.
        ends = np.append(after, len(ids_T))[np.searchsorted(after, units, side="right")]
        size_T = np.zeros(len(ids_T), dtype=np.int64)
        size_T[units] = ends - units
        chosen = _shuffled(units, sequence_T, starts, lengths, keys_B=order)
        kept = _fill(sequence_T[chosen], size_T[chosen], quota_B)
        first_W = np.sort(chosen[kept])
        masked_P = ranges(first_W, size_T[first_W])

    labels_P = ids_T[masked_P]
    sequence_P = sequence_T[masked_P]
    position_P = masked_P - starts[sequence_P]
    seen_as = uniform(draw(draw(keys_B, _SEEN_AS)[sequence_P], position_P))
    bits = draw(draw(keys_B, _RANDOM_ID)[sequence_P], position_P)
    random_P = vocabulary.ordinary_ids[below(bits, len(vocabulary.ordinary_ids))]
    as_mask, as_random, _ = mix
    seen_P = np.where(seen_as < as_mask + as_random, random_P, labels_P)
    seen_P[seen_as < as_mask] = vocabulary.mask_id
    seen_T = ids_T.copy()
    seen_T[masked_P] = seen_P
    return seen_T, masked_P, labels_P


def _shuffled(
    units: Integers, sequence_T: Integers, starts: Integers, lengths: Integers, *, keys_B: Keys
) -> Integers:
    """`units` (indices into T) shuffled within each sequence, sequence by sequence.

    Sorts one number per unit, made of sequence, 32 random bits and position, which is several times
    faster than sorting indices. The position breaks ties, so the order does not depend on which
    other sequences are packed with it.
    """
    position_bits = np.uint64(int(lengths.max()).bit_length())
    sequence_shift = np.uint64(32) + position_bits
    low = (np.uint64(1) << position_bits) - np.uint64(1)
    sequences = sequence_T[units]
    positions = (units - starts[sequences]).astype(np.uint64)
    codes = draw(keys_B[sequences], positions) >> np.uint64(32) << position_bits
    codes |= sequences.astype(np.uint64) << sequence_shift
    codes = np.sort(codes | positions)
    sequences = (codes >> sequence_shift).astype(np.int64)
    return starts[sequences] + (codes & low).astype(np.int64)


def _rank(sequences: Integers, count: int) -> Integers:
    """The rank of each entry within its sequence; `sequences` must be sorted."""
    sizes = np.bincount(sequences, minlength=count)
    return np.arange(len(sequences)) - (np.cumsum(sizes) - sizes)[sequences]


def _fill(sequences: Integers, sizes: Integers, quota_B: Integers) -> Integers:
    """The words to mask: in order, every word that still fits its sequence's quota.

    All sequences are handled at once: their first words, then their second words, and so on.
    """
    count_B = np.bincount(sequences, minlength=len(quota_B))
    first_B = np.cumsum(count_B) - count_B
    room_B = quota_B.copy()
    kept = [np.empty(0, dtype=np.int64)]
    live = np.flatnonzero(count_B)
    rank = 0
    while len(live):
        word = first_B[live] + rank
        size = sizes[word]
        fits = size <= room_B[live]
        kept.append(word[fits])
        room_B[live] -= np.where(fits, size, 0)
        rank += 1
        live = live[(room_B[live] > 0) & (count_B[live] > rank)]
    return np.concatenate(kept)
