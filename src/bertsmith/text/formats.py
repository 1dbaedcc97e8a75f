"""One reader for each format: a file as a stream of texts, each with its line or row.

A new format is a new row of `READERS`. Errors name the file, the line or row, what was found and
what was expected.
"""

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from bertsmith.errors import DataError, nearest
from bertsmith.extras import require
from bertsmith.text import streams

LONGEST_DOCUMENT = 1 << 22
"""Characters; a longer document is cut into several (a file may never show a blank line)."""

Text = tuple[str, int, bool]
"""A text, its line or row counted from 1, and whether it goes on in the next (it was cut)."""

Reader = Callable[[str, str], Iterator[Text]]
"""(path, name of the field that holds the text) -> texts."""

_ROWS = 1024

# A line break, blank lines, and whatever white space opens the next document.
_GAP = re.compile(r"\n[^\S\n]*\n\s*")


def _read_text(path: str, text_field: str) -> Iterator[Text]:
    """Documents between blank lines; any of the three customs of ending a line is understood."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    text, line, fed = "", 1, 0
    for block in chain(streams.blocks(path), [b""]):
        if not fed and block.startswith(codecs.BOM_UTF8):
            block, fed = block[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        try:
            text += decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode()
            newlines = io.IncrementalNewlineDecoder(None, translate=True).decode(before, final=True)
            line += text.count("\n") + newlines.count("\n")
            offset = fed + len(block) - len(error.object) + error.start
            raise streams.not_utf8(path, line, offset, error) from error
        fed += len(block)
        start = 0
        for gap in _GAP.finditer(text):
            end = gap.end()
            if end == len(text) and block:
                break  # the next block may go on with white space
            yield from _place(text[start : gap.start()], line)
            line += text.count("\n", start, end)
            start = end
        text = text[start:]
        while len(text) > LONGEST_DOCUMENT:
            end = cut_at(text)
            yield from _place(text[:end], line, cut=True)
            line += text.count("\n", 0, end)
            text = text[end:]
    yield from _place(text, line)


def _place(text: str, line: int, *, cut: bool = False) -> Iterator[Text]:
    """The document without the white space around it, and the line it begins on."""
    body = text.strip()
    if body:
        yield body, line + text.count("\n", 0, text.index(body[0])), cut


def _read_json(path: str, text_field: str) -> Iterator[Text]:
    """The value of `text_field` of the object on each line; blank lines are passed over."""
    shape = msgspec.defstruct("Line", [("text", str | None, msgspec.field(name=text_field))])
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape).decode
    for line, number, offset in streams.lines(path):
        try:
            text = decode(line).text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            plain = streams.decode_line(path, line, number, offset)
            if not plain.strip():
                continue
            raise _explain_json(f"{path}:{number}", plain, text_field, error) from error
        yield text or "", number, False


def _explain_json(where: str, line: str, text_field: str, error: Exception) -> DataError:
    """The complaint about a line that is not an object with the text in it."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        what = str(error)
        if not what.startswith("JSON"):
            what = what[0].lower() + what[1:]
        return DataError(
            f"{where}: not JSON ({what}); expected one object a line, "
            f'such as {{"{text_field}": "..."}}.'
        )
    if not isinstance(value, dict):
        return DataError(
            f"{where}: found a JSON {_kind(value)}, expected an object a line, "
            f'such as {{"{text_field}": "..."}}.'
        )
    if text_field in value:
        kind = _kind(value[text_field])
        return DataError(f"{where}: the key '{text_field}' holds a {kind}, expected a string.")
    return _no_field(where, text_field, [str(key) for key in value], "key")


def _read_csv(path: str, text_field: str) -> Iterator[Text]:
    """The column `text_field`, by the header; quotes may hold line breaks."""
    delimiter = "\t" if streams.endings(path)[0] == ".tsv" else ","
    csv.field_size_limit(streams.LONGEST_LINE)
    rows = csv.reader(streams.decoded_lines(path), delimiter=delimiter, strict=True)
    column, width = -1, 0
    number = 1
    try:
        for row in rows:
            if column < 0:
                if text_field not in row:
                    raise _no_field(f"{path}:{number}", text_field, row, "column")
                column, width = row.index(text_field), len(row)
            elif column < len(row) <= width:
                yield row[column], number, False
            elif row:
                raise DataError(
                    f"{path}:{number}: found {len(row)} {'columns' if len(row) > 1 else 'column'}, "
                    f"expected {width} as in the header; put a field that holds a separator in "
                    '"double quotes".'
                )
            number = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{number}: the row that begins here is not well-formed ({error}); expected "
            'fields in "double quotes" where they hold quotes, line breaks or separators: check '
            "for a quote left open."
        ) from error


def _read_parquet(path: str, text_field: str) -> Iterator[Text]:
    parquet = require("pyarrow.parquet", extra="data", purpose=f"Reading {path}")
    with streams.seekable(path) as source, _arrow_errors(path, "Parquet"):
        # Pages are streamed: without a buffer size pyarrow loads a whole column of a row group.
        file = parquet.ParquetFile(source, buffer_size=streams.BLOCK, pre_buffer=False)
        _check_column(path, file.schema_arrow, text_field)
        batches = file.iter_batches(_ROWS, columns=[text_field], use_threads=False)
        yield from _values(path, batches, text_field)


def _read_arrow(path: str, text_field: str) -> Iterator[Text]:
    """The file format and the stream format of Arrow share the ending."""
    ipc = require("pyarrow.ipc", extra="data", purpose=f"Reading {path}")
    with streams.seekable(path) as source, _arrow_errors(path, "Arrow"):
        magic = source.read(6)
        source.seek(0)
        if magic == b"ARROW1":
            file = ipc.open_file(source)
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            file = batches = ipc.open_stream(source)
        _check_column(path, file.schema, text_field)
        yield from _values(path, batches, text_field)


def _values(path: str, batches: Iterator[Any], text_field: str) -> Iterator[Text]:
    number = 0
    for batch in batches:
        column = batch.column(text_field)
        for start in range(0, len(column), _ROWS):
            try:
                values = column.slice(start, _ROWS).to_pylist()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: a text in rows {number + 1} to {number + _ROWS} is not UTF-8."
                ) from error
            for value in values:
                number += 1
                yield value or "", number, False


def _check_column(path: str, schema: Any, text_field: str) -> None:
    if text_field not in schema.names:
        raise _no_field(path, text_field, schema.names, "column")
    kind = schema.field(text_field).type
    if "string" not in str(getattr(kind, "value_type", kind)):
        raise DataError(f"{path}: the column '{text_field}' holds {kind}, expected strings.")


def cut_at(text: str) -> int:
    """Where to end the first piece of a long text: after a line, else a space, else anywhere."""
    for mark in "\n ":
        end = text.rfind(mark, LONGEST_DOCUMENT // 2, LONGEST_DOCUMENT)
        if end > 0:
            return end + 1
    return LONGEST_DOCUMENT


def _no_field(where: str, name: str, known: Sequence[str], kind: str) -> DataError:
    listed = ", ".join(f"'{key[:40]}'" for key in known[:20]) or "none"
    return DataError(
        f"{where}: no {kind} '{name}'{nearest(name, known)}; found {listed}: name the {kind} that "
        "holds the text with --text-field."
    )


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


@contextlib.contextmanager
def _arrow_errors(path: str, format_name: str) -> Iterator[None]:
    """Names the file in what pyarrow raises, which includes OSErrors that are not the system's."""
    pyarrow = require("pyarrow", extra="data", purpose=f"Reading {path}")
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{path} is not a whole {format_name} file ({error}); copy or write it again."
        ) from error


READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
"""By ending; a new format is a new row."""
