"""Multiple choice: which of several continuations of a text is right."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Passage, Report, Stretch
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import own_rows
from bertsmith.tasks.datasets.fields import label_of, list_of, text_of
from bertsmith.tasks.decode import Outputs, softmax
from bertsmith.tasks.examples import ChoiceExample, Example, Limits
from bertsmith.tasks.features import ROW, Features
from bertsmith.tasks.kind import Answered, Prediction, TaskKind
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.metric import ACCURACY, Floats, Metric
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.pool import Pool
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import rows
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.encode import fit_pair, room_for_text
from bertsmith.text.tokenizer.tokenizer import Tokenizer


class ChoiceAnswer(Prediction, frozen=True, tag="choice"):
    """The number of the choice (from 0), its text, and the probability of every choice."""

    choice: int
    text: str
    probabilities: list[float]

    @property
    def columns(self) -> dict[str, Any]:
        """The choice and the probabilities."""
        return {
            "predicted": self.choice,
            "predicted_text": self.text,
            "probability": self.probabilities[self.choice],
            "probabilities": self.probabilities,
        }


class MultipleChoice(TaskKind):
    """One of several continuations."""

    name = "multiple-choice"
    level = "choice"
    prediction = ChoiceAnswer
    is_paired = True
    long_texts = "truncate"
    metrics: ClassVar[Mapping[str, Metric]] = {"accuracy": ACCURACY}
    columns = ("text", "choices", "label")
    asked = "a text and its choices"
    pipeline = "multiple-choice"
    baseline_name = "most frequent position"
    counted = "correct choice"

    def parse(self, row: FileRow, key: str, columns: Columns, *, labelled: bool) -> Example:
        """The beginning, the choices and the right one."""
        choices = _choices(row, columns.choices)
        if len(choices) < 2 and not labelled:
            raise DataError(
                f"{row.where}: found {len(choices)} choices, expected at least two; name their "
                f"columns with {option('choices')}."
            )
        a = text_of(row, columns.text, "text")
        label = _right_choice(row, columns, choices) if labelled else None
        return ChoiceExample(row.where, key, a, choices, label)

    def read(
        self,
        path: Path | str,
        columns: Columns,
        *,
        bad: BadRows | None = None,
        notes: Notes | None = None,
    ) -> Iterator[Example]:
        """As many choices a row as there are columns for them, else as many as the first has."""
        self.refuse_lines(path)
        if not columns.choices:
            raise UsageError(
                "`multiple-choice` needs the columns of the choices; name them with "
                f"{option('choices')}."
            )
        expected = len(columns.choices) if len(columns.choices) > 1 else 0

        def parse(row: FileRow, key: str) -> Example:
            nonlocal expected
            a = text_of(row, columns.text, "text")
            choices = _choices(row, columns.choices)
            expected = expected or max(len(choices), 2)
            if len(choices) != expected:
                raise DataError(
                    f"{row.where}: found {len(choices) or 'no'} choice{'s' * (len(choices) != 1)}, "
                    f"expected {expected}; give every row the same number of choices, none empty."
                )
            return ChoiceExample(row.where, key, a, choices, _right_choice(row, columns, choices))

        needed = self.needed(columns, labelled=True)
        for _, example in own_rows.read(path, needed, parse, bad or BadRows()):
            yield example

    def grouped(self, texts: Sequence[str], *, pairs: bool) -> list[tuple[str, ...]]:
        """All together: a text and its choices."""
        if len(texts) < 3:
            raise UsageError("A multiple-choice model needs a text and at least two choices.")
        return [tuple(texts)]

    def example(self, item: str | tuple[Any, ...], where: str, number: int) -> Example | None:
        """A text and its choices."""
        match item:
            case (str(a), str(), str(), *_):
                return ChoiceExample(where, str(number), a, tuple(item[1:]))
        return None

    def check_learnable(self, train: Sequence[Example]) -> None:
        """The right choice may always have the same place."""

    def encode(
        self,
        examples: Sequence[ChoiceExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """A row for each choice, with the beginning; all examples have equally many."""
        group = len(examples[0].choices)
        pool = Pool(tokenizer)
        rows = np.zeros(len(examples) * group, dtype=ROW)
        rows["example"] = np.repeat(np.arange(len(examples)), group)
        a_starts, a_lengths = pool.add([example.a for example in examples])
        rows["a_start"], rows["a_length"] = np.repeat(a_starts, group), np.repeat(a_lengths, group)
        rows["b_start"], rows["b_length"] = pool.add(
            [choice for example in examples for choice in example.choices]
        )
        room = room_for_text(limits.max_length, specials=3)
        text = rows["a_length"] + rows["b_length"]
        rows["a_length"], rows["b_length"] = fit_pair(rows["a_length"], rows["b_length"], room)
        right = [example.label for example in examples]
        return Features(
            pool.pieces_T,
            rows,
            paired=True,
            whole=text + 3,
            group=group,
            targets=None if None in right else np.array(right, dtype=np.int64),
            truncated=len(np.unique(rows["example"][text > room])),
        )

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The most probable choice."""
        shares = softmax(outputs.reshape(-1, features.group).astype(np.float64))
        return [
            ChoiceAnswer(best, example.choices[best], row)
            for example, best, row in zip(
                examples, shares.argmax(1).tolist(), shares.tolist(), strict=True
            )
        ]

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of choices [N]."""
        return np.array([example.label for example in examples])

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of choices [N]."""
        return np.array([answer.choice for answer in answers])

    def baseline(self, references: Any) -> Any:
        """The most frequent place."""
        return np.full(len(references), np.bincount(references).argmax())

    def check_block(self, examples: Sequence[Any]) -> None:
        """All have equally many choices."""
        expected = len(examples[0].choices)
        for example in examples:
            count = len(example.choices)
            if count != expected:
                raise DataError(
                    f"{example.where}: found {count} choices, expected {expected} as in the rows "
                    "before; give every row the same number of choices, none empty."
                )

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To choose."""
        return t("choose the continuation of a text")

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """There is no pipeline."""
        return sections.automatic_code("MultipleChoice", folder)

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes scores by position of the correct choice, and calibration."""
        true = self.references(found.examples, ())
        guessed = self.predictions(found.predictions, ())
        names = [t("choice {n}", n=number) for number in range(len(found.examples[0].choices))]
        about = t("The position of the correct choice (counted from 0) should not matter.")
        page.section(t("Scores by position"), about + t(" ") + t(sections.PRECISION))
        sections.write_confusion(page, true, guessed, names, "correct choice")
        confidences = _confidences(found.predictions)
        sections.write_calibration(page, confidences, true == guessed, "predictions")

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Confidence in the wrong choice."""
        pairs = zip(examples, answers, strict=True)
        wrong = [answer.choice != example.label for example, answer in pairs]
        return sections.where(wrong, _confidences(answers))

    def card(self, example: ChoiceExample, answer: ChoiceAnswer) -> Card:
        """The text and its choices, with the true and the predicted one marked."""
        passages = [Passage(example.a, name=example.where)]
        for number, text in enumerate(example.choices):
            is_true, is_predicted = number == example.label, number == answer.choice
            tone = sections.GREEN if is_true else sections.ORANGE
            names = [t("choice {n}", n=number), f"{answer.probabilities[number]:.1%}"]
            names += [t("true")] * is_true + [t("predicted")] * is_predicted
            marks = [Stretch(0, len(text), tone=tone)] if is_true or is_predicted else []
            passages.append(Passage(text, marks, " · ".join(names)))
        title = sections.verdict(
            t("choice {n}", n=example.label),
            t("choice {n}", n=answer.choice),
            answer.probabilities[answer.choice],
        )
        return Card(title, passages)


def _confidences(answers: Sequence[ChoiceAnswer]) -> list[float]:
    return [answer.probabilities[answer.choice] for answer in answers]


def _choices(row: FileRow, names: tuple[str, ...]) -> tuple[str, ...]:
    """The texts in the columns, or those of the one list."""
    if len(names) == 1:
        texts = list_of(row, names[0], "choices")
    else:
        advice = f"name others with {option('choices')}"
        texts = [rows.column(row, name, advice=advice) for name in names]
    for number, text in enumerate(texts):
        if not isinstance(text, str) or rows.is_blank(text):
            what = "empty" if isinstance(text, str) else f"a {rows.kind_of(text)}"
            raise DataError(
                f"{row.where}: choice {number} is {what}; give every row the same number of "
                "choices, none empty."
            )
    return tuple(texts)


def _right_choice(row: FileRow, columns: Columns, choices: tuple[str, ...]) -> int:
    """The choice that the label means: a column's name, else a number from 0 or a choice's text."""
    label = label_of(row, columns.label)
    if label in columns.choices and len(columns.choices) > 1:
        return columns.choices.index(label)
    meant = {number for number, text in enumerate(choices) if text.strip() == label}
    if label in map(str, range(len(choices))):
        meant.add(int(label))
    if len(meant) != 1:
        raise DataError(
            f"{row.where}: the label '{label[:60]}' names {len(meant) or 'none'} of the choices, "
            f"expected a number from 0 to {len(choices) - 1}, the name of a choice's column or the "
            "text of one choice; correct it."
        )
    return meant.pop()


MULTIPLE_CHOICE = MultipleChoice()
