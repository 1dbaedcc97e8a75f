"""Labelled data in memory as rows: lists of dicts, dicts of columns, and tables of other packages.

Tables of pandas, polars, pyarrow and datasets are known by their methods, so none of these packages
is imported.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bertsmith.core.errors import DataError, UsageError

Table = Any
"""A list of dicts, a dict of columns, a `pandas.DataFrame`, a `polars.DataFrame`, a
`pyarrow.Table` or a `datasets.Dataset`."""


def rows_of(table: Table, name: str) -> list[dict[str, Any]]:
    """The rows of a table, as JSON could hold them.

    Args:
        table: see `Table`.
        name: what messages call it, e.g. `train`.

    Raises:
        UsageError: the object is not a table.
        DataError: a row is not a dict, or columns differ in length.
    """
    rows = [
        {str(column): _plain(value) for column, value in row.items()}
        for row in _records(table, name)
    ]
    if not rows:
        raise DataError(f"{name} is empty: it holds no row.")
    return rows


def is_table(data: object) -> bool:
    """Whether `data` is a table in memory, not a path."""
    return isinstance(data, Mapping) or _method(data) is not None or _is_rows(data)


def _records(table: Table, name: str) -> Iterable[Mapping[str, Any]]:
    if isinstance(table, Mapping):
        return _from_columns(table, name)
    method = _method(table)
    if method == "to_dict":
        return list(table.to_dict("records"))
    if method == "features":
        return _from_dataset(table)
    if method is not None:
        return list(getattr(table, method)())
    if not _is_rows(table):
        raise UsageError(
            f"{name} is of type {type(table).__name__}; expected a path, a list of dicts, a dict "
            "of columns, or a table of pandas, polars, pyarrow or datasets."
        )
    for number, row in enumerate(table):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}:{number}: expected a dict, found {row!r:.60}.")
    return list(table)


def _method(table: object) -> str | None:
    """What gives the rows: of datasets, pyarrow, polars, pandas."""
    for method, beside in (
        ("features", "column_names"),
        ("to_pylist", "column_names"),
        ("to_dicts", "columns"),
        ("to_dict", "columns"),
    ):
        if hasattr(table, method) and hasattr(table, beside):
            return method
    return None


def _is_rows(data: object) -> bool:
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _from_columns(table: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    lengths = {str(column): len(values) for column, values in table.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{column}' has {length}" for column, length in lengths.items())
        raise DataError(f"{name}: the columns differ in length: {told}.")
    columns = list(table)
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*(table[column] for column in columns), strict=True)
    ]


def _from_dataset(table: Any) -> list[dict[str, Any]]:
    """Rows of a `datasets.Dataset`, the numbers of classes replaced by their names."""
    named = {
        column: feature.int2str
        for column, feature in table.features.items()
        if hasattr(feature, "int2str")
    }
    return [
        {
            column: named[column](value) if column in named and value is not None else value
            for column, value in row.items()
        }
        for row in table
    ]


def _plain(value: Any) -> Any:
    """A value of numpy or pandas as Python's; what is missing (NaN, NaT, NA) as None."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return str(value)


def numbered(rows: Sequence[dict[str, Any]], name: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Rows with their places in messages: `train:0`, counted from 0 as Python does."""
    return zip((f"{name}:{number}" for number in itertools.count()), rows, strict=False)
