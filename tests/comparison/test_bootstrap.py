"""Intervals that can be checked by hand."""

import numpy as np
import pytest

from bertsmith.comparison.bootstrap import RESAMPLES, difference, resampled_scores


def test_a_resample_weighs_examples_and_pairs_systems():
    gold = np.array([0, 1] * 50)
    right, wrong = gold.copy(), 1 - gold
    half = np.where(np.arange(100) < 50, gold, 1 - gold)
    scores = resampled_scores(["accuracy"], gold, [right, wrong, half])
    assert scores.shape == (RESAMPLES, 3)
    assert np.all(scores[:, 0] == 1)
    assert np.all(scores[:, 1] == 0)
    assert scores[:, 2].mean() == pytest.approx(0.5, abs=0.01)
    assert scores[:, 2].std() == pytest.approx(0.05, abs=0.005)  # sqrt(0.25 / 100)
    again = resampled_scores(["accuracy"], gold, [half])
    assert np.array_equal(again[:, 0], scores[:, 2])


def test_the_score_is_the_mean_of_the_metrics_and_an_undefined_one_counts_as_nothing():
    gold, constant = np.array([0.0, 1.0, 2.0, 5.0]), np.ones(4)
    scores = resampled_scores(["pearson", "spearman"], gold, [gold * 2, constant])
    assert np.all(scores[:, 1] == 0)
    assert np.median(scores[:, 0]) == pytest.approx(1)


def test_equal_systems_differ_by_nothing_and_better_ones_surely():
    gold = np.arange(400) % 2
    a = np.where(np.arange(400) < 360, gold, 1 - gold)
    b = np.where(np.arange(400) < 300, gold, 1 - gold)
    one, other = (resampled_scores(["accuracy"], gold, [answers] * 3) for answers in (a, b))
    assert difference(one, one) == (0.0, (0.0, 0.0))
    value, (low, high) = difference(one, other)
    assert value == pytest.approx(0.15, abs=0.005)
    # 60 of 400 examples tell them apart: sqrt(0.15 * 0.85 / 400) = 0.0179.
    assert low == pytest.approx(0.15 - 1.96 * 0.0179, abs=0.006)
    assert high == pytest.approx(0.15 + 1.96 * 0.0179, abs=0.006)


def test_seeds_that_disagree_widen_the_interval():
    gold = np.arange(200) % 2
    good, bad = gold.copy(), 1 - gold
    sure = resampled_scores(["accuracy"], gold, [good, good])
    torn = resampled_scores(["accuracy"], gold, [good, bad])
    assert difference(sure, sure)[1] == (0.0, 0.0)
    value, (low, high) = difference(sure, torn)
    assert (value, low, high) == (0.5, 0.0, 1.0)
