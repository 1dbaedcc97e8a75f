"""Parquet and Arrow files (`.parquet`, `.arrow`): nothing in them is believed before it is checked.

pyarrow trusts the offsets and lengths in a file: turning a damaged batch into Python's values can
crash the interpreter. `validate(full=True)` compares them with the bytes that are there and finds
what is not UTF-8. It was tried with 40,000 damaged files: 32 of the first 1,000 ended the process
without it, none with it. It costs a few percent of the reading.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import DataError
from bertsmith.core.extras import require
from bertsmith.text import streams
from bertsmith.text.rows import Row, Text, no_text_field

ENDINGS = (".parquet", ".arrow")

_BATCH = 1024
# More rows without a byte of them are damage, and so are rows of this size that take 1,000 times
# less on disk.
_ROWS_OF_NOTHING = 1 << 20
_LARGE_GROUP = 1 << 28
_PACKED_AT_MOST = 1000


def texts(path: str, text_field: str) -> Iterator[Text]:
    """The column `text_field` of a Parquet or Arrow file."""

    def check(schema: Any) -> None:
        if text_field not in schema.names:
            raise no_text_field(path, text_field, schema.names, "column")
        kind = schema.field(text_field).type
        if "string" not in str(getattr(kind, "value_type", kind)):
            raise DataError(f"{path}: the column '{text_field}' holds {kind}, expected strings.")

    def convert(batch: Any) -> list[Any]:
        values: list[Any] = batch.column(text_field).to_pylist()
        return values

    for value, number in table(path, convert=convert, check=check, columns=[text_field]):
        yield value or "", number, False


def rows(path: str) -> Iterator[Row]:
    """The rows with all their columns."""
    for values, number in table(path, convert=lambda batch: batch.to_pylist()):
        yield Row(values, f"{path}:{number}", path)


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

    Raises:
        DataError: the file is damaged or cut, a text in it is not UTF-8, or a value has no place in
            Python (a date in the year 100,000).
    """
    number = 0
    with _errors(path):
        for batch in _batches(path, check, columns):
            batch.validate(full=True)
            _refuse_rows_of_nothing(path, batch)
            for start in range(0, batch.num_rows, _BATCH):
                part = batch.slice(start, _BATCH)
                try:
                    values = convert(part)
                except (ValueError, OverflowError, KeyError) as error:
                    raise DataError(
                        f"{path}: a value in rows {number + 1} to {number + part.num_rows} cannot "
                        f"be read ({_one_line(error)}); correct it or remove the column."
                    ) from error
                for value in values:
                    number += 1
                    yield value, number


def class_names(path: str | Path) -> dict[str, list[str]]:
    """Column -> the names of its classes, where Hugging Face's `datasets` wrote them to a file.

    Its Parquet and Arrow files hold numbers, and in the schema's metadata what they stand for.
    """
    path = str(path)
    if streams.endings(path)[0] not in ENDINGS:
        return {}
    schemas: list[Any] = []
    with contextlib.suppress(DataError, StopIteration), _errors(path):
        next(_batches(path, schemas.append, None))
    found: dict[str, list[str]] = {}
    metadata = (schemas[0].metadata if schemas else None) or {}
    with contextlib.suppress(
        msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError
    ):
        features = msgspec.json.decode(metadata[b"huggingface"])["info"]["features"]
        for name, feature in features.items():
            # A list of classes, or one: {"feature": {"names": [...]}, "_type": "Sequence"}.
            one = feature if "names" in feature else feature.get("feature", {})
            if isinstance(one, dict) and isinstance(one.get("names"), list):
                found[name] = [str(label) for label in one["names"]]
    return found


def _batches(path: str, check: Callable[[Any], None], columns: list[str] | None) -> Iterator[Any]:
    if streams.endings(path)[0] == ".parquet":
        return _parquet_batches(path, check, columns)
    return _arrow_batches(path, check)


def _parquet_batches(
    path: str, check: Callable[[Any], None], columns: list[str] | None
) -> Iterator[Any]:
    parquet = require("pyarrow.parquet", extra="data", purpose=f"Reading {path}")
    with streams.seekable(path) as source:
        # Pages are streamed: without a buffer size pyarrow loads a whole column of a row group.
        file = parquet.ParquetFile(
            source, buffer_size=streams.BLOCK, pre_buffer=False, page_checksum_verification=True
        )
        check(file.schema_arrow)
        _refuse_bomb(path, file.metadata, packed=source.seek(0, os.SEEK_END))
        yield from file.iter_batches(_BATCH, columns=columns, use_threads=False)


def _refuse_bomb(path: str, metadata: Any, packed: int) -> None:
    """A page is unpacked whole: one of two gigabytes can come out of a file of some kilobytes.

    The sizes of single columns would say more, but to look at them ends the process where the
    file's table of statistics is damaged (pyarrow 26).
    """
    for number in range(metadata.num_row_groups):
        unpacked = metadata.row_group(number).total_byte_size
        if unpacked > max(_LARGE_GROUP, packed * _PACKED_AT_MOST):
            raise DataError(
                f"{path}: {packed >> 10} KiB decompress to {unpacked >> 20} MiB, which no real "
                "text does; write the file again."
            )


def _arrow_batches(path: str, check: Callable[[Any], None]) -> Iterator[Any]:
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


def _refuse_rows_of_nothing(path: str, batch: Any) -> None:
    """A count of rows that no buffer bears out, as of a column of nulls, would be read for ever."""
    if batch.num_rows > _ROWS_OF_NOTHING and batch.nbytes * 8 < batch.num_rows:
        raise DataError(
            f"{path} claims {batch.num_rows} rows and holds {batch.nbytes} bytes of them; copy or "
            "write it again."
        )


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    """Names the file in what pyarrow raises, which includes OSErrors that are not the system's."""
    pyarrow = require("pyarrow", extra="data", purpose=f"Reading {path}")
    damage = (pyarrow.ArrowException, OSError, MemoryError, OverflowError, UnicodeDecodeError)
    try:
        yield
    except damage as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = "Parquet" if streams.endings(path)[0] == ".parquet" else "Arrow"
        raise DataError(
            f"{path} is not a whole {name} file ({_one_line(error)}); copy or write it again."
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
