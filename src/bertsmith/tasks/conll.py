"""CoNLL's columns: a word a line, its tag last, a blank line after each sentence.

Tjong Kim Sang and De Meulder 2003. Columns are parted by tabs, else by spaces. A line that begins
with `-DOCSTART-` begins a document. Tags are taken as they are, whatever the scheme.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from bertsmith.errors import DataError, explain_os_error
from bertsmith.tasks.task import Example, TagExample
from bertsmith.text import streams

_DOCUMENT = "-DOCSTART-"
_SPACES = re.compile(" +")


def read_part(path: Path, part: str) -> list[Example]:
    """A task's reader, by `read`; only a test file may be without tags."""
    return read(path, labelled=None if part == "test" else True)


def read(path: Path, *, labelled: bool | None = True) -> list[Example]:
    """The sentences of one file, in order.

    In a file without `-DOCSTART-` each sentence is a document of its own: nothing says that it has
    to do with its neighbours.

    Args:
        path: the file, possibly packed.
        labelled: whether the last column is a tag; None if there is more than one column.

    Raises:
        DataError: a line with more or fewer columns than the first, an empty word, words without
            tags where they must have them, or no sentence at all; by file and line.
        SystemFault: the file cannot be read.
    """
    found: list[tuple[int, int, list[list[str]]]] = []
    documents = 0
    try:
        for line, columns in _sentences(path, least=2 if labelled else 1):
            if columns:
                found.append((line, documents, columns))
            else:
                documents += 1
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if not found:
        raise DataError(f"{path} is empty: it holds no sentence; give another file.")
    has_tags = len(found[0][2][0]) > 1 if labelled is None else labelled
    return [
        TagExample(
            f"{path}:{line}",
            str(number),
            tuple(word for word, *_ in columns),
            tuple(rest[-1] for _, *rest in columns) if has_tags else None,
            document if documents else number,
        )
        for number, (line, document, columns) in enumerate(found)
    ]


def _sentences(path: Path, *, least: int) -> Iterator[tuple[int, list[list[str]]]]:
    """The line each sentence begins on and its words with their columns; none begin a document."""
    sentence: list[list[str]] = []
    begin = width = first = 0
    for data, number, offset in streams.lines(str(path)):
        line = streams.decode_line(str(path), data, number, offset).rstrip(" \r")
        columns = line.split("\t") if "\t" in line else _SPACES.split(line)
        if columns[0] == _DOCUMENT or not line.strip():
            if sentence:
                yield begin, sentence
                sentence = []
            if columns[0] == _DOCUMENT:
                yield number, []
            continue
        where = f"{path}:{number}"
        if not width:
            width, first = len(columns), number
        if width < least:
            raise DataError(
                f"{where}: found one column, expected a word first and its tag last, parted by a "
                "tab or spaces."
            )
        if len(columns) != width:
            raise DataError(
                f"{where}: found {len(columns)} {'columns' if len(columns) > 1 else 'column'}, "
                f"expected {width} as in line {first}; a blank line ends a sentence."
            )
        if not all(column.strip() for column in columns):
            raise DataError(
                f"{where}: the {'tag' if columns[0].strip() else 'word'} is empty; expected a word "
                "first and its tag last."
            )
        begin = begin if sentence else number
        sentence.append(columns)
    if sentence:
        yield begin, sentence
