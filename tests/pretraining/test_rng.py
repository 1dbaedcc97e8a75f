"""Counter-based random numbers: right distribution, no state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.pretraining.rng import below, draw, heads, permuted, uniform

MANY = np.arange(200_000)


def test_the_numbers_are_splitmix64() -> None:
    # The first outputs of the reference C program of SplitMix64, seeded with 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert draw(1234567, np.arange(3)).tolist() == expected


def test_uniform_and_below_are_flat() -> None:
    numbers = uniform(draw(1, MANY))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.bincount(below(draw(2, MANY), 7), minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 200_000 / 7).max() < 5 * np.sqrt(200_000 / 7)
    limits = np.array([1, 2, 3, 2**31, 2**52])
    top = np.full(5, 2**64 - 1, dtype=np.uint64)
    assert (below(top, limits) == limits - 1).all()


@pytest.mark.parametrize("coins", [1, 5, 63, 64, 65, 200])
def test_heads_has_the_binomial_mean_and_variance(coins: int) -> None:
    keys = draw(coins, np.arange(20_000))
    found = heads(keys, np.full(20_000, coins))
    assert found.min() >= 0
    assert found.max() <= coins
    assert abs(found.mean() - coins / 2) < 5 * np.sqrt(coins / 4 / 20_000)
    assert abs(found.var() / (coins / 4) - 1) < 5 * np.sqrt(2 / 20_000)


def test_heads_of_no_coin_is_none() -> None:
    assert heads(draw(0, np.arange(3)), np.array([0, 3, 0]))[[0, 2]].tolist() == [0, 0]


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1))
def test_permuted_is_a_permutation(size: int, key: int) -> None:
    image = permuted(np.arange(size), size, key=key)
    assert sorted(image.tolist()) == list(range(size))
    part = permuted(np.array([size - 1, 0]), size, key=key)
    assert part.tolist() == [image[-1], image[0]]


def test_permutations_of_other_keys_are_unrelated() -> None:
    one, other = (permuted(np.arange(10_000), 10_000, key=key) for key in (1, 2))
    assert (one == other).sum() < 10  # one match is expected
    assert (np.diff(one) == 1).sum() < 10
    first = np.bincount([permuted(np.arange(5), 5, key=key)[0] for key in range(1000)])
    assert np.abs(first - 200).max() < 5 * np.sqrt(160)
