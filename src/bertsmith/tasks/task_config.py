"""What a fine-tuned model needs to know beside its weights: `task.json` in its folder."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from bertsmith.checkpoints.headers import TASK_CONFIG as TASK_CONFIG
from bertsmith.tasks.examples import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What the user's columns are called; each kind of task reads only its own."""

    text: str = "text"
    """The text, or the first of two, or what the choices continue."""
    text_pair: str | None = None
    label: str = "label"
    """Of a class, a number, the right choice, or several labels."""
    label_separator: str | None = None
    """What is between several labels in one text; None: they are JSON lists."""
    choices: tuple[str, ...] = ()
    """A column for each choice, or one column that holds a list of them."""
    words: str = "words"
    """Of lists, or in a file of columns the name or the number (from 1) of the words' column."""
    tags: str = "tags"
    question: str = "question"
    context: str = "context"
    answer: str = "answer"
    """The answer's text, empty if there is none, or SQuAD's `answers`; see `answers`."""


class TaskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model takes its inputs, and how to read its answers."""

    version: Literal[1] = 1
    task: str
    """A row of the table of tasks, or the kind of the user's own files."""
    kind: str
    labels: tuple[str, ...]
    """Classes or tags in the order of the outputs."""
    limits: Limits
    thresholds: tuple[float, ...] = ()
    """Tuned on dev. Question answering: the one by which a question has no answer, none if there
    always is one. Multi-label classification: the least probability of each label."""
    columns: Columns | None = None
    """What the columns of the user's own files are called."""
    scale: float = 1.0
    offset: float = 0.0
    """A regression's number is `offset + scale * output`. In a finished model the output layer has
    them, and here is what it cannot hold: what fp32 rounds, and the mean where it has no bias."""
    bounds: tuple[float, float] | None = None
    """Least and greatest number that a regression may say."""
