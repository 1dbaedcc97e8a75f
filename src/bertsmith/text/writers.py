"""Rows and vectors to files: each whole when the block that writes it ends well, absent if not."""

import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.core.arrays import GrowingArray
from bertsmith.core.errors import UsageError, option
from bertsmith.core.extras import require
from bertsmith.core.storage import atomic_file

_PARQUET_ROWS = 1024

WriteRow = Callable[[dict[str, Any]], object]
WriteVectors = Callable[[Sequence[dict[str, Any]], NDArray[np.float32]], object]


@contextlib.contextmanager
def open_writer(path: Path) -> Iterator[WriteRow]:
    """A function that appends a row to `path`: .jsonl, .csv, .tsv or .parquet, by the ending.

    All rows have the first one's columns, in its order. Lists and objects are written as JSON in
    .csv and .tsv, objects and lists of objects in .parquet too.

    Raises:
        UsageError: the ending is none of these, or a row has other columns than the first.
        MissingExtra: .parquet needs the `data` extra.
        SystemFault: the disk is full, ...
    """
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise UsageError(
            f"{option('out', path)}: the ending is not supported; expected {', '.join(_WRITERS)}."
        )
    with atomic_file(path) as file, _WRITERS[ending](file) as write:
        yield write


@contextlib.contextmanager
def open_vectors(path: Path) -> Iterator[WriteVectors]:
    """A function that appends rows with their vectors [n, D] to `path`.

    A .npy gets the vectors alone, a .parquet the rows' columns and then `embedding`.

    Raises:
        UsageError: the ending is neither.
        MissingExtra: .parquet needs the `data` extra.
        SystemFault: the disk is full, ...
    """
    ending = path.suffix.lower()
    if ending not in (".npy", ".parquet"):
        raise UsageError(
            f"{option('out', path)}: the ending is not supported; expected .npy or .parquet."
        )
    if ending == ".parquet":
        with open_writer(path) as write_row:

            def write(rows: Sequence[dict[str, Any]], vectors: NDArray[np.float32]) -> None:
                for row, vector in zip(rows, vectors, strict=True):
                    write_row(row | {"embedding": vector})

            yield write
        return
    kind = np.dtype("<f4")
    with atomic_file(path) as file:
        array: GrowingArray | None = None

        def append(rows: Sequence[dict[str, Any]], vectors: NDArray[np.float32]) -> None:
            nonlocal array
            array = array or GrowingArray(file, kind, vectors.shape[1:])
            array.append(vectors)

        yield append
        (array or GrowingArray(file, kind, (0,))).finish()


@contextlib.contextmanager
def _json_lines(file: IO[bytes]) -> Iterator[WriteRow]:
    yield lambda row: file.write(msgspec.json.encode(row, enc_hook=_plain) + b"\n")


@contextlib.contextmanager
def _delimited(file: IO[bytes], delimiter: str) -> Iterator[WriteRow]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    names: list[str] = []

    def write(row: dict[str, Any]) -> None:
        if not names:
            names.extend(row)
            writer.writerow(names)
        _check_names(names, row)
        writer.writerow([_cell(row[name]) for name in names])

    yield write
    text.flush()
    text.detach()


@contextlib.contextmanager
def _parquet(file: IO[bytes]) -> Iterator[WriteRow]:
    pyarrow = require("pyarrow", extra="data", purpose="Writing Parquet")
    parquet = require("pyarrow.parquet", extra="data", purpose="Writing Parquet")
    waiting: list[dict[str, Any]] = []
    writer: Any = None

    names: list[str] = []
    as_json: set[str] = set()

    def flush() -> None:
        nonlocal writer
        schema = None if writer is None else writer.schema
        try:
            block = pyarrow.Table.from_pylist(waiting, schema=schema)
        except pyarrow.ArrowException as error:
            raise UsageError(
                f"The rows do not fit into one Parquet table ({error}); write them as .jsonl."
            ) from error
        if writer is None:
            writer = parquet.ParquetWriter(file, block.schema)
        writer.write_table(block)
        waiting.clear()

    def write(row: dict[str, Any]) -> None:
        if not names:
            names.extend(row)
        _check_names(names, row)
        # What differs in shape from row to row has no type of its own.
        as_json.update(name for name, value in row.items() if _is_nested(value))
        waiting.append({name: _cell(row[name]) if name in as_json else row[name] for name in names})
        if len(waiting) == _PARQUET_ROWS:
            flush()

    try:
        yield write
        if waiting:
            flush()
    finally:
        if writer is not None:
            writer.close()


def _check_names(names: Sequence[str], row: dict[str, Any]) -> None:
    if row.keys() != set(names):
        other = sorted(row.keys() ^ set(names))[0]
        raise UsageError(
            f"The column '{other}' is not in every row, so the rows do not fit into one table; "
            "write them as .jsonl."
        )


def _is_nested(value: Any) -> bool:
    """Whether it is an object, or a list that is empty or of objects."""
    return isinstance(value, dict) or (
        isinstance(value, list) and (not value or isinstance(value[0], dict))
    )


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value


def _plain(value: Any) -> Any:
    """What JSON has no word for: dates and the like from Arrow, as text."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


_WRITERS: dict[str, Callable[[IO[bytes]], contextlib.AbstractContextManager[WriteRow]]] = {
    ".jsonl": _json_lines,
    ".csv": lambda file: _delimited(file, ","),
    ".tsv": lambda file: _delimited(file, "\t"),
    ".parquet": _parquet,
}
