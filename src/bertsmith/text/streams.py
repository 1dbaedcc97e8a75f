"""The bytes of a file or URL, unpacked, in blocks or lines, with places to name in errors."""

import codecs
import gzip
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import IO, Any, cast
from urllib.parse import urlsplit

from bertsmith.core.errors import DataError, MissingExtra, UsageError
from bertsmith.core.extras import require
from bertsmith.core.remote import is_url, open_url

BLOCK = 1 << 20
"""Bytes per read."""
LONGEST_LINE = 1 << 26
"""Bytes; a longer line is an error, because the file is then not what its ending says."""
PACKED = (".gz", ".zst")

# zstandard unpacks all of what it is fed, up to 11,000 times as much: a small bite bounds memory.
_BITE = 1 << 12

_CODED = "it looks like {0}; convert it with `iconv -f {0} -t UTF-8 FILE > NEW`"
_BOOK = "save its sheet as CSV in UTF-8"
_BOOKS = (".xlsx", ".xls", ".ods")
# How files begin that are given for text by mistake, and what to do.
_SIGNATURES = {
    # The longer first: UTF-32 begins as UTF-16 does.
    codecs.BOM_UTF32_LE: _CODED.format("UTF-32"),
    codecs.BOM_UTF32_BE: _CODED.format("UTF-32"),
    codecs.BOM_UTF16_LE: _CODED.format("UTF-16"),
    codecs.BOM_UTF16_BE: _CODED.format("UTF-16"),
    b"\x1f\x8b": "it looks gzipped; give its name the ending .gz",
    b"\x28\xb5\x2f\xfd": "it looks compressed with zstd; give its name the ending .zst",
    b"PK\x03\x04": f"it looks like a zip archive or an Excel workbook; unpack it, or {_BOOK}",
    b"\xd0\xcf\x11\xe0": f"it looks like an old Excel workbook; {_BOOK}",
    # With the bytes that follow: a gene is called PAR1.
    b"PAR1\x15": "it looks like Parquet; give its name the ending .parquet",
    b"ARROW1\0\0": "it looks like Arrow; give its name the ending .arrow",
    b"%PDF-": "it looks like a PDF; export its text",
    b"\x89PNG": "it looks like an image (PNG); give a text file",
    b"\xff\xd8\xff": "it looks like an image (JPEG); give a text file",
    b"SQLite format 3\0": "it looks like an SQLite database; export the table as CSV",
}
_CONVERT = "convert the file to UTF-8, if it is {1} perhaps with `iconv -f {0} -t UTF-8 FILE > NEW`"
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")


def endings(path: str) -> tuple[str, str]:
    """The format's ending and the packing's (or ''), in lower case: `a.JSONL.gz` -> .jsonl, .gz."""
    name = PurePosixPath((urlsplit(path).path or path) if is_url(path) else path)
    packing = name.suffix.lower()
    if packing not in PACKED:
        return packing, ""
    return PurePosixPath(name.stem).suffix.lower(), packing


def unsupported(path: str, known: Iterable[str]) -> UsageError:
    """The complaint about a file whose ending is not among the `known`."""
    if endings(path)[0] in _BOOKS:
        return UsageError(f"{path} is a workbook; {_BOOK}, and give that.")
    return UsageError(
        f"{path}: the ending is not supported; expected {', '.join(known)} (each also with "
        f"{' or '.join(PACKED)})."
    )


def blocks(path: str) -> Iterator[bytes]:
    """Unpacked bytes, in blocks of about a megabyte, none of them empty.

    Raises:
        DataError: the archive is damaged or cut short.
        SystemFault: the file cannot be opened.
        MissingExtra: it is a .zst or a URL and the package for it is not installed.
        OSError: reading fails half-way; the caller names the file.
    """
    packing = endings(path)[1]
    with open_url(path) as file:
        if packing == ".gz":
            yield from _unpack_gzip(path, file)
        elif packing == ".zst":
            yield from _unpack_zstd(path, file)
        else:
            yield from iter(lambda: file.read(BLOCK), b"")


def text_blocks(path: str) -> Iterator[bytes]:
    """The blocks of a file that has to be text.

    Raises:
        DataError: it begins as another sort of file does, or as `blocks`.
    """
    is_first = True
    for block in blocks(path):
        if is_first:
            _refuse_other(path, block)
            is_first = False
        yield block


def _refuse_other(path: str, block: bytes) -> None:
    for mark, advice in _SIGNATURES.items():
        if block.startswith(mark):
            twice = "once unpacked, " if endings(path)[1] else ""
            raise DataError(f"{path} is not UTF-8 text: {twice}{advice}.")
    # In UTF-16 every other byte of Latin letters and line breaks is 0.
    for coding, half in (("UTF-16LE", block[1:32:2]), ("UTF-16BE", block[0:32:2])):
        if len(block) > 1 and 2 * half.count(0) > len(half):
            raise DataError(f"{path} is not UTF-8 text: {_CODED.format(coding)}.")


def _unpack_gzip(path: str, file: IO[bytes]) -> Iterator[bytes]:
    """One member after another, by isal where it is installed (twice as fast), else zlib."""
    damage: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
    try:
        opener: Any = require("isal.igzip", extra="data", purpose=f"Reading {path}")
        damage += (opener.isal_zlib.error,)
    except MissingExtra:
        opener = gzip
    magic = file.read(2)
    file.seek(0)
    if magic not in (b"", b"\x1f\x8b"):
        raise DataError(f"{path} is not gzipped; remove .gz from its name, or copy the file again.")
    unpacked = 0
    try:
        with opener.open(file, "rb") as archive:
            while block := archive.read(BLOCK):
                unpacked += len(block)
                yield block
    except damage as error:
        raise _damaged(path, unpacked, error, cut=isinstance(error, EOFError)) from error


def _unpack_zstd(path: str, file: IO[bytes]) -> Iterator[bytes]:
    """One frame after another; unlike zstandard's own reader this notices a cut frame."""
    zstandard = require("zstandard", extra="data", purpose=f"Reading {path}")
    unpacked, ready, frame = 0, bytearray(), None
    try:
        while bite := file.read(_BITE):
            while bite:
                if frame is None:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                ready += frame.decompress(bite)
                bite = frame.unused_data
                if frame.eof:
                    frame = None
            while len(ready) >= BLOCK:
                unpacked += BLOCK
                yield bytes(ready[:BLOCK])
                del ready[:BLOCK]
    except zstandard.ZstdError as error:
        raise _damaged(path, unpacked + len(ready), error, cut=False) from error
    if frame is not None:
        raise _damaged(path, unpacked + len(ready), "the last frame is incomplete", cut=True)
    if ready:
        yield bytes(ready)


def _damaged(path: str, unpacked: int, why: object, *, cut: bool) -> DataError:
    state = "is cut short" if cut else "is damaged"
    return DataError(
        f"{path} {state}: decompression stopped after {unpacked} bytes of content ({why}); copy "
        "or download the file again."
    )


def lines(path: str, *, longest: int = LONGEST_LINE) -> Iterator[tuple[bytes, int, int]]:
    """Lines without their line break: bytes, number from 1, byte offset in the unpacked file.

    Args:
        path: the file.
        longest: bytes of a line.

    Raises:
        DataError: as `text_blocks`, or a longer line.
    """
    number, offset = 1, 0
    begun: list[bytes] = []
    waiting = 0
    for block in text_blocks(path):
        if block.find(b"\n") < 0:
            begun.append(block)
            waiting += len(block)
            if waiting > longest:
                raise _too_long(path, number, longest)
            continue
        whole = (b"".join(begun) + block if begun else block).split(b"\n")
        begun = [whole.pop()]
        waiting = len(begun[0])
        for line in whole:
            length = len(line) + 1
            if length > longest:
                raise _too_long(path, number, longest)
            yield _without_mark(line, offset), number, offset
            number += 1
            offset += length
    rest = b"".join(begun)
    if rest:
        yield _without_mark(rest, offset), number, offset


def _too_long(path: str, number: int, longest: int) -> DataError:
    return DataError(
        f"{path}:{number}: the line is longer than {longest >> 20} MiB; expected one document or "
        "row per line. Check that the file has the format its ending says."
    )


def _without_mark(line: bytes, offset: int) -> bytes:
    """The byte order mark that some editors put first is no part of the text."""
    return line if offset else line.removeprefix(codecs.BOM_UTF8)


def decode_line(path: str, line: bytes, number: int, offset: int) -> str:
    """The line as a string, or a DataError that names the first byte that is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(path, number, offset + error.start, error) from error


def decoded_lines(path: str, *, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Lines as strings, each with a line break at its end; raises DataError as `lines` does."""
    for line, number, offset in lines(path, longest=longest):
        yield decode_line(path, line, number, offset) + "\n"


def not_utf8(path: str, line: int, offset: int, error: UnicodeDecodeError) -> DataError:
    """The complaint about the byte at `error.start`, which lies at `offset` in the file."""
    data = error.object
    read = data.decode(errors="replace")
    others = sum(not sign.isascii() for sign in read)
    # An accented Latin letter is mostly one byte above 0x7f between ASCII letters; a Chinese
    # character is two in GB18030, and next to others.
    runs = _NOT_ASCII.findall(data)
    if len(data) < 4 and error.end == len(data):
        # All that a reader of blocks has not decoded yet at the end of the file.
        remedy = "the last character is cut off; copy the file again"
    elif others >= 2 * read.count("\ufffd"):
        remedy = "most of the rest is UTF-8; copy the file again, or correct this byte"
    elif 2 * sum(len(run) == 1 for run in runs) > len(runs):
        remedy = _CONVERT.format("WINDOWS-1252", "a Western European language")
    else:
        remedy = _CONVERT.format("GB18030", "Chinese")
    return DataError(
        f"{path}:{line}: byte 0x{data[error.start]:02x} at offset {offset} is not UTF-8 "
        f"({error.reason}); {remedy}."
    )


def seekable(path: str) -> AbstractContextManager[IO[bytes]]:
    """The file itself, or its unpacked bytes in a temporary file, for readers that jump about."""
    if not endings(path)[1]:
        return open_url(path)
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - returned open, the caller's to close
    try:
        for block in blocks(path):
            unpacked.write(block)
        unpacked.seek(0)
    except BaseException:
        unpacked.close()
        raise
    return cast(AbstractContextManager[IO[bytes]], unpacked)
