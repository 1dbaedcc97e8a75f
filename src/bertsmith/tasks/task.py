"""A task: a set of files, what is done with it, and what counts as good at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.task_config import Columns


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is done with a set of files, and what counts as good at it."""

    name: str
    """As the command line has it, e.g. `mrpc`."""
    title: str
    kind: TaskKind
    metrics: tuple[str, ...]
    """Names in `metrics.METRICS`, in the order they are shown."""
    files: Mapping[str, tuple[str, ...]]
    """Part -> names its file may have in the data folder, the first that exists is taken. Parts are
    `train`, `dev`, `test` and, where a task has more of a sort, `dev-mismatched` and so on."""
    read: Callable[[Path, str], list[Example]] | None = None
    """(file, part) -> its examples in order. Raises DataError with file and line. None for the
    user's own files, which the kind reads."""
    labels: tuple[str, ...] = ()
    """Classes in the order of the model's outputs; empty: those of the training file, sorted."""
    pair: bool = False
    """Whether an example has two texts."""
    symmetric: bool = False
    """Whether it means nothing which text of a pair comes first, as in similarity."""
    bounds: tuple[float, float] | None = None
    """Least and greatest value of a regression's labels, if the task fixes them."""
    may_be_impossible: bool = False
    """Whether a question may have no answer (SQuAD v2.0)."""
    deciding: tuple[str, ...] = ()
    """Those of `metrics` whose mean (as GLUE averages them) decides which run is best; empty: all
    of them."""


def own_task(kind: TaskKind, *, columns: Columns, train: Sequence[Example]) -> Task:
    """The row that a table would have for the user's files; labels are learned from `train`."""
    labels = kind.classes(train)
    names = kind.metrics_of(labels)
    return Task(
        name=kind.name,
        title=f"Custom data ({kind.name})",
        kind=kind,
        metrics=names,
        deciding=tuple(name for name in names if name in kind.deciding),
        files={},
        labels=labels,
        pair=columns.text_pair is not None,
        may_be_impossible=any(example.answer == () for example in train),
    )
