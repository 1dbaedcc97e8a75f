"""Intervals of proportions and of their means."""

import pytest

from bertsmith.inference.pair_scores import ParadigmScore, mean_interval, mean_score


def test_the_interval_of_one_proportion_is_wilsons():
    """Values of Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3."""
    assert mean_interval([(81, 263)]) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert mean_interval([(15, 148)]) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert mean_interval([(0, 20)]) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert mean_interval([(1, 29)]) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_the_interval_of_a_mean_is_narrower():
    low, high = mean_interval([(500, 1000)] * 4)
    # Half of one proportion's, which is 1.96 sqrt(0.25 / 1000).
    assert (low, high) == pytest.approx((0.5 - 0.0155, 0.5 + 0.0155), abs=1e-4)
    low, high = mean_interval([(10, 10), (10, 10)])
    assert 0.7 < low < 0.9
    assert high == 1.0


def test_a_mean_is_over_paradigms_not_pairs():
    scored = [
        ParadigmScore(
            name="", phenomenon="", pairs=n, right=r, ties=0, score=r / n, interval=(0, 1)
        )
        for r, n in ((1, 1), (0, 9))
    ]
    mean = mean_score("both", scored)
    assert (mean.score, mean.pairs, mean.paradigms) == (0.5, 10, 2)
