"""Base of the kinds whose examples are a text or a pair of texts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from bertsmith.reports.language import t
from bertsmith.tasks.datasets.fields import text_of
from bertsmith.tasks.datasets.own_rows import is_lines
from bertsmith.tasks.examples import Example, TextExample
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.task_config import Columns
from bertsmith.text import rows
from bertsmith.text.rows import Row


class TextKind(TaskKind):
    """A label for a text or a pair of texts."""

    level = "text"
    long_texts = "choice"
    settings = frozenset(("long_texts", "stride"))
    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")
    asked = "a text or a pair of texts"
    pipeline = "text-classification"

    def label_in(self, row: Row, columns: Columns) -> str | float | tuple[str, ...]:
        """The label in a row.

        Raises:
            DataError: the label is missing or invalid, with file and line.
        """
        raise NotImplementedError

    def parse(self, row: Row, key: str, columns: Columns, *, labelled: bool) -> Example:
        """The texts, and the label if `labelled`."""
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
    """The labels, or None if an example has none."""
    given = [example.label for example in examples]
    return None if None in given else given


def kind_of_text(example: Example) -> str:
    """`a text` or `a pair of texts`."""
    return t("a pair of texts") if len(example.texts) > 1 else t("a text")


def call_of_pipeline(example: Example) -> str:
    """The line of Python that calls a `transformers` pipeline."""
    is_pair = len(example.texts) > 1
    text = '{"text": "TEXT", "text_pair": "SECOND TEXT"}' if is_pair else '"TEXT"'
    return f"model({text})"
