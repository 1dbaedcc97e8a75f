"""Delimited files (`.csv`, `.tsv`): quoted, with a header; quotes may hold line breaks.

A `.csv` whose header has no comma outside quotes, but semicolons or tabs, is parted by these.
"""

import csv
import re
from collections.abc import Iterator
from itertools import chain

from bertsmith.core.errors import DataError
from bertsmith.text import streams
from bertsmith.text.rows import LONGEST_ROW, MOST_LINES, Row, Text, no_text_field

_QUOTED = re.compile(r'"[^"]*"?')


def texts(path: str, text_field: str) -> Iterator[Text]:
    """The column `text_field`, by the header; quotes may hold line breaks."""
    column, width = -1, 0
    for fields, number in delimited(path):
        if column < 0:
            if text_field not in fields:
                raise no_text_field(f"{path}:{number}", text_field, fields, "column")
            column, width = fields.index(text_field), len(fields)
        elif column < len(fields) <= width:
            yield fields[column], number, False
        else:
            raise ragged(f"{path}:{number}", len(fields), width)


def rows(path: str) -> Iterator[Row]:
    """The rows below the header, each as long as it."""
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
        if self._characters > LONGEST_ROW or self.last - self.first > MOST_LINES:
            raise DataError(
                f"{self._path}:{self.first}: this row is longer than {LONGEST_ROW >> 20} MiB or "
                f"{MOST_LINES} lines; check for a quote left open."
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


def lone_return(where: str) -> DataError:
    """The error for a carriage return without a line feed."""
    return DataError(
        f"{where}: found a lone carriage return, expected lines that end in a line feed. "
        "Convert the line ends (`tr '\\r' '\\n'`), or put a text with a carriage return in "
        '"double quotes".'
    )
