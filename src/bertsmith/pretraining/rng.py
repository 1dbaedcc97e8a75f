"""A counter-based random number generator: numbers are a pure function of key and counter.

Unlike the stream of a stateful generator, they do not depend on earlier draws. An example therefore
gets the same numbers on one process or eight, in any order, after any restart and with any version
of numpy. The hash is SplitMix64 (Steele, Lea and Flood 2014); a key selects a stream, a counter a
position in it.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Integers = NDArray[np.int64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
# Four rounds make a strong pseudo-random permutation (Luby and Rackoff 1988); two more because a
# small corpus has very few bits to mix.
_FEISTEL_ROUNDS = 6


def draw(keys: Keys | int, counters: Keys | Integers | int) -> Keys:
    """64 random bits for every key and counter, broadcast together; at least one-dimensional."""
    state = np.atleast_1d(np.asarray(counters)).astype(np.uint64)
    state += _ONE
    state *= _GAMMA
    state = np.atleast_1d(np.asarray(keys, dtype=np.uint64)) + state
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def uniform(bits: Keys) -> NDArray[np.float64]:
    """Numbers in [0, 1), multiples of 2**-53."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(bits: Keys, limits: Integers | int) -> Integers:
    """Uniform integers in [0, limit); limits must be at least 1."""
    return (uniform(bits) * limits).astype(np.int64)


def heads(keys: Keys, coins: Integers) -> Integers:
    """The number of heads among `coins` fair coins, for every key."""
    counts = np.zeros(len(coins), dtype=np.int64)
    rest = coins.copy()
    live = np.flatnonzero(rest > 0)
    word = 0
    while len(live):
        bits = draw(keys[live], word) >> (64 - np.minimum(rest[live], 64)).astype(np.uint64)
        counts[live] += np.bitwise_count(bits)
        rest[live] -= 64
        live = live[rest[live] > 0]
        word += 1
    return counts


def permuted(places: Integers, size: int, *, key: int) -> Integers:
    """The elements of a keyed permutation of range(size) at `places`, without storing it.

    A Feistel network over the next power of four, applied until the result is in range.
    """
    bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = (_ONE << bits) - _ONE
    rounds = draw(key, np.arange(_FEISTEL_ROUNDS))
    values = places.astype(np.uint64)
    live = np.arange(len(values))
    while len(live):
        left, right = values[live] >> bits, values[live] & low
        for round_key in rounds:
            left, right = right, left ^ (draw(int(round_key), right) & low)
        values[live] = (left << bits) | right
        live = live[values[live] >= size]
    return values.astype(np.int64)
