"""What all kinds that look at a text or a pair of texts have in common."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from bertsmith.tasks.datasets.fields import text_of
from bertsmith.tasks.examples import Example, TextExample
from bertsmith.tasks.kind import TaskKind, is_lines
from bertsmith.tasks.task_config import Columns
from bertsmith.text import rows
from bertsmith.text.rows import Row


class TextKind(TaskKind):
    """A label of a text or of a pair of texts."""

    level = "text"
    long_texts = "choice"
    settings = frozenset(("long_texts", "stride"))
    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")
    asked = "a text or a pair of texts"
    pipeline = "text-classification"

    def label_in(self, row: Row, columns: Columns) -> str | float | tuple[str, ...]:
        """The label in a row.

        Raises:
            DataError: there is none, or a bad one; by file and line.
        """
        raise NotImplementedError

    def parse(self, row: Row, key: str, columns: Columns, *, labelled: bool) -> Example:
        """The texts, and the label where one is looked for."""
        label = self.label_in(row, columns) if labelled else None
        a = text_of(row, columns.text, "text")
        b = None if columns.text_pair is None else text_of(row, columns.text_pair, "text_pair")
        return TextExample(row.where, key, a, b, label)

    def columns_in(self, path: Path | str, columns: Columns) -> Columns:
        """A line is one text."""
        if is_lines(path) and columns.text_pair is None:
            return replace(columns, text=rows.TEXT)
        return super().columns_in(path, columns)

    def example(self, item: str | tuple[Any, ...], where: str, number: int) -> Example | None:
        """A text, or two."""
        match item:
            case str():
                return TextExample(where, str(number), item)
            case (str(a), str(b)):
                return TextExample(where, str(number), a, b)
        return None


def labels_given(examples: Sequence[TextExample]) -> list[Any] | None:
    """The labels, if every example has one."""
    given = [example.label for example in examples]
    return None if None in given else given


def kind_of_text(example: Example) -> str:
    """`a text` or `a pair of texts`."""
    return "a pair of texts" if len(example.texts) > 1 else "a text"


def call_of_pipeline(example: Example) -> str:
    """How a pipeline of `transformers` is called."""
    is_pair = len(example.texts) > 1
    text = '{"text": "TEXT", "text_pair": "SECOND TEXT"}' if is_pair else '"TEXT"'
    return f"model({text})"
