"""The contract of a metric: sums over examples, and a function of these sums.

The same code therefore scores all examples, a bootstrap resample or a single example. References
and predictions have one entry for each of N examples; the kind of task defines what it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNDEFINED = (
    "The correlation is undefined because all predictions, or all labels, are the same number."
)
"""Why `pearson` and `spearman` may have no value."""


def score_text(score: float | None) -> str:
    """A score as text; an error may be of any magnitude."""
    if score is None:
        return "undefined"
    is_usual = score == 0 or 1e-4 <= abs(score) < 1e4
    return f"{score:.4f}" if is_usual else f"{score:.4g}"


@dataclass(frozen=True, slots=True)
class Metric:
    """A score as a function of sums over examples."""

    title: str
    statistics: Callable[[Any, Any], Floats]
    """(references, predictions) -> each example's addend to K sums [N, K], or whatever `sums`
    takes in its place."""
    value: Callable[[Floats], float | None]
    """Sums [K] -> the score; None if undefined."""
    sums: Callable[[Floats, Floats], Floats] = lambda statistics, weights_RN: (
        weights_RN @ statistics
    )
    """(statistics, weights of the examples [R, N]) -> their sums [R, K]."""
    is_error: bool = False
    """Whether it is in the unit of the labels and lower is better; otherwise 1 is best."""
    meaning: str = ""
    """An explanatory sentence for reports."""


def mean(sums_2: Floats) -> float:
    """A sum over a count."""
    return float(sums_2[0] / sums_2[1])


def f1(hits: float, gold: float, predicted: float) -> float:
    """The harmonic mean of precision and recall; 0 if both counts are 0."""
    return float(2 * hits / (gold + predicted)) if gold + predicted else 0.0


def share(part: float, whole: float) -> float:
    """`part / whole`, 0 if the whole is 0."""
    return float(part / whole) if whole else 0.0


F1_WORDS = (
    "the harmonic mean of precision (share of predictions that are correct) and recall (share of "
    "true ones that are found)"
)
"""For the meanings of several metrics."""


def agree(gold: Any, predicted: Any) -> Floats:
    """Hits and examples [N, 2]."""
    hits = (np.asarray(gold) == np.asarray(predicted)).astype(np.float64)
    return np.stack([hits, np.ones_like(hits)], axis=1)


ACCURACY = Metric(
    "accuracy", agree, mean, meaning="Accuracy is the share of predictions that are correct."
)


@dataclass(frozen=True, slots=True)
class Row:
    """Scores of one class, label or entity type; 0 in place of a division by 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Number of references."""


def row(name: str, hits: int, gold: int, predicted: int) -> Row:
    """The row for these counts."""
    return Row(
        name, share(hits, predicted), share(hits, gold), f1(hits, gold, predicted), int(gold)
    )
