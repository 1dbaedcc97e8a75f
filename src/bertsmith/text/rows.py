"""Rows with all their columns, from every format that has columns, each row with its place.

`.csv` and `.tsv` (quoted, with a header), `.jsonl` and `.json` (one object a line), `.parquet` and
`.arrow`, and `.txt` (a text a line, in a column `text`), each plain, `.gz` or `.zst`. Memory holds
a row or a small batch at a time. The pieces that read a format are shared with `formats`, which
takes one text out of each row and has other ideas of `.txt`.
"""

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.errors import DataError, UsageError, explain_os_error, nearest
from bertsmith.extras import require
from bertsmith.text import streams

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its columns by name, and where it came from."""

    values: dict[str, Any]
    where: str
    """`file:line`, or `file:row` in the formats that have rows instead of lines."""


def read(path: str | Path) -> Iterator[Row]:
    """The rows of one file, in order; the format is told by its ending.

    Values are strings, or what JSON or Arrow holds (numbers, lists, None, ...).

    Raises:
        DataError: bytes that are not UTF-8, a damaged or cut archive, a ragged row, two columns of
            one name, a line that is no JSON object, or no row at all.
        SystemFault: the file cannot be read.
        UsageError: the ending is not supported.
        MissingExtra: the format needs a package that is not installed.
    """
    path = str(path)
    ending = streams.endings(path)[0]
    if ending not in READERS:
        raise UsageError(
            f"{path}: the ending is not supported; expected {', '.join(READERS)} "
            f"(each also with {' or '.join(streams.PACKED)})."
        )
    empty = True
    try:
        for row in READERS[ending](path):
            empty = False
            yield row
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if empty:
        raise DataError(f"{path} is empty: it holds no row; give another file.")


def column(row: Row, name: str, *, advice: str) -> Any:
    """The value in the column `name`.

    Raises:
        DataError: there is no such column; the nearest is suggested, all are listed, and `advice`
            says what to do, e.g. `name another with --label`.
    """
    if name not in row.values:
        raise no_such(row.where, name, list(row.values), advice=advice)
    return row.values[name]


def kind_of(value: object) -> str:
    """What JSON calls it, e.g. `list`; of what only Arrow has, the name of its type."""
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    kinds |= {int: "number", float: "number"}
    return kinds.get(type(value), type(value).__name__)


def no_such(
    where: str, name: str, known: Sequence[str], *, kind: str = "column", advice: str
) -> DataError:
    """The complaint about a column or key that is not among the `known`."""
    listed = ", ".join(f"'{key[:40]}'" for key in known[:20]) or "none"
    return DataError(
        f"{where}: no {kind} '{name}'{nearest(name, known)}; found {listed}: {advice}."
    )


def delimited(path: str) -> Iterator[tuple[list[str], int]]:
    """The fields of each row and the line it begins on, the header first, blank rows left out.

    Quotes may hold separators and line breaks; how many fields a row has is not looked at.
    """
    delimiter = "\t" if streams.endings(path)[0] == ".tsv" else ","
    csv.field_size_limit(streams.LONGEST_LINE)
    reader = csv.reader(streams.decoded_lines(path), delimiter=delimiter, strict=True)
    number = 1
    try:
        for fields in reader:
            if fields:
                yield fields, number
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{number}: the row that begins here is not well-formed ({error}); expected "
            'fields in "double quotes" where they hold quotes, line breaks or separators: check '
            "for a quote left open."
        ) from error


def ragged(where: str, found: int, expected: int) -> DataError:
    """The complaint about a row of another length than the header."""
    return DataError(
        f"{where}: found {found} {'columns' if found > 1 else 'column'}, expected {expected} as in "
        'the header; put a field that holds a separator in "double quotes".'
    )


def json_object(where: str, line: bytes | str, *, example: str) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        DataError: it is not JSON or not an object; `example` is shown.
    """
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        what = str(error)
        if not what.startswith("JSON"):
            what = what[0].lower() + what[1:]
        raise DataError(
            f"{where}: not JSON ({what}); expected one object a line, such as {example}."
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: found a JSON {kind_of(value)}, expected an object a line, such as {example}."
        )
    return value


def table(
    path: str,
    *,
    convert: Callable[[Any], list[Any]],
    check: Callable[[Any], None] = lambda schema: None,
    columns: list[str] | None = None,
) -> Iterator[tuple[Any, int]]:
    """What `convert` makes of each row of a Parquet or Arrow file, and the row's number from 1.

    Args:
        path: the file.
        convert: a record batch to a value for each of its rows.
        check: is shown the schema before anything is read.
        columns: the only ones to read, where the format can leave others out.
    """
    batches = _parquet_batches if streams.endings(path)[0] == ".parquet" else _arrow_batches
    number = 0
    with _arrow_errors(path):
        for batch in batches(path, check, columns):
            for start in range(0, batch.num_rows, _BATCH):
                try:
                    values = convert(batch.slice(start, _BATCH))
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}: a text in rows {number + 1} to {number + _BATCH} is not UTF-8."
                    ) from error
                for value in values:
                    number += 1
                    yield value, number


def _parquet_batches(
    path: str, check: Callable[[Any], None], columns: list[str] | None
) -> Iterator[Any]:
    parquet = require("pyarrow.parquet", extra="data", purpose=f"Reading {path}")
    with streams.seekable(path) as source:
        # Pages are streamed: without a buffer size pyarrow loads a whole column of a row group.
        file = parquet.ParquetFile(source, buffer_size=streams.BLOCK, pre_buffer=False)
        check(file.schema_arrow)
        yield from file.iter_batches(_BATCH, columns=columns, use_threads=False)


def _arrow_batches(
    path: str, check: Callable[[Any], None], columns: list[str] | None
) -> Iterator[Any]:
    """The file format and the stream format of Arrow share the ending."""
    ipc = require("pyarrow.ipc", extra="data", purpose=f"Reading {path}")
    with streams.seekable(path) as source:
        magic = source.read(6)
        source.seek(0)
        if magic == b"ARROW1":
            file = ipc.open_file(source)
            check(file.schema)
            yield from (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            stream = ipc.open_stream(source)
            check(stream.schema)
            yield from stream


@contextlib.contextmanager
def _arrow_errors(path: str) -> Iterator[None]:
    """Names the file in what pyarrow raises, which includes OSErrors that are not the system's."""
    pyarrow = require("pyarrow", extra="data", purpose=f"Reading {path}")
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = "Parquet" if streams.endings(path)[0] == ".parquet" else "Arrow"
        raise DataError(
            f"{path} is not a whole {name} file ({error}); copy or write it again."
        ) from error


def _read_delimited(path: str) -> Iterator[Row]:
    header: list[str] = []
    for fields, number in delimited(path):
        where = f"{path}:{number}"
        if not header:
            header = fields
            # Spreadsheets write columns without a name, even several; nobody can ask for them.
            twice = {name for name in header if name and header.count(name) > 1}
            if twice:
                raise DataError(
                    f"{where}: the column '{min(twice)}' occurs twice; give each its own name."
                )
        elif len(fields) != len(header):
            raise ragged(where, len(fields), len(header))
        else:
            yield Row(dict(zip(header, fields, strict=True)), where)


def _read_json(path: str) -> Iterator[Row]:
    for line, number, offset in streams.lines(path):
        text = streams.decode_line(path, line, number, offset)
        if text.strip():
            where = f"{path}:{number}"
            yield Row(json_object(where, text, example='{"text": "...", "label": "..."}'), where)


def _read_table(path: str) -> Iterator[Row]:
    for values, number in table(path, convert=lambda batch: batch.to_pylist()):
        yield Row(values, f"{path}:{number}")


def _read_text(path: str) -> Iterator[Row]:
    """Blank lines are rows too: what is predicted for line 7 must stand in row 7."""
    for line, number, offset in streams.lines(path):
        text = streams.decode_line(path, line, number, offset).removesuffix("\r")
        yield Row({"text": text}, f"{path}:{number}")


READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_table,
    ".arrow": _read_table,
    ".txt": _read_text,
}
"""By ending; a new format is a new row."""
