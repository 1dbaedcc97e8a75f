"""CoNLL's columns: a word a line, its tag last, a blank line after each sentence.

Tjong Kim Sang and De Meulder 2003. Columns are parted by tabs, else by spaces. A line that begins
with `-DOCSTART-` begins a document. Tags are taken as they are, whatever the scheme.
"""

import re
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from bertsmith.errors import DataError, explain_os_error
from bertsmith.tasks.entities import is_entity_tag
from bertsmith.tasks.task import Example, TagExample
from bertsmith.text import rows, streams

_DOCUMENT = "-DOCSTART-"
_LOOKED_AT = 100
"""Lines."""
_SPACES = re.compile(" +")


def read_part(path: Path, part: str) -> list[Example]:
    """A task's reader, by `read`; only a test file may be without tags."""
    return read(path, labelled=None if part == "test" else True)


def has_tags(path: Path | str, labels: Collection[str]) -> bool:
    """Whether a file has columns, a tag last, and not running text or a table; by its beginning.

    Args:
        path: the file, possibly packed.
        labels: tags that may occur; those of entities may anyway.

    Raises:
        DataError: the file is not UTF-8.
        SystemFault: it cannot be read.
    """
    try:
        found = list(islice((columns for columns, _ in _columns(path) if columns), _LOOKED_AT))
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    words = [columns for columns in found if columns[0] != _DOCUMENT]
    # One line may end in what looks like a tag by chance ("vitamin B-12").
    return (len(words) > 1 or words != found) and all(
        len(columns) == len(words[0]) > 1
        and (columns[-1] == "O" or columns[-1] in labels or is_entity_tag(columns[-1]))
        for columns in words
    )


def read(path: Path | str, *, labelled: bool | None = True) -> list[Example]:
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
            word_a_line=True,
        )
        for number, (line, document, columns) in enumerate(found)
    ]


def _sentences(path: Path | str, *, least: int) -> Iterator[tuple[int, list[list[str]]]]:
    """The line each sentence begins on and its words with their columns; none begin a document."""
    sentence: list[list[str]] = []
    begin = width = first = 0
    for columns, number in _columns(path):
        if not columns or columns[0] == _DOCUMENT:
            if sentence:
                yield begin, sentence
                sentence = []
            if columns:
                yield number, []
            continue
        where = f"{path}:{number}"
        if not width:
            width, first = len(columns), number
        if width < least:
            raise DataError(
                f"{where}: found one column, expected a word first and its tag last, parted by a "
                "tab or spaces; give lists of words and tags as .jsonl or .parquet."
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


def _columns(path: Path | str) -> Iterator[tuple[list[str], int]]:
    """The columns of each line, none of a blank one, and its number."""
    for number, text in enumerate(streams.decoded_lines(str(path)), 1):
        line = text.rstrip(" \r\n")
        if "\r" in line:
            raise rows.lone_return(f"{path}:{number}")
        columns = line.split("\t") if "\t" in line else _SPACES.split(line)
        yield columns if line.strip() else [], number
