"""What a column of a row holds, as a task needs it: a text, a list, the name of a class."""

import contextlib
from typing import Any

import msgspec

from bertsmith.core.errors import DataError, option
from bertsmith.text import rows
from bertsmith.text.rows import Row


def text_of(row: Row, name: str, parameter: str) -> str:
    """The text in a column that `parameter` names.

    Raises:
        DataError: there is no such column, or it holds no text; by file and line.
    """
    text = rows.column(row, name, advice=f"name another with {option(parameter)}")
    if text is not None and not isinstance(text, str):
        raise not_a(row, name, text, "a string")
    if not text or rows.is_blank(text):
        raise DataError(f"{row.where}: the text in column '{name}' is empty; remove the row.")
    return text


def list_of(row: Row, name: str, parameter: str) -> list[Any]:
    """The list in a column, or written as JSON in it, as in a CSV file.

    Raises:
        DataError: as `text_of`.
    """
    value = rows.column(row, name, advice=f"name another with {option(parameter)}")
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(msgspec.DecodeError):
            value = msgspec.json.decode(value)
    if value in (None, "", []):
        raise DataError(f"{row.where}: the list in column '{name}' is empty; remove the row.")
    if not isinstance(value, list):
        raise not_a(row, name, value, "a list of texts")
    return value


def label_of(row: Row, name: str) -> str:
    """The class in a column as a string.

    Raises:
        DataError: there is no such column, or no class in it; by file and line.
    """
    return name_of(
        rows.column(row, name, advice=f"name another with {option('label')}"), row, name, "label"
    )


def name_of(value: Any, row: Row, column: str, what: str) -> str:
    """A class as a string, by the name it would have in a CSV file.

    Args:
        value: the class.
        row: where it is.
        column: of the row.
        what: what it is called in the complaint that there is none.

    Raises:
        DataError: there is none, or it is a list or an object.
    """
    # Data frames have NaN where nothing is.
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        raise DataError(
            f"{row.where}: the {what} in column '{column}' is missing; fill it in or remove the "
            "row."
        )
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str):
        raise not_a(row, column, value, "a string")
    return value.strip()


def not_a(row: Row, name: str, value: object, expected: str) -> DataError:
    """The complaint about a value of another type than `expected`."""
    found = rows.kind_of(value)
    article = "an" if found[0] in "aeiou" else "a"
    return DataError(
        f"{row.where}: the column '{name}' holds {article} {found}, expected {expected}; name "
        "another column or correct the file."
    )
