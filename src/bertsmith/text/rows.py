"""What the readers of all formats share: a text or a row with its place, and complaints.

Memory holds a row or a small batch at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.core.errors import DataError, UsageError, nearest, option
from bertsmith.core.remote import is_url
from bertsmith.text import streams

TEXT = "text"
"""Name of the only column of a `.txt`."""

LONGEST_DOCUMENT = 1 << 22
"""Characters; a longer document is cut into several (a file may never show a blank line)."""
LONGEST_ROW = 1 << 24
"""Bytes or characters; as Python values they can take thirty times as much memory."""
MOST_LINES = 1 << 18
"""Lines of one row of a `.csv` or `.tsv`, and blank lines one after the other."""

Text = tuple[str, int, bool]
"""A text, its line or row counted from 1, and whether it goes on in the next (it was cut)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its columns by name, and where it came from."""

    values: dict[str, Any]
    where: str
    """`file:line`, or `file:row` in the formats that have rows instead of lines."""
    header: str = ""
    """`file:line` of the line that names the columns, or `file` where none does; empty where every
    row names its own."""


def lines_with_places(path: str) -> Iterator[tuple[str, str]]:
    """Each line of a file without its line feed, and its place as `file:line`."""
    for number, line in enumerate(streams.decoded_lines(path, longest=LONGEST_ROW), 1):
        yield line.removesuffix("\n"), f"{path}:{number}"


def refuse_folder(path: str | Path) -> None:
    """Refuses a folder where one file is needed.

    Raises:
        UsageError: it is one.
    """
    if not is_url(str(path)) and Path(path).is_dir():
        raise UsageError(f"{path} is a folder; give one file in it.")


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen: white space, control and zero-width characters alone."""
    return not any(sign.isprintable() and not sign.isspace() for sign in text)


def column(row: Row, name: str, *, advice: str) -> Any:
    """The value in the column `name`.

    Raises:
        DataError: there is no such column; the nearest is suggested, all are listed, and `advice`
            says what to do, e.g. `name another with --label`.
    """
    if name not in row.values:
        known = list(row.values)
        mark = next((mark for mark in "\t,;|" if mark in "".join(known)), None)
        if len(known) == 1 and mark is not None:
            advice = (
                f"if {mark!r} separates the columns, convert the file to a .csv with commas or a "
                ".tsv with tabs"
            )
        elif not row.header:  # A JSON object, perhaps the only one without this key.
            advice += ", or add it to this row"
        raise no_such(row.header or row.where, name, known, advice=advice)
    return row.values[name]


def kind_of(value: object) -> str:
    """What JSON calls it, e.g. `list`; of what only Arrow has, the name of its type."""
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    kinds |= {int: "number", float: "number"}
    return kinds.get(type(value), type(value).__name__)


def no_such(
    where: str, name: str, known: Sequence[str], *, kind: str = "column", advice: str
) -> DataError:
    """The complaint about a column or key that is not among the `known`."""
    listed = ", ".join(f"'{key[:40]}'" for key in known[:20]) or "none"
    return DataError(
        f"{where}: no {kind} '{name}'{nearest(name, known)}; found {listed}: {advice}."
    )


def no_text_field(where: str, name: str, known: Sequence[str], kind: str) -> DataError:
    """The complaint about a missing column or key (`kind`) that should hold the text."""
    advice = f"name the {kind} that holds the text with {option('text_field')}"
    return no_such(where, name, known, kind=kind, advice=advice)


def cut_at(text: str) -> int:
    """Where to end the first piece of a long text: after a line, else a space, else anywhere."""
    for mark in "\n ":
        end = text.rfind(mark, LONGEST_DOCUMENT // 2, LONGEST_DOCUMENT)
        if end > 0:
            return end + 1
    return LONGEST_DOCUMENT
