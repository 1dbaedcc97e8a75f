"""Questions, their contexts and answers in rows: the user's own, or those of Hugging Face's SQuAD.

An answer is a text, empty where there is none; a column `answer_start` says at which character of
the context it begins. Or it is what Hugging Face's data sets have in a column `answers`: an object
of two lists, `text` and `answer_start`, or a list of such objects, in a CSV written as JSON.
"""

import contextlib
from typing import Any

import msgspec

from bertsmith.core.errors import DataError, option
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import squad
from bertsmith.tasks.datasets.fields import not_a, text_of
from bertsmith.tasks.datasets.own_rows import Parse
from bertsmith.tasks.examples import Answer, AnswerExample
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.occurrences import occurrences
from bertsmith.tasks.task_config import Columns
from bertsmith.text import rows
from bertsmith.text.rows import Row

_ANSWERS, _STARTS = "answers", "answer_start"
_SEVERAL = (
    "answers that occur several times in their context, of which the first is taken (a column "
    f"'{_STARTS}' would say which)"
)


def parser(columns: Columns, bad: BadRows, notes: Notes) -> Parse:
    """What makes an example of a row with columns of these names; see `own_rows.read`."""

    def parse(row: Row, key: str) -> AnswerExample | None:
        asked = text_of(row, columns.question, "question")
        text = text_of(row, columns.context, "context")
        found = _answers(row, columns.answer, text, bad, notes)
        return None if found is None else AnswerExample(row.where, key, asked, text, found)

    return parse


def _answers(
    row: Row, name: str, context: str, bad: BadRows, notes: Notes
) -> tuple[Answer, ...] | None:
    """The answers, () where there is none, None where all are misplaced."""
    if name == "answer" and name not in row.values and _ANSWERS in row.values:
        name = _ANSWERS
    pairs = _pairs(row, name)
    if str(row.values.get("is_impossible")).lower() in ("true", "1", "1.0"):
        if pairs:
            notes.add(squad.CONTRADICTING, row.where)
        return ()
    placed: list[Answer] = []
    for text, start in pairs:
        if start is None:
            placed += _found(text.strip(), context, row.where, bad, notes)
        else:
            where = row.where
            placed += squad.place(text, start, context=context, where=where, bad=bad)
    return tuple(placed) or (None if pairs else ())


def _found(text: str, context: str, where: str, bad: BadRows, notes: Notes) -> list[Answer]:
    """The answer where it first occurs as words of its own; nothing, and why, where it does not."""
    starts = occurrences(text, context)
    if len(starts) > 1:
        notes.add(_SEVERAL, where)
    if starts:
        return [Answer(text, starts[0])]
    what = "does not occur in its context"
    if text in context:
        what = (
            "occurs in its context only inside other words or numbers; a column "
            f"'{_STARTS}' may say where it begins"
        )
    bad.add(f"{where}: the answer '{text[:60]}' {what}")
    return []


def _pairs(row: Row, name: str) -> list[tuple[str, int | None]]:
    """The texts of the answers, without those that are blank, and where each begins."""
    value = rows.column(row, name, advice=f"name another with {option('answer')}")
    if isinstance(value, str) and value.lstrip()[:2] in ('{"', "[{", '["', "[]", "{}"):
        with contextlib.suppress(msgspec.DecodeError):
            value = msgspec.json.decode(value)
    if isinstance(value, dict):
        texts, starts = value.get("text", []), value.get(_STARTS)
        if not isinstance(texts, list):
            texts, starts = [texts], None if starts is None else [starts]
    elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
        texts = [one.get("text") for one in value]
        starts = [one.get(_STARTS) for one in value]
    elif isinstance(value, list):
        texts, starts = value, None
    else:
        texts, starts = (
            [] if value is None or value != value else [value],
            [row.values.get(_STARTS)],
        )
        starts = starts[: len(texts)]
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise DataError(
            f"{row.where}: '{name}' has {len(texts)} texts, but 'answer_start' has another number "
            "of places; give each answer its place."
        )
    for text in texts:
        if not isinstance(text, str):
            raise not_a(row, name, text, "a string")
    return [
        (text, _start(start, row))
        for text, start in zip(texts, starts, strict=True)
        if text.strip()
    ]


def _start(value: Any, row: Row) -> int | None:
    if value is None or value == "" or value != value:
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{row.where}: '{value}' in column 'answer_start' is not a number; expected that of "
            "the character at which the answer begins, from 0."
        ) from error
