"""Predictions to scores: every metric of a task, and the one number that compares runs."""

from collections.abc import Sequence
from typing import Any

from bertsmith.tasks import metrics
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import Prediction, TaskKind
from bertsmith.tasks.task import Task

Scores = dict[str, float | None]
"""Metric -> score; None: undefined."""


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
    references = task.kind.references(examples, labels)
    return metrics.score(task.metrics, references, task.kind.predictions(predictions, labels))


def baseline(kind: TaskKind, names: Sequence[str], references: Any) -> Scores:
    """What always giving the kind's usual answer would score on these references."""
    return metrics.score(names, references, kind.baseline(references))
