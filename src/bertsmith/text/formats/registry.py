"""The formats of files by their ending: the one table of them.

Each is read in two ways: as texts, for a corpus, and as rows with all their columns, for a task.
Every file may also be packed (`streams.PACKED`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bertsmith.core.errors import DataError, explain_os_error
from bertsmith.text import streams
from bertsmith.text.formats import columnar, delimited, json_lines, plain_text
from bertsmith.text.rows import Row, Text, refuse_folder


class Format(NamedTuple):
    """The two readers of a format."""

    texts: Callable[[str, str], Iterator[Text]]
    """(path, name of the field that holds the text) -> texts."""
    rows: Callable[[str], Iterator[Row]]
    """Values are strings, or what JSON or Arrow holds (numbers, lists, None, ...)."""


FORMATS: dict[str, Format] = {
    ".txt": Format(plain_text.texts, plain_text.rows),
    ".jsonl": Format(json_lines.texts, json_lines.rows),
    ".json": Format(json_lines.texts, json_lines.rows),
    ".csv": Format(delimited.texts, delimited.rows),
    ".tsv": Format(delimited.texts, delimited.rows),
    ".parquet": Format(columnar.texts, columnar.rows),
    ".arrow": Format(columnar.texts, columnar.rows),
}
"""By ending; a new format is a file beside this one and a row here."""


def is_supported(path: str) -> bool:
    """Whether the ending of a file is one of `FORMATS`."""
    return streams.endings(path)[0] in FORMATS


def format_of(path: str) -> Format:
    """The format of a file, by its ending.

    Raises:
        UsageError: the ending is not supported.
    """
    if not is_supported(path):
        raise streams.unsupported(path, FORMATS)
    return FORMATS[streams.endings(path)[0]]


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of one file, in order.

    Raises:
        DataError: bytes that are not UTF-8, a damaged or cut archive, a ragged row, two columns of
            one name, a line that is no JSON object, a blank line of a `.txt`, or no row at all.
        SystemFault: the file cannot be read.
        UsageError: the path is a folder, or the ending is not supported.
        MissingExtra: the format needs a package that is not installed.
    """
    path = str(path)
    refuse_folder(path)
    found = format_of(path)
    empty = True
    try:
        for row in found.rows(path):
            empty = False
            yield row
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if empty:
        raise DataError(f"{path} is empty; give a file with rows.")
