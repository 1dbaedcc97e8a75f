"""The contract of a task: what its examples are, where its files lie, how answers are scored.

A task of the paper is a row in `table`; a user's own files make the same kind of row in `own`.
Nothing here knows pieces or models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from bertsmith.models.head_config import Kind

Long = Literal["cut", "windows"]
LONGEST_QUESTION = 64
"""Pieces (Google's `run_squad.py`)."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long inputs may be; kept with a model, so that it is asked as it was taught."""

    longest: int
    """Most tokens of an input, `[CLS]` and `[SEP]` counted."""
    stride: int
    """Pieces from the start of one window to the start of the next."""
    long: Long = "cut"
    """What `classify` and `regress` do with what is longer: cut its end, or slide windows over it,
    whose scores are averaged."""
    longest_question: int = LONGEST_QUESTION
    """Pieces of a question that are kept."""


@dataclass(frozen=True, slots=True)
class TextExample:
    """A text or a pair of texts with a class or a number (kinds `classify` and `regress`)."""

    where: str
    """`file:line`, for errors."""
    key: str
    """What the file calls the example; else its number from 0."""
    a: str
    b: str | None = None
    label: str | float | None = None
    """A class's name (`classify`), a number (`regress`), None where the file has no labels."""


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A beginning with several continuations, one of them right (kind `choose`)."""

    where: str
    key: str
    a: str
    choices: tuple[str, ...]
    label: int | None = None
    """Number of the right choice, from 0."""


@dataclass(frozen=True, slots=True)
class TagExample:
    """A sentence whose words each have a tag (kind `tag`)."""

    where: str
    key: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    document: int = 0
    """Sentences that follow each other with one number are context for one another."""
    word_a_line: bool = False
    """Whether each word has a line of its own, the first the one in `where`."""
    text: str | None = None
    """The running text that the words come from, as it was given."""
    places: tuple[tuple[int, int], ...] | None = None
    """The first character of each word in `text`, and the one behind its last."""

    @property
    def placed(self) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The text and the places; words that came without are in one with spaces between."""
        if self.text is not None and self.places is not None:
            return self.text, self.places
        places, start = [], 0
        for word in self.words:
            places.append((start, start + len(word)))
            start += len(word) + 1
        return " ".join(self.words), tuple(places)

    def where_is(self, position: int) -> str:
        """`file:line` of a word, counted from 0."""
        if not self.word_a_line:
            return self.where
        path, _, line = self.where.rpartition(":")
        return f"{path}:{int(line) + position}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A stretch of a context: `context[start : start + len(text)] == text`."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class AnswerExample:
    """A question about a context that holds the answer, or none (kind `answer`)."""

    where: str
    key: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    """Every answer that counts as right; empty: there is none; None: not labelled."""


PLACE = ("where", "word_a_line", "text", "places")
"""Fields of an example that say where it came from; the others say what it is."""

Example = TextExample | ChoiceExample | TagExample | AnswerExample


def texts_of(example: Example) -> tuple[str, ...]:
    """Every text of an example; the words of a sentence to tag make one."""
    match example:
        case TextExample():
            return (example.a,) if example.b is None else (example.a, example.b)
        case ChoiceExample():
            return (example.a, *example.choices)
        case TagExample():
            return (" ".join(example.words),)
        case AnswerExample():
            return (example.question, example.context)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is done with a set of files, and what counts as good at it."""

    name: str
    """As the command line has it, e.g. `mrpc`."""
    title: str
    kind: Kind
    metrics: tuple[str, ...]
    """Names in `metrics.METRICS`, in the order they are shown."""
    files: Mapping[str, tuple[str, ...]]
    """Part -> names its file may have in the data folder, the first that exists is taken. Parts are
    `train`, `dev`, `test` and, where a task has more of a sort, `dev-mismatched` and so on."""
    read: Callable[[Path, str], list[Example]] | None = None
    """(file, part) -> its examples in order. Raises DataError with file and line. None for the
    user's own files, which `own.read_own` reads."""
    labels: tuple[str, ...] = ()
    """Classes in the order of the model's outputs; empty: those of the training file, sorted."""
    pair: bool = False
    """Whether an example has two texts (kinds `classify` and `regress`)."""
    symmetric: bool = False
    """Whether it means nothing which text of a pair comes first, as in similarity."""
    bounds: tuple[float, float] | None = None
    """Least and greatest value of a regression's labels, if the task fixes them."""
    may_be_impossible: bool = False
    """Whether a question may have no answer (SQuAD v2.0)."""
    deciding: tuple[str, ...] = ()
    """Those of `metrics` whose mean (as GLUE averages them) decides which run is best; empty: all
    of them."""
