"""Rows of a user's file as examples: missing columns at once, then bad rows all together."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from bertsmith.core.errors import DataError, nearest, option
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.examples import Example
from bertsmith.text import rows, streams
from bertsmith.text.formats.registry import read_rows
from bertsmith.text.rows import Row

_LOOKED_AT = 20
"""Rows that tell whether a column is there, in formats in which each row names its own."""

Parse = Callable[[Row, str], Example | None]
"""(row, its number from 0) -> the example, or None if the row is left out."""


def read(
    path: Path | str, needed: Mapping[str, str], parse: Parse, bad: BadRows
) -> Iterator[tuple[Row, Example]]:
    """The rows of a file and their examples, in order.

    Args:
        path: the file.
        needed: parameter -> the column that every row must have.
        parse: raises DataError for a row that cannot be used.
        bad: collects these rows.

    Raises:
        DataError: columns are missing, or rows cannot be used; a format's reader also raises it.
        UsageError, SystemFault: as `formats.registry.read_rows`.
    """
    given = read_rows(path)
    first = list(islice(given, 1))
    if first and not first[0].header:
        first += islice(given, _LOOKED_AT - 1)
    _check_columns(first, needed)
    for number, row in enumerate(chain(first, given)):
        example = None
        with bad.row():
            example = parse(row, str(number))
        if example is not None:
            yield row, example
    bad.judge(path)


def _check_columns(first: list[Row], needed: Mapping[str, str]) -> None:
    """Refuses a file without columns that are needed; all of them are named."""
    known = list(dict.fromkeys(name for row in first for name in row.values))
    missing = {field: name for field, name in needed.items() if name not in known}
    if not missing:
        return
    flags = ", ".join(option(field) for field in missing)
    if len(missing) == 1 or len(known) == 1:
        [(field, name), *_] = missing.items()
        rows.column(first[0], name, advice=f"name another with {option(field)}")
    listed = ", ".join(f"'{name[:40]}'" for name in known[:20]) or "none"
    names = ", ".join(f"'{name}'{nearest(name, known)}" for name in missing.values())
    raise DataError(
        f"{first[0].header or first[0].where}: no columns {names}; found {listed}: name others "
        f"with {flags}."
    )


def is_lines(path: Path | str) -> bool:
    """Whether a file has a text a line."""
    return streams.endings(str(path))[0] == ".txt"
