"""Examples of every shape: what a model is shown, and what is right of it. No pieces, no models.

A kind of task has one shape; several kinds may share one. A shape says which of its texts and
labels matter to whoever counts, compares or splits examples.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

import msgspec

LongTexts = Literal["truncate", "windows"]
MAX_QUESTION_LENGTH = 64
"""Pieces (Google's `run_squad.py`)."""
PLACE = ("where", "word_a_line", "text", "places")
"""Fields of an example that say where it came from; the others say what it is."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long inputs may be; kept with a model, which must read inputs as it was trained."""

    max_length: int
    """Most tokens of an input, `[CLS]` and `[SEP]` counted."""
    stride: int
    """Tokens by which neighbouring windows over a long text overlap, as in `transformers`; at most
    two thirds of a window."""
    long_texts: LongTexts = "truncate"
    """What is done with a text or a pair that is longer: truncate it, or slide windows over it and
    average their scores."""
    max_question_length: int = MAX_QUESTION_LENGTH
    """Pieces of a question that are kept."""


@dataclass(frozen=True, slots=True)
class Example(ABC):
    """What a model is shown, with a label or without."""

    where: str
    """`file:line`, for errors."""
    key: str
    """What the file calls the example; else its number from 0."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """Every text; the words of a sentence to tag make one."""

    @property
    @abstractmethod
    def content(self) -> tuple[object, ...]:
        """What a model is shown; equal for duplicates."""

    @property
    @abstractmethod
    def answer(self) -> object:
        """What is right, equal where nothing contradicts; None where there is no label."""

    @abstractmethod
    def unlabelled(self) -> Self:
        """The same without a label."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes in the label: one, several, or one for each word."""
        return ()

    @property
    def counted(self) -> tuple[str, ...]:
        """What is counted in a table of labels."""
        return self.labels

    def where_is(self, position: int) -> str:
        """`file:line` of one of `labels`, by its place among them."""
        return self.where

    def renamed(self, name_of: Callable[[str], str]) -> Self:
        """The same with other names of classes."""
        return self

    @property
    def shared(self) -> object:
        """What keeps examples on one side of a split: those of equal `shared` stay together."""
        return self.content


@dataclass(frozen=True, slots=True)
class TextExample(Example):
    """A text or a pair of texts with a class, a number or several labels."""

    a: str
    b: str | None = None
    label: str | float | tuple[str, ...] | None = None
    """A class's name, a number, or the names of all labels; None where the file has none."""

    @property
    def texts(self) -> tuple[str, ...]:
        """One or two."""
        return (self.a,) if self.b is None else (self.a, self.b)

    @property
    def content(self) -> tuple[object, ...]:
        """Both texts."""
        return self.a, self.b

    @property
    def answer(self) -> object:
        """The label."""
        return self.label

    def unlabelled(self) -> Self:
        """The texts alone."""
        return replace(self, label=None)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class, or all labels."""
        if isinstance(self.label, tuple):
            return self.label
        return (self.label,) if isinstance(self.label, str) else ()

    @property
    def counted(self) -> tuple[str, ...]:
        """The class, the number, or all labels."""
        return self.label if isinstance(self.label, tuple) else (str(self.label),)

    def renamed(self, name_of: Callable[[str], str]) -> Self:
        """With other names of the labels."""
        match self.label:
            case str(name):
                return replace(self, label=name_of(name))
            case tuple(names):
                return replace(self, label=tuple(map(name_of, names)))
        return self


@dataclass(frozen=True, slots=True)
class ChoiceExample(Example):
    """A beginning with several continuations, one of them right."""

    a: str
    choices: tuple[str, ...]
    label: int | None = None
    """Number of the right choice, from 0."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The beginning and the choices."""
        return (self.a, *self.choices)

    @property
    def content(self) -> tuple[object, ...]:
        """The beginning and the choices."""
        return self.a, self.choices

    @property
    def answer(self) -> object:
        """The number of the right choice."""
        return self.label

    def unlabelled(self) -> Self:
        """The texts alone."""
        return replace(self, label=None)

    @property
    def counted(self) -> tuple[str, ...]:
        """The number of the right choice."""
        return (str(self.label),)


@dataclass(frozen=True, slots=True)
class TagExample(Example):
    """A sentence whose words each have a tag."""

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
    def texts(self) -> tuple[str, ...]:
        """The words as one text."""
        return (" ".join(self.words),)

    @property
    def content(self) -> tuple[object, ...]:
        """The words."""
        return self.words

    @property
    def answer(self) -> object:
        """The tags."""
        return self.tags

    def unlabelled(self) -> Self:
        """The words alone."""
        return replace(self, tags=None)

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags."""
        return self.tags or ()

    def renamed(self, name_of: Callable[[str], str]) -> Self:
        """With other tags."""
        return self if self.tags is None else replace(self, tags=tuple(map(name_of, self.tags)))

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
class AnswerExample(Example):
    """A question about a context that holds the answer, or none."""

    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    """Every answer that counts as right; empty: there is none; None: not labelled."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The question and the context."""
        return self.question, self.context

    @property
    def content(self) -> tuple[object, ...]:
        """The question and the context."""
        return self.question, self.context

    @property
    def answer(self) -> object:
        """Every right answer."""
        return self.answers

    def unlabelled(self) -> Self:
        """The texts alone."""
        return replace(self, answers=None)

    @property
    def counted(self) -> tuple[str, ...]:
        """Whether there is an answer."""
        return ("answered" if self.answers else "no answer",)

    @property
    def shared(self) -> object:
        """The context: its questions stay together."""
        return self.context
