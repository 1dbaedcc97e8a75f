"""One reader for each format: a file as a stream of texts, each with its line or row.

A new format is a new row of `READERS`. Errors name the file, the line or row, what was found and
what was expected.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from bertsmith.core.errors import DataError, option
from bertsmith.text import arrow, rows, streams

LONGEST_DOCUMENT = 1 << 22
"""Characters; a longer document is cut into several (a file may never show a blank line)."""

Text = tuple[str, int, bool]
"""A text, its line or row counted from 1, and whether it goes on in the next (it was cut)."""

Reader = Callable[[str, str], Iterator[Text]]
"""(path, name of the field that holds the text) -> texts."""

# A line break, blank lines, and whatever white space opens the next document.
_GAP = re.compile(r"\n[^\S\n]*\n\s*")


def _read_text(path: str, text_field: str) -> Iterator[Text]:
    """Documents between blank lines; any of the three customs of ending a line is understood."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    text, line, fed = "", 1, 0
    for block in chain(streams.text_blocks(path), [b""]):
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
            raise _explain_json(f"{path}:{number}", plain, text_field) from error
        yield text or "", number, False


def _explain_json(where: str, line: str, text_field: str) -> DataError:
    """The complaint about a line that is not an object with the text in it."""
    if len(line) > rows.LONGEST_ROW:  # Its values may take thirty times as much memory.
        return DataError(f"{where}: expected a JSON object with a string '{text_field}'.")
    value = rows.json_object(where, line, example=f'{{"{text_field}": "..."}}')
    if text_field in value:
        kind = rows.kind_of(value[text_field])
        return DataError(f"{where}: the key '{text_field}' holds a {kind}, expected a string.")
    return _no_field(where, text_field, list(value), "key")


def _read_csv(path: str, text_field: str) -> Iterator[Text]:
    """The column `text_field`, by the header; quotes may hold line breaks."""
    column, width = -1, 0
    for fields, number in rows.delimited(path):
        if column < 0:
            if text_field not in fields:
                raise _no_field(f"{path}:{number}", text_field, fields, "column")
            column, width = fields.index(text_field), len(fields)
        elif column < len(fields) <= width:
            yield fields[column], number, False
        else:
            raise rows.ragged(f"{path}:{number}", len(fields), width)


def _read_table(path: str, text_field: str) -> Iterator[Text]:
    """The column `text_field` of a Parquet or Arrow file."""

    def check(schema: Any) -> None:
        if text_field not in schema.names:
            raise _no_field(path, text_field, schema.names, "column")
        kind = schema.field(text_field).type
        if "string" not in str(getattr(kind, "value_type", kind)):
            raise DataError(f"{path}: the column '{text_field}' holds {kind}, expected strings.")

    def convert(batch: Any) -> list[Any]:
        values: list[Any] = batch.column(text_field).to_pylist()
        return values

    for value, number in arrow.table(path, convert=convert, check=check, columns=[text_field]):
        yield value or "", number, False


def cut_at(text: str) -> int:
    """Where to end the first piece of a long text: after a line, else a space, else anywhere."""
    for mark in "\n ":
        end = text.rfind(mark, LONGEST_DOCUMENT // 2, LONGEST_DOCUMENT)
        if end > 0:
            return end + 1
    return LONGEST_DOCUMENT


def _no_field(where: str, name: str, known: Sequence[str], kind: str) -> DataError:
    advice = f"name the {kind} that holds the text with {option('text_field')}"
    return rows.no_such(where, name, known, kind=kind, advice=advice)


READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_table,
    ".arrow": _read_table,
}
"""By ending; a new format is a new row."""
