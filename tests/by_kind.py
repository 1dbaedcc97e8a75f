"""What the kinds of task do, by their names, for tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bertsmith.tasks import scoring, task
from bertsmith.tasks.examples import Example, Limits
from bertsmith.tasks.features import Features
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.registry import KINDS, kind_named
from bertsmith.tasks.task import Task
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def build(
    kind: str,
    examples: Sequence[Any],
    tokenizer: Tokenizer,
    limits: Limits,
    labels: Sequence[str] = (),
) -> Features:
    """The inputs of examples."""
    return kind_named(kind).encode(examples, tokenizer, limits, labels)


def decode(
    kind: str,
    features: Features,
    outputs: Any,
    examples: Sequence[Any],
    *,
    labels: Sequence[str] = (),
    **known: Any,
) -> list[Prediction]:
    """The answers of a model of these labels."""
    task_config = TaskConfig(
        task=kind, kind=kind, labels=tuple(labels), limits=Limits(512, 128), **known
    )
    return kind_named(kind).decode(features, outputs, examples, task_config)


def gold(kind: str, examples: Sequence[Any], labels: Sequence[str]) -> Any:
    """The right answers, as metrics take them."""
    return kind_named(kind).references(examples, labels)


def said(kind: str, answers: Sequence[Any], labels: Sequence[str]) -> Any:
    """The predictions, as metrics take them."""
    return kind_named(kind).predictions(answers, labels)


def read_own(kind: str, path: Path | str, *, columns: Columns, **more: Any) -> Iterator[Example]:
    """The examples of a file of the user's own."""
    return kind_named(kind).read(path, columns, **more)


def own_task(kind: str, *, columns: Columns, train: Sequence[Example]) -> Task:
    """The task of a user's own files."""
    return task.own_task(kind_named(kind), columns=columns, train=train)


def baseline(kind: str, names: Sequence[str], references: Any) -> scoring.Scores:
    """The scores of always giving the usual answer."""
    return scoring.baseline(kind_named(kind), names, references)


def kind_with(metric: str) -> str:
    """A kind that a metric scores."""
    return next(name for name, kind in KINDS.items() if metric in kind.metrics)
