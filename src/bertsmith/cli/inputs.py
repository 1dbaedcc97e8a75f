"""What a command reads: texts given as words, the lines of standard input, or a file."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from bertsmith.core.errors import DataError, UsageError

INPUTS = (
    "Texts, each in quotes; `-` for standard input, one text per line; or a file: .txt (a text a "
    "line) .csv .tsv .jsonl .parquet"
)
"""Beginning of the help; what else can be a file follows."""

_BLOCK = 64
"""Texts."""
_ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".gz", ".zst")


def file_of(inputs: Sequence[str], out: Path | None) -> str | None:
    """The file among the inputs, or None if they are texts.

    A word with the ending of a file is one even if it does not exist: a misspelt name is no text.

    Raises:
        UsageError: there is a file and something else, or `out` is given and there is no file.
    """
    files = [one for one in inputs if one != "-" and _is_file(one)]
    if out is not None and not files:
        raise UsageError(
            f"--out {out} is for a file of inputs; leave it out to print the results, or give a "
            "file."
        )
    if files and len(inputs) > 1:
        raise UsageError(f"{files[0]} is a file; give one file and nothing else, or texts only.")
    return files[0] if files else None


def _is_file(word: str) -> bool:
    if "://" in word and " " not in word:
        return True
    # A long text is no name that the system would look up.
    if len(word) < 1024 and Path(word).is_file():
        return True
    return " " not in word and word.lower().endswith(_ENDINGS)


def text_blocks(
    inputs: Sequence[str], *, source: str | None = None, column: str = "text"
) -> Iterator[list[str]]:
    """The texts in blocks.

    Args:
        inputs: texts, or `-` alone.
        source: a file, whose `column` has the texts instead.
        column: of that file.

    Raises:
        DataError: a line of standard input is blank or not UTF-8, or a row has no text.
        UsageError: `-` stands among texts.
    """
    texts = iter(inputs)
    for number, text in enumerate(inputs, 1):
        if source is None and not text.strip():
            raise UsageError(f"Text {number} is blank. Give a text, or remove it.")
    if source is not None:
        texts = _column(source, column)
    elif "-" in inputs:
        if len(inputs) > 1:
            raise UsageError("`-` reads standard input; give it alone, or texts.")
        texts = _lines()
    while block := list(islice(texts, _BLOCK)):
        yield block


def _column(source: str, column: str) -> Iterator[str]:
    from bertsmith.tasks.datasets.fields import text_of
    from bertsmith.text.formats.registry import read_rows

    for row in read_rows(source):
        yield text_of(row, column, "text")


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        raise DataError("Standard input is closed; give texts or a file.")
    number = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"Standard input, line {number}: not UTF-8.") from error
        if not text.strip():
            raise DataError(f"Standard input, line {number}: blank. Remove the line.")
        yield text
    if not number:
        raise DataError("Standard input is empty; give one text per line.")
