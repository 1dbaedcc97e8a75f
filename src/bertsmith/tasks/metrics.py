"""The metrics of all kinds of task by name: values and confidence intervals.

The kinds of task define them; see `metric` for their form.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.metric import Floats, Metric, score_text

METRICS: dict[str, Metric] = {
    name: metric for kind in KINDS.values() for name, metric in kind.metrics.items()
}
"""By the name that tasks use."""


def score_line(
    score: float | None, interval: tuple[float, float] | None, baseline: float | None
) -> str:
    """A score as text, with its 95% interval and the baseline's score, if known."""
    words = score_text(score)
    if interval is not None:
        words += " (95% interval {} to {})".format(*map(score_text, interval))
    if baseline is not None:
        words += f", baseline {score_text(baseline)}"
    return words


# Resamples that `resampled` holds at a time, in a few arrays of 16 MB.
_BLOCK = 1 << 21


def score(names: Sequence[str], gold: Any, predicted: Any) -> dict[str, float | None]:
    """Metric -> its value; None if undefined, as every metric is without examples.

    Raises:
        ValueError: the numbers of predictions and examples differ.
    """
    return {name: _value(name, _statistics(name, gold, predicted)) for name in names}


def _statistics(name: str, gold: Any, predicted: Any) -> Floats:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(predicted)} predictions for {len(gold)} examples")
    return METRICS[name].statistics(gold, predicted) if len(gold) else np.zeros((0, 0))


def _value(name: str, statistics_NK: Floats) -> float | None:
    if not len(statistics_NK):
        return None
    metric = METRICS[name]
    return metric.value(metric.sums(statistics_NK, np.ones((1, len(statistics_NK))))[0])


def main(scores: dict[str, float | None]) -> float:
    """The mean of a task's scores, as GLUE averages them; an undefined one counts as 0."""
    return sum(value or 0.0 for value in scores.values()) / len(scores)


def interval(
    name: str,
    gold: Any,
    predicted: Any,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a metric over examples (Efron and Tibshirani 1993, ch. 13).

    A resample draws N examples with replacement, which weighs the statistics of each example by
    the number of times it is drawn. Whatever statistics depend on all examples (the ranks of
    `spearman`) stays that of the full sample. Resamples with an undefined metric are skipped.

    Args:
        name: name of the metric.
        gold: N references.
        predicted: N predictions.
        resamples: number of resamples.
        seed: the same seed gives the same interval.
        level: share of the resamples inside the interval; the rest is split between both sides.

    Returns:
        Its lower and upper end; None if the metric is undefined.

    Raises:
        ValueError: the numbers of predictions and examples differ.
    """
    if score([name], gold, predicted)[name] is None:
        return None
    values = resampled(name, gold, predicted, resamples=resamples, seed=seed)
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def resampled(
    name: str, gold: Any, predicted: Any, *, resamples: int = 1000, seed: int = 0
) -> list[float | None]:
    """A metric in each of `resamples` resamples of the examples; see `interval`.

    The same seed and number of examples give the same resamples, so the values of two models are
    paired.
    """
    statistics_NK = _statistics(name, gold, predicted)
    count, metric = len(statistics_NK), METRICS[name]
    rng = np.random.default_rng(seed)
    values: list[float | None] = []
    for start in range(0, resamples, max(1, _BLOCK // count)):
        rows = min(max(1, _BLOCK // count), resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights_RN = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        sums_RK = metric.sums(statistics_NK, weights_RN.astype(np.float64))
        values += [metric.value(sums_K) for sums_K in sums_RK]
    return values
