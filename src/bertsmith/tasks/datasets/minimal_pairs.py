"""Minimal pairs of a grammatical and an ungrammatical sentence: BLiMP's and ZhoBLiMP's files.

A pair is a JSON object on a line of a `.jsonl` file, plain or packed. BLiMP (Warstadt et al. 2020)
has the keys `sentence_good`, `sentence_bad`, `UID` (the paradigm), `linguistics_term` (the
phenomenon that it belongs to) and `field`; ZhoBLiMP (Liu et al. 2024) calls the phenomenon
`phenomenon`. Only the sentences must be there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.core.errors import DataError, UsageError, explain_os_error
from bertsmith.text import rows, streams
from bertsmith.text.formats.json_lines import json_object

GOOD, BAD = "sentence_good", "sentence_bad"

_ENDING = ".jsonl"
_EXAMPLE = f'{{"{GOOD}": "...", "{BAD}": "...", "UID": "..."}}'
_PHENOMENA = ("linguistics_term", "phenomenon", "field")
"""Keys that may name it; the first that is there does."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair, and where it came from."""

    good: str
    bad: str
    paradigm: str
    """`UID`; without it the name of the file."""
    phenomenon: str
    """Empty where the file does not say."""
    where: str
    """`file:line`."""


def read(path: str | Path) -> Iterator[Pair]:
    """The pairs of a `.jsonl` file, or of those in a folder by name; in order.

    Raises:
        DataError: a folder without such a file, an empty file, a line that is not a JSON object, a
            sentence that is missing or empty, or as `streams.lines`.
        UsageError: a file with another ending.
        SystemFault: it cannot be read.
        MissingExtra: a .zst and the package for it is not installed.
    """
    for file in _files(Path(path)):
        is_empty = True
        try:
            for number, line in enumerate(
                streams.decoded_lines(str(file), longest=rows.LONGEST_ROW), 1
            ):
                if line.strip():
                    yield _pair(file, f"{file}:{number}", line)
                    is_empty = False
        except OSError as error:
            raise explain_os_error(error, "read", file) from error
        if is_empty:
            raise DataError(f"{file} is empty. Remove it or give another file.")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if streams.endings(str(path))[0] != _ENDING:
            raise UsageError(
                f"{path}: minimal pairs are read from files that end in {_ENDING} (also with "
                f"{' or '.join(streams.PACKED)}), or from a folder of them."
            )
        return [path]
    found = [
        file
        for file in sorted(path.iterdir())
        if streams.endings(file.name)[0] == _ENDING and not file.name.startswith(".")
    ]
    if not found:
        raise DataError(
            f"{path} has no files of minimal pairs; expected files that end in {_ENDING} (also "
            f"with {' or '.join(streams.PACKED)}) directly in this folder."
        )
    return found


def _pair(file: Path, where: str, line: str) -> Pair:
    values = json_object(where, line, example=_EXAMPLE)
    good, bad = (_text(values, where, key) for key in (GOOD, BAD))
    paradigm = str(values.get("UID") or file.name.split(_ENDING)[0])
    phenomenon = next((str(values[key]) for key in _PHENOMENA if values.get(key)), "")
    return Pair(good, bad, paradigm, phenomenon, where)


def _text(values: dict[str, Any], where: str, key: str) -> str:
    if key not in values:
        advice = f"each line needs {GOOD} and {BAD}"
        raise rows.no_such(where, key, list(values), kind="key", advice=advice)
    text = values[key]
    if not isinstance(text, str):
        raise DataError(
            f"{where}: the key '{key}' holds a {rows.kind_of(text)}, expected a sentence."
        )
    if rows.is_blank(text):
        raise DataError(f"{where}: the sentence in '{key}' is empty. Add it or remove the line.")
    return text
