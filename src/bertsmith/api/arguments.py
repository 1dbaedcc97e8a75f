"""Arguments of the public functions: paths, settings by name, columns, tables in memory."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.core.errors import BertsmithError, UsageError, nearest, option

if TYPE_CHECKING:
    from bertsmith.tasks.task_config import Columns
    from bertsmith.text.tables import Table

StrPath = str | os.PathLike[str]
Precision = Literal["auto", "fp32", "bf16"]


def paths_of(inputs: StrPath | Sequence[StrPath]) -> list[str]:
    """Inputs as a list of paths; one is a list of one."""
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    return [os.fspath(path) for path in inputs]


def check_names(settings: dict[str, Any], known: Sequence[str]) -> None:
    """Refuses settings that are misspelled, as Python refuses unknown keywords.

    Raises:
        UsageError: a name is not known.
    """
    for name in settings:
        if name not in known:
            raise UsageError(f"There is no setting {option(name)}{nearest(name, known)}.")


def columns_of(**names: Any) -> "Columns":
    """The names of columns, of those that were given.

    Raises:
        UsageError: there is no such name.
    """
    from dataclasses import fields

    from bertsmith.tasks.task_config import Columns

    check_names(names, [field.name for field in fields(Columns)])
    if "choices" in names:
        choices = names["choices"]
        names["choices"] = (choices,) if isinstance(choices, str) else tuple(choices)
    return Columns(**names)


@contextlib.contextmanager
def as_file(data: "StrPath | Table | None", name: str) -> Iterator[str | None]:
    """The path of a file or, of a table in memory, of one that holds it for a while.

    Messages about the table then call its rows `train:1`, `train:2`, ...

    Raises:
        UsageError, DataError: as `text.tables.rows_of`.
    """
    from bertsmith.text import tables

    if data is None or isinstance(data, str | os.PathLike):
        yield None if data is None else os.fspath(data)
        return
    import msgspec

    with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
        path = Path(folder) / f"{name}.jsonl"
        lines = [msgspec.json.encode(row) for row in tables.rows_of(data, name)]
        path.write_bytes(b"\n".join(lines))
        try:
            yield str(path)
        except BertsmithError as error:
            error.args = tuple(str(part).replace(str(path), name) for part in error.args)
            raise
