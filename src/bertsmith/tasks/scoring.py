"""Predictions to scores: every metric of a task, and the one number that compares runs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bertsmith.models.head_config import Kind
from bertsmith.tasks import metrics
from bertsmith.tasks.decode import Prediction, SpanAnswer, gold, said
from bertsmith.tasks.spans import answer_f1, best_threshold
from bertsmith.tasks.task import Example, Task
from bertsmith.tasks.task_config import Taught

Scores = dict[str, float | None]
"""Metric -> score; None: undefined."""

_CONSTANT = 0.01
"""Deviation of answers, as a share of that of the right numbers, at which they are all one."""


def decisive(task: Task, scores: Scores) -> float:
    """The number by which epochs and runs are compared: the mean of the deciding metrics."""
    return metrics.main({name: scores[name] for name in task.deciding or task.metrics})


def score(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
) -> Scores:
    """Every metric of the task over labelled examples."""
    return metrics.score(
        task.metrics,
        gold(task.kind, examples, labels),
        said(task.kind, predictions, labels),
    )


def is_constant(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
    """Whether a regression gives nearly the same number to everything.

    A correlation does not tell: it looks at the order, however little the numbers differ.
    """
    if task.kind != "regress":
        return False
    right, answered = gold(task.kind, examples, ()), said(task.kind, predictions, ())
    return bool(np.std(answered) <= _CONSTANT * np.std(right))


def baseline(kind: Kind, names: Sequence[str], right: Any) -> Scores:
    """What always giving the most frequent answer would score.

    Args:
        kind: of the task.
        names: of the metrics.
        right: right answers (see `decode.gold`), of which the most frequent (`regress`: the mean)
            is given; to a question always none. These themselves, not those of the training part,
            or giving another class every time could look better than it.
    """
    count = len(right)
    said: object
    match kind:
        case "classify" | "choose":
            said = np.full(count, np.bincount(right).argmax())
        case "regress":
            said = np.full(count, np.mean(right))
        case "tag":
            [(tag, _)] = Counter(tag for row in right for tag in row).most_common(1)
            said = [[tag] * len(row) for row in right]
        case "answer":
            said = [""] * count
    return metrics.score(names, right, said)


def tune_threshold(
    task: Task, taught: Taught, examples: Sequence[Any], predictions: list[Prediction]
) -> tuple[Taught, list[Prediction]]:
    """SQuAD v2.0: the threshold that has the best F1 on dev, as the official script finds it.

    The script's is the difference of a question of dev; here it lies halfway to the next, which
    decides dev alike and other questions no closer to one side than to the other.
    """
    if not task.may_be_impossible:
        return taught, predictions
    found: list[SpanAnswer] = [answer for answer in predictions if isinstance(answer, SpanAnswer)]
    rights = gold("answer", examples, ())
    differences = np.array([answer.null_minus_best for answer in found])
    threshold, _ = best_threshold(
        differences,
        np.array([bool(answers) for answers in rights]),
        scores=np.array(
            [
                answer_f1(answers, answer.best_text, may_be_impossible=True)
                for answers, answer in zip(rights, found, strict=True)
            ]
        ),
    )
    if (differences > threshold).any():
        threshold = (threshold + float(differences[differences > threshold].min())) / 2
    return msgspec.structs.replace(taught, threshold=threshold), [
        answer.decided(threshold) for answer in found
    ]
