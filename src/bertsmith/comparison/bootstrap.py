"""Which differences between systems are larger than the noise: a paired bootstrap.

A score has two sources of chance: which examples the dev part happens to have, and which seed a
run had. A resample draws examples, the same for all systems, and for each system as many seeds as
it has; the difference of two systems is taken inside each resample (Efron and Tibshirani 1993;
Berg-Kirkpatrick et al. 2012).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.tasks.metrics import METRICS

Floats = NDArray[np.float64]

RESAMPLES = 1000


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One system's mean score minus another's."""

    task: str
    first: str
    second: str
    value: float
    interval: tuple[float, float]
    """95%, over examples and seeds."""

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


def resampled_scores(
    names: Sequence[str], gold: Any, predictions: Sequence[Any], *, seed: int = 0
) -> Floats:
    """A system's score in every resample of the examples, [resamples, runs].

    The same `seed` and number of examples give the same resamples, so that systems are paired.

    Args:
        names: metrics, whose mean is the score; one that is undefined counts as 0.
        gold: right answers to N examples, as `tasks.metrics` has them.
        predictions: of each run, its answers to them.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(gold)
    drawn = rng.integers(count, size=(RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    weights_RN = np.bincount(drawn.ravel(), minlength=RESAMPLES * count).reshape(-1, count)
    columns = []
    for predicted in predictions:
        values = [
            [METRICS[name].value(sums_K) or 0.0 for sums_K in weights_RN @ statistics_NK]
            for name in names
            for statistics_NK in [METRICS[name].statistics(gold, predicted)]
        ]
        columns.append(np.mean(values, axis=0))
    return np.stack(columns, axis=1)


def difference(
    first_RS: Floats, second_RS: Floats, *, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Mean and 95% percentile interval of the first system's score minus the second's.

    Args:
        first_RS: `resampled_scores` of one system.
        second_RS: those of the other, on the same resamples; it may have another number of runs.
        seed: of the draws of seeds.
    """
    rng = np.random.default_rng(seed)
    means = []
    for scores_RS in (first_RS, second_RS):
        drawn = rng.integers(scores_RS.shape[1], size=scores_RS.shape)
        means.append(np.take_along_axis(scores_RS, drawn, axis=1).mean(axis=1))
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(first_RS.mean() - second_RS.mean()), (float(low), float(high))
