"""Regression: a number for a text or a pair of texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bertsmith.core.errors import DataError
from bertsmith.reports.charts import scatter_chart
from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks.datasets.fields import label_of
from bertsmith.tasks.decode import Outputs, averaged
from bertsmith.tasks.examples import Example, Limits, TextExample
from bertsmith.tasks.features import Features, encode_texts, with_targets
from bertsmith.tasks.kind import Answered, Prediction
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.kinds.texts import TextKind, call_of_pipeline, kind_of_text, labels_given
from bertsmith.tasks.metric import Floats, Metric, mean
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.tokenizer import Tokenizer

# An output layer in single precision cannot represent much larger ones.
_GREATEST = 1e30

# Share of the sum of squares below which a resample's variance is rounding error.
_NO_VARIANCE = 1e-12

_CONSTANT = 0.01
"""Predictions count as constant up to this share of the labels' standard deviation."""


class NumberAnswer(Prediction, frozen=True, tag="number"):
    """A number."""

    value: float

    @property
    def columns(self) -> dict[str, Any]:
        """The number."""
        return {"predicted": self.value}


def _distances(gold: Any, predicted: Any) -> Floats:
    errors = np.abs(np.asarray(gold, np.float64) - np.asarray(predicted, np.float64))
    return np.stack([errors, np.ones_like(errors)], axis=1)


def _moments(gold: Any, predicted: Any) -> Floats:
    x, y = _centred(gold), _centred(predicted)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _centred(values: ArrayLike) -> Floats:
    """Numbers shifted and scaled to keep their squares exact, which changes no correlation.

    All 0, hence without variance, if they are all the same or one is not finite.
    """
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all() or numbers.min() == numbers.max():
        return np.zeros_like(numbers)
    centred: Floats = numbers - numbers.mean()
    return centred / float(np.abs(centred).max())


def _correlation(sums_6: Floats) -> float | None:
    count, x, y, xx, yy, xy = (float(total) for total in sums_6)
    variances = count * xx - x * x, count * yy - y * y
    if variances[0] <= _NO_VARIANCE * count * xx or variances[1] <= _NO_VARIANCE * count * yy:
        return None
    covariance = count * xy - x * y
    return min(1.0, max(-1.0, covariance / math.sqrt(variances[0]) / math.sqrt(variances[1])))


def _rank_moments(gold: Any, predicted: Any) -> Floats:
    return _moments(_ranks(gold), _ranks(predicted))


def _ranks(values: ArrayLike) -> Floats:
    """Places in ascending order; equal numbers share the mean of theirs."""
    numbers = np.asarray(values, np.float64)
    _, group, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    ranks[np.isnan(numbers)] = np.nan
    return ranks


class Regression(TextKind):
    """A number."""

    name = "regression"
    loss = "squared-error"
    prediction = NumberAnswer
    metrics: ClassVar[Mapping[str, Metric]] = {
        "pearson": Metric(
            "Pearson correlation",
            _moments,
            _correlation,
            meaning="The Pearson correlation is 1 if the predictions are a rising linear function "
            "of the labels, and 0 if there is no linear relation.",
        ),
        "spearman": Metric(
            "Spearman correlation",
            _rank_moments,
            _correlation,
            meaning="The Spearman correlation is the correlation of the ranks: it is 1 if the "
            "order is correct.",
        ),
        "mae": Metric(
            "mean absolute error",
            _distances,
            mean,
            is_error=True,
            meaning="The mean absolute error is the mean distance between predictions and labels, "
            "in the unit of the labels.",
        ),
    }
    deciding = ("pearson", "spearman")
    baseline_name = "mean of the labels"
    loss_words = (
        "squared error divided by the variance of the labels (always predicting the mean gives 1)"
    )

    def label_in(self, row: FileRow, columns: Columns) -> float:
        """A finite number."""
        label = label_of(row, columns.label)
        try:
            value = float(label)
        except ValueError:
            value = math.nan
        # Python alone reads 1_000 as a number.
        if not math.isfinite(value) or "_" in label:
            raise DataError(
                f"{row.where}: the label '{label}' in column '{columns.label}' is not a finite "
                "number, written as 1234.5; correct it, or use `classification` for classes."
            )
        if abs(value) > _GREATEST:
            raise DataError(
                f"{row.where}: the label '{label}' in column '{columns.label}' is outside "
                f"-{_GREATEST:g} to {_GREATEST:g}; correct it, or scale all labels down."
            )
        return value

    def encode(
        self,
        examples: Sequence[TextExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """The number of each row is its target."""
        features, given = encode_texts(examples, tokenizer, limits), labels_given(examples)
        if given is None:
            return features
        return with_targets(features, np.array(given, dtype=np.float32))

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The outputs on the scale of the labels, clipped to their bounds."""
        values = task_config.offset + task_config.scale * averaged(features, outputs)[:, 0]
        least, greatest = task_config.bounds or (-np.inf, np.inf)
        return [NumberAnswer(value) for value in values.clip(least, greatest).tolist()]

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> Floats:
        """The numbers [N]."""
        return np.array([example.label for example in examples], dtype=np.float64)

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> Floats:
        """The numbers [N]."""
        return np.array([answer.value for answer in answers])

    def baseline(self, references: Any) -> Any:
        """Their mean."""
        return np.full(len(references), np.mean(references))

    def is_constant(self, references: Any, predictions: Any) -> bool:
        """A correlation measures the order, however little the numbers differ."""
        return bool(np.std(predictions) <= _CONSTANT * np.std(references))

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To predict a number."""
        return t("predict a number for {what}", what=kind_of_text(example))

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """A pipeline that returns the number unchanged."""
        code = sections.pipeline_code(self.pipeline, folder, ', function_to_apply="none"')
        return [*code, call_of_pipeline(example)]

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes the mean error and a scatter plot."""
        true = self.references(found.examples, ())
        guessed = self.predictions(found.predictions, ())
        mean_label = found.inspection.numbers["train"].mean
        page.section(
            t("Predicted and true numbers"),
            t(
                "The mean absolute error is {error:.4f}; always predicting {mean:.4g}, the mean of "
                "the training labels, gives {baseline:.4f}.",
                error=np.abs(guessed - true).mean(),
                mean=mean_label,
                baseline=np.abs(mean_label - true).mean(),
            ),
        )
        title = t("Predictions against labels")
        page.picture(
            scatter_chart(true.tolist(), guessed.tolist(), title=title),
            t("Predictions on the dashed line are exact."),
        )

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """The absolute error."""
        distances = np.abs(self.references(examples, ()) - self.predictions(answers, ()))
        return sections.where(distances > 0, distances)

    def about_errors(self, count: int, total: int, most: int) -> str:
        """Nearly every number is slightly off, so they are not counted."""
        return t("The {most} predictions with the largest error.", most=min(count, most))

    def card(self, example: TextExample, answer: NumberAnswer) -> Card:
        """The text under its true and predicted number."""
        title = sections.verdict(f"{example.label:g}", f"{answer.value:.3g}")
        return Card(title, sections.text_passages(example))


REGRESSION = Regression()
