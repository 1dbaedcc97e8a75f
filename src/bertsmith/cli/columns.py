"""Flags for the columns of a labelled file, shared by `finetune`, `evaluate` and `predict`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.cli.command import Command
from bertsmith.cli.options import Option, flag

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model
    from bertsmith.tasks.task_config import Columns

COLUMNS = (
    "text",
    "text_pair",
    "label",
    "label_separator",
    "choices",
    "words",
    "tags",
    "question",
    "context",
    "answer",
)
"""Fields of `Columns`, each a flag."""
AS_TRAINED = dict.fromkeys(COLUMNS, "as in fine-tuning")
"""The defaults, as the help says them."""


def _column(help: str, *, metavar: str = "COL") -> Any:
    return flag(help, group="Columns", default=None, metavar=metavar)


@dataclass(kw_only=True)
class ColumnOptions(Command):
    """The flags."""

    column_defaults: ClassVar[dict[str, str]] = {}
    """What a column is called if its flag is left out, as the help says it."""

    text: str | None = _column("Column of the text.")
    text_pair: str | None = _column("Column of the second text.")
    label: str | None = _column("Column of the class, the number, the right choice or the labels.")
    label_separator: str | None = _column(
        "What is between several labels in one text, e.g. `|`; without it they are JSON lists.",
        metavar="TEXT",
    )
    choices: tuple[str, ...] | None = _column(
        "Columns of the choices, or the one column that holds lists of them.", metavar="COL,..."
    )
    words: str | None = _column(
        "Column of the words: lists, or in a CoNLL file its name or its number from 1."
    )
    tags: str | None = _column("Column of the tags, likewise.")
    question: str | None = _column("Column of the question.")
    context: str | None = _column("Column of the context.")
    answer: str | None = _column("Column of the answer's text; empty: there is no answer.")

    @classmethod
    def options(cls) -> list[Option]:
        """Those of every command, with what a column is called by default."""
        return [
            replace(one, default=cls.column_defaults.get(one.name, one.default))
            for one in super().options()
        ]

    def given_columns(self) -> dict[str, Any]:
        """The fields of `Columns` that the user named."""
        return {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}


def model_columns(predictor: "Model", given: Mapping[str, Any], *, labelled: bool) -> "Columns":
    """The columns of the model's fine-tuning, with the user's over them.

    Args:
        predictor: of any model.
        given: fields of `Columns` that the user named.
        labelled: whether the file has to have labels.

    Raises:
        UsageError: a flag names a column that would not be read.
    """
    from bertsmith.tasks.datasets import reading
    from bertsmith.tasks.kinds.registry import kind_named
    from bertsmith.tasks.task_config import Columns

    columns = Columns()
    # A corpus scores pre-trained models, whose files have no columns.
    if predictor.is_tuned:
        task_config = predictor.task_config
        task = reading.official(task_config.task)
        columns = task_config.columns or columns
        if task is not None and task.pair:
            columns = Columns(text_pair="text_pair")
        kind, own_names = kind_named(task_config.kind), task is not None and labelled
        reading.refuse_columns(kind, given, official=own_names, labelled=labelled)
    return replace(columns, **given)
