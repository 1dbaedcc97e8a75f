"""Regression: a text or a pair of texts gets a number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bertsmith.core.errors import DataError
from bertsmith.reports.charts import scatter_chart
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

# An output layer in single precision has no room for much greater ones.
_GREATEST = 1e30

# Share of the sum of squares below which a resample's variance is what rounding leaves of zero.
_NO_VARIANCE = 1e-12

_CONSTANT = 0.01
"""Deviation of answers, as a share of that of the right numbers, at which they are all one."""


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
    """Numbers moved and scaled, which changes no correlation, so that their squares lose nothing.

    All 0 where they are all the same, or one is not a number, so that they have no variance.
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
            meaning="The Pearson correlation is 1 if the numbers said lie on a rising line over "
            "the true ones, and 0 if they have nothing to do with them.",
        ),
        "spearman": Metric(
            "Spearman correlation",
            _rank_moments,
            _correlation,
            meaning="The Spearman correlation is the same of their ranks: whether the order is "
            "right.",
        ),
        "mae": Metric(
            "mean absolute error",
            _distances,
            mean,
            is_error=True,
            meaning="The mean absolute error is how far the numbers said are from the true ones, "
            "in their unit.",
        ),
    }
    deciding = ("pearson", "spearman")
    usual_answer = "mean"
    baseline_words = "always the mean"
    loss_words = (
        "the squared distance of the model's answers to the right ones, over the variance of the "
        "labels (1: as far off as always the mean)"
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
                f"{row.where}: the label '{label}' in column '{columns.label}' is beyond what can "
                f"be learned, -{_GREATEST:g} to {_GREATEST:g}; correct it, or scale all numbers, "
                "for instance to thousandths of them."
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
        """The outputs on the scale of the labels, within their bounds."""
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
        """A correlation looks at the order, however little the numbers differ."""
        return bool(np.std(predictions) <= _CONSTANT * np.std(references))

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To measure."""
        return f"give {kind_of_text(example)} a number"

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """A pipeline that leaves the number as it is."""
        code = sections.pipeline_code(self.pipeline, folder, ', function_to_apply="none"')
        return [*code, call_of_pipeline(example)]

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes how far off the answers are."""
        true = self.references(found.examples, ())
        guessed = self.predictions(found.predictions, ())
        usual = found.inspection.numbers["train"].mean
        page.section(
            "Number by number",
            f"The answers are off by {np.abs(guessed - true).mean():.4f} on average. Always saying "
            f"{usual:.4g}, the mean of the training labels, is off by "
            f"{np.abs(usual - true).mean():.4f}.",
        )
        page.picture(
            scatter_chart(true.tolist(), guessed.tolist(), title="Said and true numbers"),
            "On the dashed line what is said is true.",
        )

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """How far off."""
        distances = np.abs(self.references(examples, ()) - self.predictions(answers, ()))
        return sections.where(distances > 0, distances)

    def about_errors(self, count: int, total: int, most: int) -> str:
        """Nearly every number is a little off."""
        return f"The answers that are furthest off, {most} at most."

    def card(self, example: TextExample, answer: NumberAnswer) -> Card:
        """Both numbers over the text."""
        title = f"true: {example.label:g}, said: {answer.value:.3g}"
        return Card(title, sections.text_passages(example))


REGRESSION = Regression()
