"""What a score is: sums over examples, and a function of the sums.

The value over all examples, over a bootstrap resample and over one example so come from the same
lines. References and predictions have one entry for each of N examples; which, a kind says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNDEFINED = (
    "A correlation tells whether predictions rise where the right numbers rise; these predictions "
    "(or the right numbers) are all the same, so nothing rises, and the correlation is undefined "
    "rather than 0."
)
"""Why `pearson` and `spearman` may have no value."""


def told(score: float | None) -> str:
    """A score in words; an error may be of any size."""
    if score is None:
        return "undefined"
    is_usual = score == 0 or 1e-4 <= abs(score) < 1e4
    return f"{score:.4f}" if is_usual else f"{score:.4g}"


@dataclass(frozen=True, slots=True)
class Metric:
    """A score as a function of sums over examples."""

    title: str
    statistics: Callable[[Any, Any], Floats]
    """(references, predictions) -> what each example adds to K sums [N, K], or that by which `sums`
    knows it."""
    value: Callable[[Floats], float | None]
    """Sums [K] -> the score; None: undefined."""
    sums: Callable[[Floats, Floats], Floats] = lambda statistics, weights_RN: (
        weights_RN @ statistics
    )
    """(statistics, weights of the examples [R, N]) -> their sums [R, K]."""
    is_error: bool = False
    """Whether it is in the unit of the labels, and less is better; else 1 is best."""
    meaning: str = ""
    """For a report, a sentence."""


def mean(sums_2: Floats) -> float:
    """A sum over a count."""
    return float(sums_2[0] / sums_2[1])


def f1(hits: float, gold: float, predicted: float) -> float:
    """The harmonic mean of precision and recall; 0 where there is nothing."""
    return float(2 * hits / (gold + predicted)) if gold + predicted else 0.0


def share(part: float, whole: float) -> float:
    """A quotient, 0 of nothing."""
    return float(part / whole) if whole else 0.0


F1_WORDS = (
    "the harmonic mean of precision (how many of those said are right) and recall (how many of "
)
"""For the meanings of several metrics."""


def agree(gold: Any, predicted: Any) -> Floats:
    """Hits and examples [N, 2]."""
    hits = (np.asarray(gold) == np.asarray(predicted)).astype(np.float64)
    return np.stack([hits, np.ones_like(hits)], axis=1)


ACCURACY = Metric(
    "accuracy", agree, mean, meaning="Accuracy is the share of answers that are right."
)


@dataclass(frozen=True, slots=True)
class Row:
    """How one class, label or type of entity fares; 0 where there is nothing to divide by."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """How many there are in the gold data."""


def row(name: str, hits: int, gold: int, predicted: int) -> Row:
    """The row of these counts."""
    return Row(
        name, share(hits, predicted), share(hits, gold), f1(hits, gold, predicted), int(gold)
    )
