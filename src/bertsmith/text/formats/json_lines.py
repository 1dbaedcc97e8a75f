"""JSON lines (`.jsonl`, `.json`): an object a line."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bertsmith.core.errors import DataError
from bertsmith.text import streams
from bertsmith.text.rows import LONGEST_ROW, Row, Text, kind_of, lines_with_places, no_text_field


def texts(path: str, text_field: str) -> Iterator[Text]:
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
    if len(line) > LONGEST_ROW:  # Its values may take thirty times as much memory.
        return DataError(f"{where}: expected a JSON object with a string '{text_field}'.")
    value = json_object(where, line, example=f'{{"{text_field}": "..."}}')
    if text_field in value:
        kind = kind_of(value[text_field])
        return DataError(f"{where}: the key '{text_field}' holds a {kind}, expected a string.")
    return no_text_field(where, text_field, list(value), "key")


def rows(path: str) -> Iterator[Row]:
    """The object on each line; blank lines are passed over."""
    for text, where in lines_with_places(path):
        if text.strip():
            yield Row(json_object(where, text, example='{"text": "...", "label": "..."}'), where)


def json_object(where: str, line: str, *, example: str) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        DataError: it is not JSON or not an object; `example` is shown.
    """
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        what = str(error)
        # Of half a surrogate pair it is said too, and there the line is whole.
        if what == "Input data was truncated" and line.rstrip()[-1:] not in ("}", "]"):
            raise DataError(
                f"{where}: the JSON value does not end on this line; expected one object per "
                f"line, such as {example} (`jq -c '.[]'` converts a list to such lines)."
            ) from error
        if not what.startswith("JSON"):
            what = what[0].lower() + what[1:]
        raise DataError(
            f"{where}: not JSON ({what}); expected one object per line, such as {example}."
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: found a JSON {kind_of(value)}, expected one object per line, such as "
            f"{example}."
        )
    return value
