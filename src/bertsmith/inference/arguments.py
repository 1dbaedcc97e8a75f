"""Texts as a caller of the Python package may give them, checked."""

from collections.abc import Iterable

from bertsmith.core.errors import UsageError, option


def as_text(value: object, parameter: str) -> str:
    """The text that an argument is.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, str):
        raise UsageError(f"{option(parameter)} is {_kind(value)}; expected a text.")
    return value


def as_texts(values: object, parameter: str) -> list[str]:
    """The texts of a list, an array or a column of a table.

    Raises:
        UsageError: it is one text, no list, or holds something else than texts.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UsageError(f"{option(parameter)} is {_kind(values)}; expected a list of texts.")
    texts = list(values)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(
                f"{option(parameter)}, item {number}, is {_kind(text)}; expected a text."
            )
    return texts


def as_whole_number(value: object, parameter: str) -> int:
    """The whole number that an argument is.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{option(parameter)} is {value!r:.40}; expected a whole number.")
    return value


def _kind(value: object) -> str:
    """For messages: `one text`, `None`, `a list`, `an int`."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "one text"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
