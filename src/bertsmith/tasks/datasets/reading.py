"""Which reader reads a file: the one place that decides, for training, scoring and predicting.

Files of an official task are read as its row in the table says, users' own files by their kind and
its ending.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.core.errors import UsageError, option
from bertsmith.core.remote import is_url
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import registry, squad
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.task import Task
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import streams

Asked = Iterator[tuple[dict[str, Any], Example]]
"""The columns of a row, and what the model is asked about it."""


def refuse_columns(
    kind: TaskKind, given: Collection[str], *, official: bool, labelled: bool
) -> None:
    """Refuses names of columns that would not be looked at.

    Args:
        kind: what the task does.
        given: fields of `Columns` that the user named.
        official: whether all files are official ones, which have their own names.
        labelled: whether the files have to have labels.

    Raises:
        UsageError: one of the columns would not be read.
    """
    if official and given:
        raise UsageError(
            f"{option(min(given))} names a column, but official files have fixed columns; remove "
            "it."
        )
    known = kind.columns_read(labelled=labelled)
    for name in given:
        if name not in known:
            raise UsageError(
                f"{option(name)} names a column that '{kind.name}' does not read; it reads those "
                f"of {', '.join(map(option, known))}. Remove it."
            )


def refuse_skipping(task: Task | None) -> None:
    """Refuses `skip_bad` for official files, in which no row is bad.

    Raises:
        UsageError: the task is official, and none whose answers may be misplaced.
    """
    if task is not None and task.kind.level != "span":
        raise UsageError(
            f"{option('skip_bad')} is for files of your own, squad and squad2; remove it."
        )


def official(name: str, *, bad: BadRows | None = None, notes: Notes | None = None) -> Task | None:
    """The task of that name in the table, or None for files of the user's own.

    Args:
        name: a row of the table, or a kind.
        bad: collects rows that cannot be used; None: they are refused, all at once.
        notes: are told what was decided by a rule.
    """
    task = registry.TASKS.get(name)
    if task is None or task.kind.level != "span":
        return task
    possible = task.may_be_impossible
    reader = squad.reader(may_be_impossible=possible, bad=bad, notes=notes)
    return replace(task, read=reader)


def dev_parts(folder: Path, task: Task) -> dict[str, list[Example]]:
    """Every dev part of an official task; see `table.load`.

    Raises:
        DataError: one is missing or damaged.
        SystemFault: one cannot be read.
    """
    parts = [part for part in task.files if part.startswith("dev")]
    return {part: registry.load(folder, task, part) for part in parts}


def labelled(
    task_config: TaskConfig,
    path: Path | str,
    *,
    columns: Columns,
    bad: BadRows | None = None,
    notes: Notes | None = None,
) -> dict[str, list[Example]]:
    """What a model is scored on: the dev parts in a folder of official files, or one file.

    Args:
        task_config: of the model.
        path: the folder or the file.
        columns: what the columns of the user's own file are called.
        bad: collects rows that cannot be used; None: they are refused, all at once.
        notes: are told what was decided by a rule.

    Raises:
        UsageError: a folder, and the model's task is no official one.
        DataError: a file is missing or damaged, or has no labels.
        SystemFault: a file cannot be read.
    """
    task = official(task_config.task, bad=bad, notes=notes)
    is_folder = not is_url(str(path)) and Path(path).is_dir()
    if task is not None and is_folder:
        return dev_parts(Path(path), task)
    if is_folder:
        raise UsageError(
            f"{option('data', path)} is a folder, but the model was fine-tuned on a file of your "
            "own; give a labelled file of the same form."
        )
    name = str(path).rpartition("/")[2]
    if task is not None:
        return {name: registry.read(path, task, "dev")}
    found = kind_named(task_config.kind).read(path, columns, bad=bad, notes=notes)
    return {name: list(found)}


def asked(
    task_config: TaskConfig, path: Path | str, *, columns: Columns, bad: BadRows | None = None
) -> Asked:
    """What a model is asked about each row of a file, no label looked for.

    Files that are called like official ones of the model's task are read as these; where a layout
    has no rows, the columns are the `id` of the example alone. `bad` collects rows that cannot be
    asked about; None: they are refused, all at once.

    Raises:
        UsageError: the path is a folder, its ending is not supported, or it has lines of text where
            several texts belong together.
        DataError: a row that cannot be asked about, by file and line.
        SystemFault: the file cannot be read.
    """
    part = _official_part(task_config.task, path)
    if part is None:
        yield from kind_named(task_config.kind).read_unlabelled(
            path, columns, labels=task_config.labels, bad=bad
        )
        return
    for example in registry.read(path, registry.TASKS[task_config.task], part):
        yield {"id": example.key}, example


def _official_part(task: str, path: Path | str) -> str | None:
    """The part of an official task whose file is called so."""
    name = str(path).rpartition("/")[2]
    if task in registry.TASKS:
        for part, names in registry.TASKS[task].files.items():
            if name.removesuffix(streams.endings(name)[1]) in names:
                return part
    return None
