"""Rows with all their columns, from every format that has columns, each row with its place.

`.csv` and `.tsv` (quoted, with a header), `.jsonl` and `.json` (one object a line), `.parquet` and
`.arrow`, and `.txt` (a text a line, in a column `text`), each plain, `.gz` or `.zst`. A `.csv`
whose header has no comma outside quotes, but semicolons or tabs, is parted by these. Memory holds a
row or a small batch at a time. The pieces that read a format are shared with `formats`, which takes
one text out of each row and has other ideas of `.txt`.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import DataError, UsageError, explain_os_error, nearest
from bertsmith.text import arrow, streams

TEXT = "text"
"""Name of the only column of a `.txt`."""

LONGEST_ROW = 1 << 24
"""Bytes or characters; as Python values they can take thirty times as much memory."""
_MOST_LINES = 1 << 18
"""Lines of one row of a `.csv` or `.tsv`, and blank lines one after the other."""

_QUOTED = re.compile(r'"[^"]*"?')


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its columns by name, and where it came from."""

    values: dict[str, Any]
    where: str
    """`file:line`, or `file:row` in the formats that have rows instead of lines."""
    header: str = ""
    """`file:line` of the line that names the columns, or `file` where none does; empty where every
    row names its own."""


def read(path: str | Path) -> Iterator[Row]:
    """The rows of one file, in order; the format is told by its ending.

    Values are strings, or what JSON or Arrow holds (numbers, lists, None, ...).

    Raises:
        DataError: bytes that are not UTF-8, a damaged or cut archive, a ragged row, two columns of
            one name, a line that is no JSON object, a blank line of a `.txt`, or no row at all.
        SystemFault: the file cannot be read.
        UsageError: the path is a folder, or the ending is not supported.
        MissingExtra: the format needs a package that is not installed.
    """
    path = str(path)
    refuse_folder(path)
    ending = streams.endings(path)[0]
    if ending not in READERS:
        raise streams.unsupported(path, READERS)
    empty = True
    try:
        for row in READERS[ending](path):
            empty = False
            yield row
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if empty:
        raise DataError(f"{path} is empty; give a file with rows.")


def refuse_folder(path: str | Path) -> None:
    """Refuses a folder where one file is needed.

    Raises:
        UsageError: it is one.
    """
    if not streams.is_url(str(path)) and Path(path).is_dir():
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


def delimited(path: str) -> Iterator[tuple[list[str], int]]:
    """The fields of each row and the line it begins on, the header first, blank rows left out.

    Quotes may hold separators and line breaks; how many fields a row has is not looked at.
    """
    is_tsv = streams.endings(path)[0] == ".tsv"
    csv.field_size_limit(LONGEST_ROW)
    lines = _RowLines(path)
    first = next(lines, None)
    if first is None:
        return
    delimiter = "\t" if is_tsv else _delimiter(first)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    width = 0
    try:
        for fields in reader:
            number = lines.first
            if is_tsv and width and lines.are_rows_of(width):
                raise DataError(
                    f"{path}:{number}: the quote opened here closes in line {lines.last}, around "
                    'what looks like whole rows. Put a text that begins with a quote in "double '
                    'quotes" and double the quotes in it, or remove the quote.'
                )
            lines.begin_row()
            if fields:
                width = width or len(fields)
                yield fields, number
    except csv.Error as error:
        # The csv module's own words for it are advice to a programmer.
        if "new-line character" in str(error):
            raise lone_return(f"{path}:{lines.first}") from error
        raise DataError(
            f"{path}:{lines.first}: malformed row ({error}). Put fields with quotes, line breaks "
            'or separators in "double quotes", and check for a quote left open.'
        ) from error


class _RowLines(Iterator[str]):
    """The lines of a file, and what is known of those that the csv module takes for one row.

    The lines themselves are not kept: behind a quote left open the rest of the file is one row.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines = streams.decoded_lines(path, longest=LONGEST_ROW)
        self.last = 0
        self.begin_row()

    def begin_row(self) -> None:
        """The next line is the first of a row."""
        self.first = self.last + 1
        self._characters = 0
        self._tabs: set[int] = set()
        self._has_doubled_quotes = False

    def __next__(self) -> str:
        line = next(self._lines)
        self.last += 1
        self._characters += len(line)
        if self._characters > LONGEST_ROW or self.last - self.first > _MOST_LINES:
            raise DataError(
                f"{self._path}:{self.first}: this row is longer than {LONGEST_ROW >> 20} MiB or "
                f"{_MOST_LINES} lines; check for a quote left open."
            )
        if line.strip():
            self._tabs.add(line.count("\t"))
            self._has_doubled_quotes |= '""' in line
        return line

    def are_rows_of(self, width: int) -> bool:
        """Whether these are whole rows of a `.tsv` each, if quotes were mere characters.

        A text that begins with a quote, written as it is, would else swallow the rows up to the
        next quote.
        """
        return self.last > self.first and self._tabs <= {width - 1} and not self._has_doubled_quotes


def lone_return(where: str) -> DataError:
    """The error for a carriage return without a line feed."""
    return DataError(
        f"{where}: found a lone carriage return, expected lines that end in a line feed. "
        "Convert the line ends (`tr '\\r' '\\n'`), or put a text with a carriage return in "
        '"double quotes".'
    )


def _delimiter(header: str) -> str:
    """What parts the columns of a `.csv`: a comma, or where its header has none, what it has."""
    plain = _QUOTED.sub("", header)
    others = [mark for mark in ";\t" if mark in plain]
    return others[0] if "," not in plain and len(others) == 1 else ","


def ragged(where: str, found: int, expected: int) -> DataError:
    """The complaint about a row of another length than the header."""
    remedy = 'put a field with a separator in "double quotes"'
    if found < expected:
        remedy = 'add the missing fields, or put a field with a line break in "double quotes"'
    return DataError(
        f"{where}: found {found} {'columns' if found > 1 else 'column'}, expected {expected} as in "
        f"the header; {remedy}."
    )


def json_object(where: str, line: str, *, example: str) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        DataError: it is not JSON or not an object; `example` is shown.
    """
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        what = str(error)
        # Of half a surrogate pair it is said too, and there the line is whole.
        if what == "Input data was truncated" and line.rstrip()[-1:] not in ("}", "]"):
            raise DataError(
                f"{where}: the JSON value does not end on this line; expected one object per "
                f"line, such as {example} (`jq -c '.[]'` converts a list to such lines)."
            ) from error
        if not what.startswith("JSON"):
            what = what[0].lower() + what[1:]
        raise DataError(
            f"{where}: not JSON ({what}); expected one object per line, such as {example}."
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: found a JSON {kind_of(value)}, expected one object per line, such as "
            f"{example}."
        )
    return value


def _read_delimited(path: str) -> Iterator[Row]:
    names: list[str] = []
    where = header = ""
    for fields, number in delimited(path):
        where = f"{path}:{number}"
        if not names:
            names, header = _named(fields), where
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise DataError(f"{where}: the column '{min(twice)}' occurs twice; rename one.")
        elif len(fields) != len(names):
            raise ragged(where, len(fields), len(names))
        else:
            yield Row(dict(zip(names, fields, strict=True)), where, header)
    if header and where == header:
        raise DataError(f"{header}: no rows below the header; give a file with rows.")


def _named(header: list[str]) -> list[str]:
    """Spreadsheets write columns without a name; where there are several, each gets its number."""
    if header.count("") < 2:
        return header
    return [name or f"column {number}" for number, name in enumerate(header, 1)]


def _texts(path: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(streams.decoded_lines(path, longest=LONGEST_ROW), 1):
        yield line.removesuffix("\n"), f"{path}:{number}"


def _read_json(path: str) -> Iterator[Row]:
    for text, where in _texts(path):
        if text.strip():
            yield Row(json_object(where, text, example='{"text": "...", "label": "..."}'), where)


def _read_table(path: str) -> Iterator[Row]:
    for values, number in arrow.table(path, convert=lambda batch: batch.to_pylist()):
        yield Row(values, f"{path}:{number}", path)


def _read_text(path: str) -> Iterator[Row]:
    """No line may be blank, but the last ones: what is said of line 7 must stand in row 7."""
    blank, blanks = "", 0
    for text, where in _texts(path):
        if is_blank(text):
            blank, blanks = blank or where, blanks + 1
        if blank and (not is_blank(text) or blanks > _MOST_LINES):
            raise DataError(f"{blank}: blank line; expected one text per line. Remove it.")
        if not blank:
            yield Row({TEXT: text.removesuffix("\r")}, where, path)


READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_table,
    ".arrow": _read_table,
    ".txt": _read_text,
}
"""By ending; a new format is a new row."""
