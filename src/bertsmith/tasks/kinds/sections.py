"""Report sections shared by several kinds of task: scores by class, calibration, texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.reports.calibration import calibration, calibration_chart
from bertsmith.reports.charts import confusion_chart
from bertsmith.reports.language import t
from bertsmith.reports.page import Passage, Report
from bertsmith.tasks.examples import TextExample
from bertsmith.tasks.kinds.confusion import confusion, per_class
from bertsmith.tasks.metric import Row, score_text

MOST_ROWS = 40
"""Classes in a table."""
ORANGE, GREEN = 1, 2
"""Tones of wrong and correct predictions."""

PRECISION = (
    "Precision is the share of predictions that are correct, recall the share of true ones that "
    "are found, F1 their harmonic mean."
)


def write_confusion(
    page: Report, true: ArrayLike, guessed: ArrayLike, names: Sequence[str], column: str
) -> None:
    """Writes precision and recall of each class, and the confusion matrix."""
    rows = per_class(true, guessed, names)
    if len(rows) > MOST_ROWS:
        page.text(
            t(
                "The table shows the {shown} of {count} classes with the lowest F1.",
                shown=MOST_ROWS,
                count=len(rows),
            )
        )
        rows = sorted(rows, key=lambda row: (not row.support, row.f1))[:MOST_ROWS]
    write_rows(page, rows, column)
    page.picture(
        confusion_chart(confusion(true, guessed, names), names, title=t("Confusion matrix")),
        t(
            "True classes in rows, predicted ones in columns. Blue is correct, orange wrong; a "
            "stronger colour is a larger share of the true class."
        ),
    )


def write_rows(page: Report, rows: Sequence[Row], column: str) -> None:
    """Writes a table with one row per class or type."""
    page.table(
        [t(column), t("precision"), t("recall"), "F1", t("examples")],
        [
            [
                row.name,
                score_text(row.precision),
                score_text(row.recall) if row.support else None,
                score_text(row.f1) if row.support else None,
                row.support,
            ]
            for row in rows
        ],
    )


def write_calibration(
    page: Report, confidences: Sequence[float], rights: Sequence[bool] | NDArray[np.bool_], of: str
) -> None:
    """Writes how well the confidence of the predictions matches their accuracy."""
    bins, error = calibration(confidences, [bool(right) for right in rights])
    page.section(
        t("Calibration"),
        t(
            "The confidence of a prediction is its probability. Mean confidence of the {of}: "
            "{confidence:.1%}; accuracy: {accuracy:.1%}. Expected calibration error: {error:.4f}, "
            "the mean gap between confidence and accuracy over bins of confidence (0 is best).",
            of=t(of),
            confidence=np.mean(confidences),
            accuracy=np.mean(rights),
            error=error,
        ),
    )
    page.picture(calibration_chart(bins, title=t("Confidence and accuracy")))


def where(wrong: ArrayLike, badness: ArrayLike) -> NDArray[np.float64]:
    """Severity of each error, -1 for correct predictions."""
    return np.where(wrong, badness, -1.0)


def verdict(true: object, predicted: object, confidence: float | None = None) -> str:
    """Heading of an error's card, e.g. `true: a, predicted: b (98.0%)`."""
    words = t("true: {true}, predicted: {predicted}", true=true, predicted=predicted)
    if confidence is None:
        return words
    return words + t(" ({confidence:.1%})", confidence=confidence)


def text_passages(example: TextExample) -> list[Passage]:
    """The text or both texts of an example."""
    first = Passage(example.a, name=example.where)
    return [first] if example.b is None else [first, Passage(example.b, name=t("second text"))]


def pipeline_code(task: str, folder: str, more: str = "") -> list[str]:
    """Lines of Python that load a `transformers` pipeline."""
    made = f'model = pipeline("{task}", model={folder!r}{more})'
    return ["from transformers import pipeline", made]


def automatic_code(head: str, folder: str) -> list[str]:
    """Lines of Python that load a `transformers` model and its tokenizer."""
    return [
        f"from transformers import AutoModelFor{head}, AutoTokenizer",
        f"model = AutoModelFor{head}.from_pretrained({folder!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({folder!r})",
    ]
