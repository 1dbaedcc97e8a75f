"""The contract of a kind of task: all that is particular to it, from the user's file to the report.

A kind is a file in `kinds` and a row of `kinds.registry.KINDS`; no other file compares their names.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, UsageError
from bertsmith.models.head_config import Level, Loss
from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import own_rows
from bertsmith.tasks.datasets.own_rows import is_lines
from bertsmith.tasks.decode import Outputs
from bertsmith.tasks.examples import Example, Limits
from bertsmith.tasks.features import Features
from bertsmith.tasks.inspection import Inspection
from bertsmith.tasks.metric import Metric, Row
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.spellings import in_order
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import rows
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_ONE_COLUMN = ("text", "text_pair", "label", "words", "tags", "question", "context")
COLUMNS_NEEDED = "give them as columns of a .csv, .tsv, .jsonl or .parquet"


class Prediction(msgspec.Struct, frozen=True, tag_field="kind"):
    """What a model answers; each kind has its own."""

    @property
    def columns(self) -> dict[str, Any]:
        """The answer as columns of a file."""
        raise NotImplementedError


class Usual(NamedTuple):
    """What a kind has where nothing else is said."""

    batch_size: int = 16
    max_length: int = 512
    stride: int = 128


@dataclass(frozen=True)
class Answered:
    """The examples of a labelled part with a model's answers to them, for a report."""

    examples: Sequence[Any]
    predictions: Sequence[Any]
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    inspection: Inspection


class TaskKind(ABC):
    """What is done with an example: give it a class, a number, tags, an answer, ..."""

    # --- What it is ---
    name: ClassVar[str]
    """As the command line and files have it."""
    level: ClassVar[Level]
    loss: ClassVar[Loss] = "cross-entropy"
    prediction: ClassVar[type[Prediction]]
    is_paired: ClassVar[bool] = False
    """Whether an input always has two segments."""
    settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of a fine-tuning that this kind looks at and some others do not."""
    long_texts: ClassVar[Literal["choice", "truncate", "windows"]] = "windows"
    """What is done with texts that are too long: the user's choice, truncate, or slide windows."""
    usual: ClassVar[Usual] = Usual()

    # --- Scores ---
    metrics: ClassVar[Mapping[str, Metric]]
    """Every metric that can score it, by a name that no other metric has."""
    deciding: ClassVar[tuple[str, ...]] = ()
    """Those of the user's metrics whose mean decides which run is best; none: all."""

    # --- Files ---
    columns: ClassVar[tuple[str, ...]]
    """Fields of `Columns` that are read."""

    # --- Words ---
    asked: ClassVar[str]
    """What a model can be asked, e.g. `a text or a pair of texts`."""
    pipeline: ClassVar[str]
    """The task's name on the Hugging Face hub."""
    baseline_name: ClassVar[str]
    """What the baseline always predicts, e.g. `majority class`."""
    loss_words: ClassVar[str] = "negative log-probability of the correct answer, in nats"
    counted: ClassVar[str] = ""
    """What `Example.counted` counts, e.g. `class`."""
    unit: ClassVar[str] = "example"
    """The unit that has a label."""
    inputs: ClassVar[str] = "inputs"
    """The unit that becomes one row of tokens, or several."""
    cut_inputs: ClassVar[str] = "inputs"
    """The unit that is cut when it is too long."""
    wrong: ClassVar[str] = "Wrong predictions"
    """Heading of the examples with an error."""

    @property
    def is_number(self) -> bool:
        """Whether labels are numbers, which training puts on a scale of mean 0 and deviation 1."""
        return self.loss == "squared-error"

    @property
    def has_labels(self) -> bool:
        """Whether labels are names, learned from the training file."""
        return self.level in ("text", "token") and not self.is_number

    # --- From files to examples ---

    def columns_read(self, *, labelled: bool) -> tuple[str, ...]:
        """Fields of `Columns` that are read from a file with labels, or in one without."""
        return self.columns

    @abstractmethod
    def parse(self, row: FileRow, key: str, columns: Columns, *, labelled: bool) -> Example:
        """The example in one row; without `labelled` no label is looked for.

        Raises:
            DataError: a missing column, an empty text or a bad label, by file and line.
        """

    def read(
        self,
        path: Path | str,
        columns: Columns,
        *,
        bad: BadRows | None = None,
        notes: Notes | None = None,
    ) -> Iterator[Example]:
        """The labelled examples of one of the user's files, in order.

        Args:
            path: the file, possibly packed; its ending tells the format.
            columns: what its columns are called.
            bad: collects rows that cannot be used; None: they are refused, all at once.
            notes: are told what was decided by a rule.

        Raises:
            DataError: as `parse`, or as the format's reader.
            UsageError, SystemFault: the path is a folder, lines of text, or not to be read.
        """
        self.refuse_lines(path)
        parse = partial(self.parse, columns=columns, labelled=True)
        needed = self.needed(columns, labelled=True)
        for _, example in own_rows.read(path, needed, parse, bad or BadRows()):
            yield example

    def needed(self, columns: Columns, *, labelled: bool) -> dict[str, str]:
        """The columns that every row must have: field of `Columns` -> its name in the file."""
        fields = [field for field in self.columns if labelled or field != "label"]
        named = {field: getattr(columns, field) for field in fields if field in _ONE_COLUMN}
        return {field: name for field, name in named.items() if name}

    def read_unlabelled(
        self,
        path: Path | str,
        columns: Columns,
        *,
        labels: Collection[str] = (),
        bad: BadRows | None = None,
    ) -> Iterator[tuple[dict[str, Any], Example]]:
        """Every row of a file and what a model is asked about it, no label looked for.

        Args:
            path: also lines of text, a text each, where one text is asked about.
            columns: what its columns are called.
            labels: the model's, by which a format may be known.
            bad: as in `read`, which raises the same errors.
        """
        rows.refuse_folder(path)
        columns = self.columns_in(path, columns)
        parse = partial(self.parse, columns=columns, labelled=False)
        needed = self.needed(columns, labelled=False)
        for row, example in own_rows.read(path, needed, parse, bad or BadRows()):
            yield row.values, example

    def refuse_lines(self, path: Path | str) -> None:
        """Refuses a folder, and lines of text where labels are needed.

        Raises:
            UsageError: so it is.
        """
        rows.refuse_folder(path)
        if is_lines(path):
            raise UsageError(f"{path} has one text per line and no labels; {COLUMNS_NEEDED}.")

    def columns_in(self, path: Path | str, columns: Columns) -> Columns:
        """What the columns of one file without labels are called.

        Raises:
            UsageError: a file of lines, and the model is asked more than one text at a time.
        """
        if is_lines(path):
            raise UsageError(
                f"{path} has one text per line, but this model needs several per input; "
                f"{COLUMNS_NEEDED}."
            )
        return columns

    def grouped(self, texts: Sequence[str], *, pairs: bool) -> list[tuple[str, ...]]:
        """Texts one by one or as pairs, as `example` takes them.

        Raises:
            UsageError: one is left over.
        """
        if not (pairs or self.is_paired):
            return [(text,) for text in texts]
        if len(texts) % 2:
            what = self.asked if self.is_paired else "two texts"
            raise UsageError(f"This model takes {what}, found {len(texts)}; give an even number.")
        return list(zip(texts[::2], texts[1::2], strict=True))

    def example(self, item: str | tuple[Any, ...], where: str, number: int) -> Example | None:
        """A text or texts that a program asks about; None where this kind cannot be asked so.

        Raises:
            UsageError: the text holds nothing.
        """
        return None

    # --- What is learned from the examples of training ---

    def classes(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """The classes that occur, sorted, whole numbers by value; none for other labels."""
        return in_order({name for example in examples for name in example.labels})

    def metrics_of(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Names of the metrics that score a user's own data with these classes."""
        return tuple(self.metrics)

    def check_learnable(self, train: Sequence[Example]) -> None:
        """Refuses examples from which nothing can be learned.

        Raises:
            DataError: all have one label.
        """
        counts = {name for example in train for name in example.counted}
        if len(counts) < 2:
            raise DataError(
                f"{train[0].where}: this and every other {self.unit} of train has the label "
                f"'{next(iter(counts))}'; add examples with other labels, or check that the right "
                "column is read."
            )

    def unified(
        self,
        train: list[Example],
        evaluated: dict[str, list[Example]],
        *,
        strict: bool,
        notes: Notes,
    ) -> tuple[list[Example], dict[str, list[Example]]]:
        """All parts with their labels written in one way."""
        return train, evaluated

    def unified_like(
        self, examples: list[Example], labels: Sequence[str], notes: Notes
    ) -> list[Example]:
        """A part with its labels written as those of a model."""
        return examples

    def known_labels(self, labels: Sequence[str]) -> set[str]:
        """Labels that a part may have for a model of these."""
        return set(labels)

    def notes_on(self, labels: Sequence[str], *, official: bool) -> list[str]:
        """What is worth knowing of the labels, a sentence each."""
        return []

    def initial_thresholds(
        self, labels: Sequence[str], *, may_be_impossible: bool
    ) -> tuple[float, ...]:
        """The thresholds of a model before `tuned`."""
        return ()

    # --- From examples to inputs ---

    @abstractmethod
    def encode(
        self,
        examples: Sequence[Any],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """The inputs of examples (at least one), and targets where every one of them is labelled.

        Args:
            examples: of this kind's shape.
            tokenizer: the model's.
            limits: how long inputs may be.
            labels: in the order of the model's outputs.

        Raises:
            UsageError: the limits leave no room for text, or examples do not go together.
        """

    def class_weights(self, features: Features, labels: Sequence[str]) -> NDArray[np.float64]:
        """Weights [C] by which rare classes count as much as frequent ones in the loss."""
        raise NotImplementedError

    # --- From outputs to answers ---

    @abstractmethod
    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """An answer for each example."""

    @abstractmethod
    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> Any:
        """The right answers of labelled examples, as metrics take them."""

    @abstractmethod
    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> Any:
        """What was predicted, as metrics take it."""

    def tuned(
        self, task_config: TaskConfig, examples: Sequence[Any], answers: list[Prediction]
    ) -> tuple[TaskConfig, list[Prediction]]:
        """Thresholds that are best on labelled examples, and the answers by them."""
        return task_config, answers

    # --- Scores ---

    @abstractmethod
    def baseline(self, references: Any) -> Any:
        """Predictions that are always the most frequent of these references (see `baseline_name`).

        The most frequent of the training split could score lower than another constant.
        """

    def is_constant(self, references: Any, predictions: Any) -> bool:
        """Whether the predictions are nearly all the same, if the metrics cannot tell."""
        return False

    def table(self, references: Any, predictions: Any, labels: Sequence[str]) -> list[Row]:
        """A row for each class, label or type; none where there are none."""
        return []

    # --- Blocks of a file that is predicted ---
    def goes_on(self, one: Example, other: Example) -> bool:
        """Whether `other`, the next one, has to be asked together with `one`."""
        return False

    def check_block(self, examples: Sequence[Any]) -> None:  # noqa: B027
        """Refuses examples that cannot be asked together.

        Raises:
            DataError: so it is, by file and line.
        """

    # --- The report, in the current language ---

    @abstractmethod
    def goal(self, labels: Sequence[str], example: Example) -> str:
        """What a model is fine-tuned to do; follows `fine-tuned to`."""

    @abstractmethod
    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """Lines of Python that load the model in `transformers`."""

    @abstractmethod
    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes sections on which predictions are correct."""

    def about_errors(self, count: int, total: int, most: int) -> str:
        """The paragraph above the cards of `count` errors, of which at most `most` are shown."""
        return t(
            "{what}: {count:,} of {total:,}. The most confident ones are shown, {most} at most; "
            "some may be labelling errors.",
            what=t(self.wrong),
            count=count,
            total=total,
            most=most,
        )

    @abstractmethod
    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> NDArray[np.float64]:
        """Severity of each error, -1 for correct predictions [N]."""

    @abstractmethod
    def card(self, example: Any, answer: Any) -> Card:
        """An example with its wrong prediction."""
