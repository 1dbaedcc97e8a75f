"""The official metrics: what a score is made of, its value, and how sure it is.

Every metric adds up numbers of the single examples and computes its value from the sums. The value
over all examples, over a bootstrap resample and over one example so come from the same lines.

`gold` and `predicted` have one entry for each of N examples, by the kind of task:

- classify, choose: numbers of classes or choices, from 0, as integer arrays [N];
- regress: numbers, as float arrays [N];
- tag: a sequence of tags for each sentence;
- answer: for each question every right answer as a tuple of texts (empty: there is none), and the
  predicted text (empty: "no answer").
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.models.head_config import Kind
from bertsmith.tasks.entities import entities
from bertsmith.tasks.spans import answer_f1, exact_match

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


def told_beside(
    name: str, score: float | None, interval: tuple[float, float] | None, baseline: float | None
) -> str:
    """A metric's score in words with its 95% interval and that of the baseline, if known."""
    words = told(score)
    if interval is not None:
        words += " (95% interval {} to {})".format(*map(told, interval))
    if baseline is not None:
        always = (
            "always the mean" if METRICS[name].kinds == ("regress",) else "most frequent answer"
        )
        words += f", {always} {told(baseline)}"
    return words


# Draws that `interval` holds at a time, in a few arrays of 16 MB.
_BLOCK = 1 << 21

# Share of the sum of squares below which a resample's variance is what rounding leaves of zero.
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Metric:
    """A score as a function of sums over examples."""

    title: str
    kinds: tuple[Kind, ...]
    """Tasks that it can score."""
    statistics: Callable[[Any, Any], Floats]
    """(gold, predicted) -> what each example adds to K sums [N, K], or that by which `sums` knows
    it."""
    value: Callable[[Floats], float | None]
    """Sums [K] -> the score; None: undefined."""
    sums: Callable[[Floats, Floats], Floats] = lambda statistics, weights_RN: (
        weights_RN @ statistics
    )
    """(statistics, weights of the examples [R, N]) -> their sums [R, K]."""
    is_error: bool = False
    """Whether it is in the unit of the labels, and less is better; else 1 is best."""


def score(names: Sequence[str], gold: Any, predicted: Any) -> dict[str, float | None]:
    """The value of each metric, by name; None where it is undefined, as all are without examples.

    Raises:
        ValueError: there is not one prediction for each example.
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

    A resample draws N examples with replacement, so it weighs the statistics of each by how often
    it was drawn. What the statistics take from all examples stays that of the full sample; for
    `spearman` these are the ranks. Resamples in which the metric is undefined are left out.

    Args:
        name: of the metric.
        gold: N right answers.
        predicted: N predictions.
        resamples: how many are drawn.
        seed: the same seed gives the same interval.
        level: share of the resamples that lie inside, half of the others on either side.

    Returns:
        Its lower and upper end; None where the metric is undefined.

    Raises:
        ValueError: there is not one prediction for each example.
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

    The same seed and number of examples give the same resamples, so that the values of two models
    are pairs.
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


def _mean(sums_2: Floats) -> float:
    return float(sums_2[0] / sums_2[1])


def _f1(hits: float, gold: float, predicted: float) -> float:
    return float(2 * hits / (gold + predicted)) if gold + predicted else 0.0


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _agree(gold: Any, predicted: Any) -> Floats:
    hits = (np.asarray(gold) == np.asarray(predicted)).astype(np.float64)
    return np.stack([hits, np.ones_like(hits)], axis=1)


def _distances(gold: Any, predicted: Any) -> Floats:
    errors = np.abs(np.asarray(gold, np.float64) - np.asarray(predicted, np.float64))
    return np.stack([errors, np.ones_like(errors)], axis=1)


def _agree_on_positive(gold: Any, predicted: Any) -> Floats:
    is_gold, is_predicted = np.asarray(gold) == 1, np.asarray(predicted) == 1
    return np.stack([is_gold & is_predicted, is_gold, is_predicted], axis=1).astype(np.float64)


def _both_classes(gold: Any, predicted: Any) -> Floats:
    return np.stack([gold, predicted], axis=1).astype(np.float64)


def _sums_by_class(classes_N2: Floats, weights_RN: Floats) -> Floats:
    """Hits, gold and predicted of each class side by side [R, 3 * C].

    As one-hot rows of the examples they would be 3 * C numbers each, of which 3 are not 0.
    """
    gold, predicted = classes_N2.astype(np.int64).T
    hits, most = gold == predicted, int(classes_N2.max()) + 1
    return np.array(
        [
            np.concatenate(
                [
                    np.bincount(gold[hits], weights_N[hits], minlength=most),
                    np.bincount(gold, weights_N, minlength=most),
                    np.bincount(predicted, weights_N, minlength=most),
                ]
            )
            for weights_N in weights_RN
        ]
    )


def _macro_f1(sums: Floats) -> float:
    hits_C, gold_C, predicted_C = sums.reshape(3, -1)
    # A class that neither side has is no part of the mean (scikit-learn's default `labels`).
    seen = gold_C + predicted_C > 0
    return float((2 * hits_C[seen] / (gold_C + predicted_C)[seen]).mean())


def _matthews(sums: Floats) -> float:
    """Gorodkin's correlation of several classes (2004); Matthews' (1975) where they are two."""
    hits_C, gold_C, predicted_C = sums.reshape(3, -1)
    total = gold_C.sum()
    spread = (total**2 - gold_C @ gold_C) * (total**2 - predicted_C @ predicted_C)
    # Whole numbers, so exactly 0 where a side is constant; scikit-learn and GLUE then score 0.
    return float((hits_C.sum() * total - gold_C @ predicted_C) / math.sqrt(spread or 1.0))


def _moments(gold: Any, predicted: Any) -> Floats:
    x, y = _centred(gold), _centred(predicted)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _centred(values: ArrayLike) -> Floats:
    """Numbers moved and scaled, which changes no correlation, so that their squares lose nothing.

    All 0 where they are all the same, or one is not a number, so that they have no variance.
    """
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all() or numbers.min() == numbers.max():
        return np.zeros_like(numbers)
    centred: Floats = numbers - numbers.mean()
    return centred / float(np.abs(centred).max())


def _correlation(sums_6: Floats) -> float | None:
    count, x, y, xx, yy, xy = (float(total) for total in sums_6)
    variances = count * xx - x * x, count * yy - y * y
    if variances[0] <= _NO_VARIANCE * count * xx or variances[1] <= _NO_VARIANCE * count * yy:
        return None
    covariance = count * xy - x * y
    return min(1.0, max(-1.0, covariance / math.sqrt(variances[0]) / math.sqrt(variances[1])))


def _rank_moments(gold: Any, predicted: Any) -> Floats:
    return _moments(_ranks(gold), _ranks(predicted))


def _ranks(values: ArrayLike) -> Floats:
    """Places in ascending order; equal numbers share the mean of theirs."""
    numbers = np.asarray(values, np.float64)
    _, group, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    ranks[np.isnan(numbers)] = np.nan
    return ranks


def _agree_by_word(gold: Any, predicted: Any) -> Floats:
    """Right words and words of each sentence [N, 2]."""
    pairs = zip(gold, predicted, strict=True)
    return np.array(
        [
            (sum(one == other for one, other in zip(right, guess, strict=True)), len(right))
            for right, guess in pairs
        ],
        np.float64,
    )


def _entity_counts(gold: Any, predicted: Any) -> Floats:
    """Hits, gold and predicted entities of each sentence [N, 3]; a hit has type, start and end."""
    rows = []
    for right, guess in zip(gold, predicted, strict=True):
        found, guessed = set(entities(right)), set(entities(guess))
        rows.append((len(found & guessed), len(found), len(guessed)))
    return np.array(rows, np.float64)


def _answers(rule: Callable[..., float]) -> Callable[[Any, Any], Floats]:
    def statistics(gold: Any, predicted: Any) -> Floats:
        # The script of v2.0 if a question has no answer, else that of v1.1.
        impossible = not all(gold)
        pairs = zip(gold, predicted, strict=True)
        scores = [rule(right, text, may_be_impossible=impossible) for right, text in pairs]
        return np.array([(value, 1.0) for value in scores])

    return statistics


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", ("classify", "choose"), _agree, _mean),
    "f1": Metric("F1", ("classify",), _agree_on_positive, lambda sums: _f1(*sums)),
    "macro_f1": Metric("macro F1", ("classify",), _both_classes, _macro_f1, _sums_by_class),
    "matthews": Metric(
        "Matthews correlation", ("classify",), _both_classes, _matthews, _sums_by_class
    ),
    "pearson": Metric("Pearson correlation", ("regress",), _moments, _correlation),
    "spearman": Metric("Spearman correlation", ("regress",), _rank_moments, _correlation),
    "mae": Metric("mean absolute error", ("regress",), _distances, _mean, is_error=True),
    "exact_match": Metric("exact match", ("answer",), _answers(exact_match), _mean),
    "answer_f1": Metric("F1", ("answer",), _answers(answer_f1), _mean),
    "tag_accuracy": Metric("accuracy of the tags", ("tag",), _agree_by_word, _mean),
    "entity_precision": Metric(
        "precision", ("tag",), _entity_counts, lambda sums: _share(sums[0], sums[2])
    ),
    "entity_recall": Metric(
        "recall", ("tag",), _entity_counts, lambda sums: _share(sums[0], sums[1])
    ),
    "entity_f1": Metric("F1", ("tag",), _entity_counts, lambda sums: _f1(*sums)),
}
"""By the name that a task's row has. `f1` is that of class 1, as for MRPC and QQP; the three of
entities count all types together and are 0 where there is nothing to divide by, as in conlleval."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one class or type of entity fares; 0 where there is nothing to divide by."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """How many there are in the gold data."""


def _row(name: str, hits: int, gold: int, predicted: int) -> Row:
    return Row(
        name, _share(hits, predicted), _share(hits, gold), _f1(hits, gold, predicted), int(gold)
    )


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> NDArray[np.int64]:
    """How many examples of each class (rows) were given each class (columns) [C, C]."""
    counts_CC = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts_CC, (np.asarray(gold), np.asarray(predicted)), 1)
    return counts_CC


def per_class(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> list[Row]:
    """A row for each class, in the classes' order."""
    counts_CC = confusion(gold, predicted, classes)
    columns = counts_CC.diagonal(), counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    return [_row(*cells) for cells in zip(classes, *columns, strict=True)]


def per_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[Row]:
    """A row for each type of entity that the gold or the predicted tags have, by name."""
    hits: Counter[str] = Counter()
    found: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    for right, guess in zip(gold, predicted, strict=True):
        there, here = set(entities(right)), set(entities(guess))
        found.update(entity.type for entity in there)
        guessed.update(entity.type for entity in here)
        hits.update(entity.type for entity in there & here)
    types = sorted(found | guessed)
    return [_row(kind, hits[kind], found[kind], guessed[kind]) for kind in types]
