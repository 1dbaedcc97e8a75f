"""Which differences between systems are significant.

Two sources of noise are measured: the choice of dev examples and the fine-tuning seed. The first is
covered by a paired bootstrap: each resample draws the same examples for both systems and takes the
difference of their means over runs (Efron and Tibshirani 1993; Berg-Kirkpatrick et al. 2012). The
second is added to each resample: the error of a mean over few runs is drawn from Student's t, with
one degree of freedom less than the system has runs (the Behrens-Fisher problem). A single run says
nothing about this noise, so it has no interval.

A third source is not measured: each system is pre-trained only once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.tasks import metrics

Floats = NDArray[np.float64]

RESAMPLES = 1000
# Draws of the seed noise per resample; Student's t has heavy tails.
_DRAWS = 20


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One system's mean score minus another's."""

    task: str
    first: str
    second: str
    value: float
    interval: tuple[float, float] | None
    """95% interval over examples and fine-tuning seeds; None if a system has a single run."""

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


class Scores(msgspec.Struct, frozen=True):
    """A system's scores on a task."""

    runs_S: Floats
    """Score of each run on all examples."""
    resampled_RS: Floats
    """Score of each run in each resample of the examples."""


def scores_of(names: Sequence[str], gold: Any, predictions: Sequence[Any]) -> Scores:
    """A system's scores on N examples and on resamples of them; resamples are the same for all.

    Args:
        names: metrics, whose mean is the score; an undefined one counts as 0.
        gold: references of N examples, as in `tasks.metrics`.
        predictions: predictions of each run.
    """
    runs = [metrics.main(metrics.score(names, gold, predicted)) for predicted in predictions]
    columns = []
    for predicted in predictions:
        values = [metrics.resampled(name, gold, predicted, resamples=RESAMPLES) for name in names]
        columns.append(np.mean([[one or 0.0 for one in row] for row in values], axis=0))
    return Scores(np.array(runs), np.stack(columns, axis=1))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over tasks, run by run and resample by resample."""
    return Scores(
        np.mean([one.runs_S for one in scores], axis=0),
        np.mean([one.resampled_RS for one in scores], axis=0),
    )


def paired_interval(first: Scores, second: Scores) -> tuple[float, float]:
    """95% interval of the first system's mean score minus the second's, over examples only.

    It ignores the noise of seeds, which is unknown if each system has a single run.
    """
    values_R = first.resampled_RS.mean(1) - second.resampled_RS.mean(1)
    low, high = np.quantile(values_R, [0.025, 0.975])
    return float(low), float(high)


def difference(first: Scores, second: Scores) -> tuple[float, tuple[float, float] | None]:
    """The first system's mean score minus the second's, and its 95% interval.

    Both must use the same resamples; the numbers of runs may differ.
    """
    value = float(first.runs_S.mean() - second.runs_S.mean())
    if min(len(first.runs_S), len(second.runs_S)) < 2:
        return value, None
    rng = np.random.default_rng(0)
    values_RD = (first.resampled_RS.mean(1) - second.resampled_RS.mean(1))[:, None]
    for side in (first, second):
        runs = len(side.runs_S)
        error = side.runs_S.std(ddof=1) / np.sqrt(runs)
        values_RD = values_RD + error * rng.standard_t(runs - 1, size=(RESAMPLES, _DRAWS))
    low, high = np.quantile(values_RD, [0.025, 0.975])
    return value, (float(low), float(high))
