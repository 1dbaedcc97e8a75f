"""What the reports of several kinds have in common: tables by class, confidence, marked texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.reports.calibration import calibration, calibration_chart
from bertsmith.reports.charts import confusion_chart
from bertsmith.reports.page import Passage, Report
from bertsmith.tasks.examples import TextExample
from bertsmith.tasks.kinds.confusion import confusion, per_class
from bertsmith.tasks.metric import Row, told

MOST_ROWS = 40
"""Classes in a table."""
ORANGE, GREEN = 1, 2
"""Tones of what is wrong and what is right."""

PRECISION = (
    "Precision is the share of right ones among those that were said, recall the share of true "
    "ones that were found, and F1 their harmonic mean, which is low where either is."
)


def write_confusion(
    page: Report, true: ArrayLike, guessed: ArrayLike, names: Sequence[str], column: str
) -> None:
    """Writes precision and recall of each class, and what was taken for what."""
    rows = per_class(true, guessed, names)
    if len(rows) > MOST_ROWS:
        page.text(f"The table has the {MOST_ROWS} of {len(rows)} classes with the lowest F1.")
        rows = sorted(rows, key=lambda row: (not row.support, row.f1))[:MOST_ROWS]
    write_rows(page, rows, column)
    page.picture(
        confusion_chart(confusion(true, guessed, names), names, title="What was taken for what"),
        "True classes in rows, given ones in columns. Blue is right, orange wrong; the stronger, "
        "the larger the share of the true class.",
    )


def write_rows(page: Report, rows: Sequence[Row], column: str) -> None:
    """Writes a table with a row for each class or type."""
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


def write_calibration(
    page: Report, confidences: Sequence[float], rights: Sequence[bool] | NDArray[np.bool_], of: str
) -> None:
    """Writes whether answers are as often right as the model is sure of them."""
    bins, error = calibration(confidences, [bool(right) for right in rights])
    page.section(
        "How sure it is",
        f"The confidence of an answer is the probability that the model gives it. Over the {of} it "
        f"is {np.mean(confidences):.1%} on average, and {np.mean(rights):.1%} are right. Expected "
        f"calibration error: {error:.4f}, the mean gap between the two when those of like "
        "confidence are put together (0 is best).",
    )
    page.picture(calibration_chart(bins, title="Confidence and correctness"))


def where(wrong: ArrayLike, badness: ArrayLike) -> NDArray[np.float64]:
    """How bad each answer is, -1 where it is not wrong."""
    return np.where(wrong, badness, -1.0)


def text_passages(example: TextExample) -> list[Passage]:
    """The text or both texts of an example."""
    first = Passage(example.a, name=example.where)
    return [first] if example.b is None else [first, Passage(example.b, name="second text")]


def pipeline_code(task: str, folder: str, more: str = "") -> list[str]:
    """Lines of Python that make a pipeline of `transformers`."""
    made = f'model = pipeline("{task}", model={folder!r}{more})'
    return ["from transformers import pipeline", made]


def automatic_code(head: str, folder: str) -> list[str]:
    """Lines of Python that load a model of `transformers` and its tokenizer."""
    return [
        f"from transformers import AutoModelFor{head}, AutoTokenizer",
        f"model = AutoModelFor{head}.from_pretrained({folder!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({folder!r})",
    ]
