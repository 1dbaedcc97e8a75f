"""What a fine-tuned model gets right and wrong, as sections of its page, by kind of task."""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.finetuning.result import FinetuneResult
from bertsmith.models.head_config import Kind
from bertsmith.reports.calibration import calibration, calibration_chart
from bertsmith.reports.charts import confusion_chart, scatter_chart
from bertsmith.reports.page import Report
from bertsmith.tasks.decode import (
    ChoiceAnswer,
    ClassAnswer,
    NumberAnswer,
    Prediction,
    SpanAnswer,
    TagAnswer,
    gold,
    said,
)
from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.metrics import METRICS, Row, confusion, per_class, per_type, told
from bertsmith.tasks.task import (
    AnswerExample,
    ChoiceExample,
    Example,
    TagExample,
    TextExample,
)

MOST_ROWS = 40
"""Classes in a table."""

_QUESTION_WORDS = ("what", "who", "when", "where", "which", "why", "how")
_CHARACTERS = (5, 10, 20, 40)
_NONE, _OTHER = "no answer", "other"

_PRECISION = (
    "Precision is the share of right ones among those that were said, recall the share of true "
    "ones that were found, and F1 their harmonic mean, which is low where either is."
)


def write_answers(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> None:
    """Writes the sections on the answers to the deciding part."""
    _WRITERS[result.kind](page, result, examples, predictions)


def _write_classes(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[TextExample],
    predictions: Sequence[ClassAnswer],
) -> None:
    true, guessed = (
        gold("classify", examples, result.labels),
        said("classify", predictions, result.labels),
    )
    page.section("Class by class", _PRECISION)
    _write_confusion(page, true, guessed, result.labels, "class")
    sure = [answer.probabilities[answer.label] for answer in predictions]
    _write_calibration(page, sure, true == guessed, "answers")


def _write_choices(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[ChoiceExample],
    predictions: Sequence[ChoiceAnswer],
) -> None:
    true, guessed = gold("choose", examples, ()), said("choose", predictions, ())
    names = [f"choice {number}" for number in range(len(examples[0].choices))]
    page.section(
        "Choice by choice",
        "Whether the place of the right choice (counted from 0) matters, which it should not. "
        + _PRECISION,
    )
    _write_confusion(page, true, guessed, names, "right choice")
    sure = [answer.probabilities[answer.choice] for answer in predictions]
    _write_calibration(page, sure, true == guessed, "answers")


def _write_confusion(
    page: Report, true: ArrayLike, guessed: ArrayLike, names: Sequence[str], column: str
) -> None:
    rows = per_class(true, guessed, names)
    if len(rows) > MOST_ROWS:
        page.text(f"The table has the {MOST_ROWS} of {len(rows)} classes with the lowest F1.")
        rows = sorted(rows, key=lambda row: (not row.support, row.f1))[:MOST_ROWS]
    _write_rows(page, rows, column)
    page.picture(
        confusion_chart(confusion(true, guessed, names), names, title="What was taken for what"),
        "True classes in rows, given ones in columns. Blue is right, orange wrong; the stronger, "
        "the larger the share of the true class.",
    )


def _write_rows(page: Report, rows: Sequence[Row], column: str) -> None:
    page.table(
        [column, "precision", "recall", "F1", "examples"],
        [
            [
                row.name,
                told(row.precision),
                told(row.recall) if row.support else None,
                told(row.f1) if row.support else None,
                row.support,
            ]
            for row in rows
        ],
    )


def _write_numbers(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[TextExample],
    predictions: Sequence[NumberAnswer],
) -> None:
    true, guessed = gold("regress", examples, ()), said("regress", predictions, ())
    mean = result.inspection.numbers["train"].mean
    page.section(
        "Number by number",
        f"The answers are off by {np.abs(guessed - true).mean():.4f} on average. Always saying "
        f"{mean:.4g}, the mean of the training labels, is off by {np.abs(mean - true).mean():.4f}.",
    )
    page.picture(
        scatter_chart(true, guessed, title="Said and true numbers"),
        "On the dashed line what is said is true.",
    )


def _write_tags(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[TagExample],
    predictions: Sequence[TagAnswer],
) -> None:
    true, guessed = gold("tag", examples, ()), said("tag", predictions, ())
    rows = per_type(true, guessed)
    if rows:
        page.section("Type by type", _PRECISION)
        _write_rows(page, rows, "type of entity")
        page.table(
            ["entity", "number"],
            list(_entity_mistakes(true, guessed).items()),
            caption="Entities by what became of them",
        )
    words = [
        (sure, right == guess)
        for answer, tags in zip(predictions, true, strict=True)
        for sure, right, guess in zip(answer.probabilities, tags, answer.tags, strict=True)
        if guess != "O"
    ]
    if words:
        sure, right = zip(*words, strict=True)
        _write_calibration(page, sure, right, "words that got a tag other than O")


def _entity_mistakes(
    true: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]]
) -> dict[str, int]:
    counts = dict.fromkeys(
        ("right", "another type", "other first or last word", "missed", "made up"), 0
    )
    for tags, guesses in zip(true, guessed, strict=True):
        there, here = entities(tags), entities(guesses)
        for one in there:
            met = [other for other in here if _overlap(one, other)]
            if one in met:
                counts["right"] += 1
            elif any((other.start, other.end) == (one.start, one.end) for other in met):
                counts["another type"] += 1
            else:
                counts["other first or last word" if met else "missed"] += 1
        counts["made up"] += sum(not any(_overlap(one, other) for one in there) for other in here)
    return counts


def _overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end


def _write_spans(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[AnswerExample],
    predictions: Sequence[SpanAnswer],
) -> None:
    true, guessed = gold("answer", examples, ()), said("answer", predictions, ())
    exact, shared = (
        METRICS[name].statistics(true, guessed)[:, 0] for name in ("exact_match", "answer_f1")
    )
    page.section(
        "Question by question",
        "Scores by the length of the answer (the shortest, where several are right) and by the "
        "first question word in the question.",
    )

    def write(column: str, group_of: Sequence[str], order: Sequence[str]) -> None:
        groups = {name: np.array([one == name for one in group_of]) for name in order}
        page.table(
            [column, "questions", "exact match", "F1"],
            [
                [name, int(group.sum()), told(exact[group].mean()), told(shared[group].mean())]
                for name, group in groups.items()
                if group.any()
            ],
        )

    write("answer", [_length(answers) for answers in true], [*map(_up_to, range(5)), _NONE])
    question_words = [_question_word(example.question) for example in examples]
    if set(question_words) != {_OTHER}:
        write("question", question_words, [*_QUESTION_WORDS, _OTHER])
    if result.best_run.threshold is not None:
        _write_threshold(page, result.best_run.threshold, true, guessed)
    sure = [answer.probability for answer in predictions]
    _write_calibration(page, sure, exact == 1, "answers")


def _length(answers: Sequence[str]) -> str:
    if not answers:
        return _NONE
    length = min(map(len, answers))
    return _up_to(int(np.searchsorted(_CHARACTERS, length)))


def _up_to(place: int) -> str:
    if place == len(_CHARACTERS):
        return f"more than {_CHARACTERS[-1]} characters"
    return f"{(0, *_CHARACTERS)[place] + 1} to {_CHARACTERS[place]} characters"


def _question_word(question: str) -> str:
    for word in re.findall(r"\w+", question.lower()):
        plain = "who" if word in ("whom", "whose") else word
        if plain in _QUESTION_WORDS:
            return plain
    return _OTHER


def _write_threshold(
    page: Report, threshold: float, true: Sequence[Sequence[str]], guessed: Sequence[str]
) -> None:
    has, gave = np.array([bool(row) for row in true]), np.array([bool(text) for text in guessed])
    page.section(
        "Questions without an answer",
        f"{int((~has).sum()):,} of {len(has):,} questions have no answer in their text. The model "
        f"says so where “no answer” scores more than {threshold:.4g} above the best stretch of the "
        "text. This threshold was chosen for the best F1 on these same questions.",
    )
    page.table(
        ["the question", "an answer was given", "none was given"],
        [
            [name, int((group & gave).sum()), int((group & ~gave).sum())]
            for name, group in (("has an answer", has), ("has none", ~has))
        ],
    )


def _write_calibration(
    page: Report, confidences: Sequence[float], rights: Sequence[bool] | NDArray[np.bool_], of: str
) -> None:
    bins, error = calibration(confidences, [bool(right) for right in rights])
    page.section(
        "How sure it is",
        f"The confidence of an answer is the probability that the model gives it. Over the {of} it "
        f"is {np.mean(confidences):.1%} on average, and {np.mean(rights):.1%} are right. Expected "
        f"calibration error: {error:.4f}, the mean gap between the two when those of like "
        "confidence are put together (0 is best).",
    )
    page.picture(calibration_chart(bins, title="Confidence and correctness"))


_WRITERS: dict[Kind, Callable[..., None]] = {
    "classify": _write_classes,
    "regress": _write_numbers,
    "choose": _write_choices,
    "tag": _write_tags,
    "answer": _write_spans,
}
