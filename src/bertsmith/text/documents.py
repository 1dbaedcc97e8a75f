"""Files of text, of any supported format, as a stream of documents.

`.txt` (a blank line between documents, line breaks kept), `.jsonl` and `.json` (one object a line),
`.csv` and `.tsv` (quoted, with a header), `.parquet` and `.arrow`, each plain, `.gz` or `.zst`, on
disk or behind an fsspec URL. Memory does not grow with a file: it holds a block, a document or a
line at a time.
"""

import errno
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertsmith.core.errors import DataError, UsageError, explain_os_error, option
from bertsmith.core.extras import require
from bertsmith.core.remote import RemoteFolder, is_url
from bertsmith.text import streams
from bertsmith.text.formats.registry import FORMATS, format_of, is_supported
from bertsmith.text.rows import LONGEST_DOCUMENT, cut_at


@dataclass(frozen=True, slots=True)
class Document:
    """One document and where it came from."""

    text: str
    where: str
    """`file:line`, or `file:row` in the formats that have rows instead of lines."""
    cut: bool = False
    """Whether it goes on in the next one: the whole was longer than the bound."""


def list_files(inputs: Sequence[str]) -> list[str]:
    """The files that `inputs` name, in the order given, each once.

    Args:
        inputs: files, folders (searched through for files with a supported ending, hidden ones left
            out, sorted), globs (`**` allowed, sorted) and fsspec URLs of the same three kinds.

    Raises:
        SystemFault: a path does not exist.
        DataError: a folder or a glob holds no file with a supported ending, or the name of one is
            not UTF-8.
        UsageError: no input at all, or a file whose ending is not supported.
        MissingExtra: a URL is given and fsspec is not installed.
    """
    if not inputs:
        raise UsageError("No input given; pass files, folders or globs of text.")
    found: dict[str, None] = {}
    for name in inputs:
        if is_url(name):
            files = _list_url(name)
        elif Path(name).is_dir():
            files = _list_folder(name)
        elif Path(name).exists():
            format_of(name)
            files = [name]
        elif glob.has_magic(name):
            files = sorted(filter(_supported, glob.glob(name, recursive=True)))  # noqa: PTH207
        else:
            missing = FileNotFoundError(errno.ENOENT, "missing")
            raise explain_os_error(missing, "read", name)
        if not files:
            raise DataError(
                f"{name} contains no supported file; expected files ending in {_endings()}."
            )
        found.update(dict.fromkeys(files))
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{path!r}: the file name is not UTF-8, so the list of sources cannot store it; "
                "rename the file."
            ) from error
    return list(found)


def read(path: str, *, text_field: str = "text") -> Iterator[Document]:
    """The documents of one file, in order.

    A null text gives an empty document, for the caller to count and drop.

    Args:
        path: a file or an fsspec URL; its ending gives the format.
        text_field: the key or column that holds the text (not used by `.txt`).

    Raises:
        DataError: bytes that are not UTF-8, a damaged or cut archive, a line or row that is not
            what the format asks, no such column, or no document at all.
        SystemFault: the file cannot be read.
        UsageError: the ending is not supported.
        MissingExtra: the format needs a package that is not installed.
    """
    read_texts = format_of(path).texts
    empty = True
    try:
        for text, place, cut in read_texts(path, text_field):
            empty = False
            where = f"{path}:{place}"
            if len(text) <= LONGEST_DOCUMENT:
                yield Document(text, where, cut)
            else:
                for piece, cut in _cut(text):
                    yield Document(piece, where, cut)
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if empty:
        raise DataError(f"{path} is empty; remove it or give another file.")


def check_apart(out: Path, inputs: Sequence[str]) -> None:
    """Checks that nothing written to `out` would be read as text, by this run or by a later one.

    Raises:
        UsageError: `out` is inside a folder of `inputs`, or is one.
    """
    for name in inputs:
        if Path(name).is_dir() and out.resolve().is_relative_to(Path(name).resolve()):
            raise UsageError(
                f"{option('out', out)} is inside the input folder {name}, so a rerun would read "
                "its output as input; choose a folder outside it."
            )


def _endings() -> str:
    return f"{', '.join(FORMATS)} (each also with {' or '.join(streams.PACKED)})"


def _supported(path: str) -> bool:
    return is_supported(path) and not Path(path).is_dir()


def _list_folder(folder: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise explain_os_error(error, "read", error.filename) from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(place, name) for name in names if not name.startswith(".")]  # noqa: PTH118
    return sorted(filter(_supported, found))


def _list_url(url: str) -> list[str]:
    """A URL with a supported ending is taken as it is, without asking the server."""
    if "*" not in url and is_supported(url):
        return [url]
    folder, pattern = url.rstrip("/"), "**"
    if "*" in url:
        folder = url[: url.index("*")].rpartition("/")[0]
        pattern = url.removeprefix(f"{folder}/")
    matches = re.compile(require("fsspec.utils", extra="data", purpose=url).glob_translate(pattern))
    names = RemoteFolder(folder).files()
    files = sorted(f"{folder}/{name}" for name in names if matches.fullmatch(name))
    return [file for file in files if is_supported(file)]


def _cut(text: str) -> Iterator[tuple[str, bool]]:
    start = 0
    while len(text) - start > LONGEST_DOCUMENT:
        piece = text[start : start + LONGEST_DOCUMENT]
        end = cut_at(piece)
        yield piece[:end], True
        start += end
    yield text[start:], False
