"""Intervals that can be checked by hand, and that hold what they promise."""

from typing import Any

import numpy as np
import pytest

from bertsmith.comparison.bootstrap import (
    RESAMPLES,
    Scores,
    difference,
    mean_scores,
    paired_interval,
    scores_of,
)


def test_resamples_are_of_examples_and_the_same_for_all():
    gold = np.array([0, 1] * 50)
    half = np.where(np.arange(100) < 50, gold, 1 - gold)
    found = scores_of(["accuracy"], gold, [gold, 1 - gold, half])
    assert found.runs_S.tolist() == [1, 0, 0.5]
    assert found.resampled_RS.shape == (RESAMPLES, 3)
    assert np.all(found.resampled_RS[:, 0] == 1)
    assert np.all(found.resampled_RS[:, 1] == 0)
    assert found.resampled_RS[:, 2].std() == pytest.approx(0.05, abs=0.005)  # sqrt(0.25 / 100)
    again = scores_of(["accuracy"], gold, [half])
    assert np.array_equal(again.resampled_RS[:, 0], found.resampled_RS[:, 2])


def test_the_score_is_the_mean_of_the_metrics_and_an_undefined_one_counts_as_nothing():
    gold = np.array([0.0, 1.0, 2.0, 5.0])
    found = scores_of(["pearson", "spearman"], gold, [gold * 2, np.ones(4)])
    assert found.runs_S.tolist() == pytest.approx([1, 0])
    assert np.all(found.resampled_RS[:, 1] == 0)


def test_metrics_that_know_classes_are_resampled_too():
    gold = np.arange(200) % 2
    found = scores_of(["matthews"], gold, [gold, np.zeros(200, dtype=int)])
    assert found.runs_S.tolist() == [1, 0]
    assert np.all(found.resampled_RS[:, 0] == 1)


def test_equal_runs_leave_the_luck_of_the_examples():
    gold = np.arange(400) % 2
    answers = (np.where(np.arange(400) < right, gold, 1 - gold) for right in (360, 300))
    one, other = (scores_of(["accuracy"], gold, [given] * 3) for given in answers)
    assert difference(one, one) == (0.0, (0.0, 0.0))
    value, (low, high) = difference(one, other)
    assert value == pytest.approx(0.15, abs=1e-12)
    # 60 of 400 examples tell them apart: sqrt(0.15 * 0.85 / 400) = 0.0179.
    assert low == pytest.approx(0.15 - 1.96 * 0.0179, abs=0.006)
    assert high == pytest.approx(0.15 + 1.96 * 0.0179, abs=0.006)


def fixed(runs):
    """Scores that no example moves."""
    return Scores(np.array(runs), np.tile(runs, (RESAMPLES, 1)))


def test_few_seeds_are_known_badly():
    # Deviation 0.01, three runs: 4.30 standard errors of a t with 2 degrees of freedom.
    spread, still = fixed([0.49, 0.50, 0.51]), fixed([0.5, 0.5, 0.5])
    value, (low, high) = difference(spread, still)
    assert value == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(4.303 * 0.01 / 3**0.5, rel=0.05)
    assert low == pytest.approx(-high, rel=0.05)


def test_one_run_says_nothing():
    assert difference(fixed([0.9]), fixed([0.1, 0.1])) == (0.8, None)


def test_equally_good_systems_are_seldom_told_apart():
    """Of 200 pairs of systems that differ by their seeds alone, about one in twenty."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        one, other = (fixed(rng.normal(0.7, 0.02, 3)) for _ in range(2))
        low, high = difference(one, other)[1]
        wrong += low > 0 or high < 0
    assert wrong <= 14


def test_the_mean_over_tasks_is_taken_run_by_run():
    mean = mean_scores([fixed([0.2, 0.4]), fixed([0.6, 0.6])])
    assert mean.runs_S.tolist() == pytest.approx([0.4, 0.5])
    assert mean.resampled_RS[7].tolist() == pytest.approx([0.4, 0.5])


def test_the_interval_over_examples_is_of_paired_answers() -> None:
    gold = np.ones(400, dtype=np.int64)
    right = (np.arange(400) % 4 > 0).astype(np.int64)

    def interval(first: Any, second: Any) -> tuple[float, float]:
        scores = [scores_of(["accuracy"], gold, [answers]) for answers in (first, second)]
        return paired_interval(*scores)

    assert interval(right, right) == (0.0, 0.0)
    assert interval(gold, 0 * gold) == (1.0, 1.0)
    # Half of the answers differ, one way as often as the other: 1.96 * sqrt(0.5 / 400).
    assert interval(right, np.roll(right, 1)) == pytest.approx((-0.0693, 0.0693), abs=0.008)
