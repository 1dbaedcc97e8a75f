"""Classification: one of several classes for a text or a pair of texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks import spellings
from bertsmith.tasks.datasets.fields import label_of
from bertsmith.tasks.decode import Outputs, averaged, softmax
from bertsmith.tasks.examples import Example, Limits, TextExample
from bertsmith.tasks.features import Features, encode_texts, with_targets
from bertsmith.tasks.kind import Answered, Prediction
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.kinds.confusion import per_class
from bertsmith.tasks.kinds.texts import TextKind, call_of_pipeline, kind_of_text, labels_given
from bertsmith.tasks.metric import ACCURACY, F1_WORDS, Floats, Metric, Row, f1
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_MANY_CLASSES = 20


class ClassAnswer(Prediction, frozen=True, tag="class"):
    """A class, and the probability of every class."""

    label: str
    probabilities: dict[str, float]

    @property
    def columns(self) -> dict[str, Any]:
        """The class and the probabilities."""
        return {
            "predicted": self.label,
            "probability": self.probabilities[self.label],
            "probabilities": self.probabilities,
        }


def _agree_on_positive(gold: Any, predicted: Any) -> Floats:
    is_gold, is_predicted = np.asarray(gold) == 1, np.asarray(predicted) == 1
    return np.stack([is_gold & is_predicted, is_gold, is_predicted], axis=1).astype(np.float64)


def _both_classes(gold: Any, predicted: Any) -> Floats:
    return np.stack([gold, predicted], axis=1).astype(np.float64)


def _sums_by_class(classes_N2: Floats, weights_RN: Floats) -> Floats:
    """Hits, references and predictions of each class side by side [R, 3 * C].

    One-hot rows would take 3 * C numbers for each example, all but 3 of them 0.
    """
    gold, predicted = classes_N2.astype(np.int64).T
    hits, most = gold == predicted, int(classes_N2.max()) + 1
    return np.array(
        [
            np.concatenate(
                [
                    np.bincount(gold[hits], weights_N[hits], minlength=most),
                    np.bincount(gold, weights_N, minlength=most),
                    np.bincount(predicted, weights_N, minlength=most),
                ]
            )
            for weights_N in weights_RN
        ]
    )


def _macro_f1(sums: Floats) -> float:
    hits_C, gold_C, predicted_C = sums.reshape(3, -1)
    # Classes without references and predictions do not count (scikit-learn's default `labels`).
    seen = gold_C + predicted_C > 0
    return float((2 * hits_C[seen] / (gold_C + predicted_C)[seen]).mean())


def _matthews(sums: Floats) -> float:
    """Gorodkin's multi-class correlation (2004), which for two classes is Matthews' (1975)."""
    hits_C, gold_C, predicted_C = sums.reshape(3, -1)
    total = gold_C.sum()
    spread = (total**2 - gold_C @ gold_C) * (total**2 - predicted_C @ predicted_C)
    # Integers, so exactly 0 if either side is constant; scikit-learn and GLUE then score 0.
    return float((hits_C.sum() * total - gold_C @ predicted_C) / math.sqrt(spread or 1.0))


class Classification(TextKind):
    """One of several classes."""

    name = "classification"
    prediction = ClassAnswer
    settings = TextKind.settings | {"class_weights", "merge_labels"}
    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": ACCURACY,
        "f1": Metric(
            "F1",
            _agree_on_positive,
            lambda sums: f1(*sums),
            meaning=f"F1 is {F1_WORDS} of one class.",
        ),
        "macro_f1": Metric(
            "macro F1",
            _both_classes,
            _macro_f1,
            _sums_by_class,
            meaning=f"Macro F1 is the mean of the F1 of all classes, each {F1_WORDS}. Rare classes "
            "count as much as frequent ones.",
        ),
        "matthews": Metric(
            "Matthews correlation",
            _both_classes,
            _matthews,
            _sums_by_class,
            meaning="The Matthews correlation is 1 if all predictions are correct and 0 if they "
            "are unrelated to the labels, however unbalanced the classes are.",
        ),
    }
    baseline_name = "majority class"
    counted = "class"

    def label_in(self, row: FileRow, columns: Columns) -> str:
        """The name of a class."""
        return label_of(row, columns.label)

    def metrics_of(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Official tasks alone use F1 of one class and Matthews' correlation."""
        return ("accuracy", "macro_f1")

    def notes_on(self, labels: Sequence[str], *, official: bool) -> list[str]:
        """Labels that look like several joined labels, and many classes."""
        notes = []
        several = None if official else spellings.told_of_several(labels)
        if several:
            notes.append(several)
        if len(labels) > _MANY_CLASSES:
            advice = ", all of them numbers, which `regression` learns as such"
            more = advice * all(map(_is_number, labels))
            notes.append(f"labels: {len(labels)} classes{more}")
        return notes

    def encode(
        self,
        examples: Sequence[TextExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """The class of each row is its target."""
        features, given = encode_texts(examples, tokenizer, limits), labels_given(examples)
        if given is None:
            return features
        number_of = {name: number for number, name in enumerate(labels)}
        return with_targets(features, np.array([number_of[str(label)] for label in given]))

    def class_weights(self, features: Features, labels: Sequence[str]) -> NDArray[np.float64]:
        """Inverse class frequencies with mean 1 over the examples, so the loss keeps its scale."""
        assert features.targets is not None
        counts = np.bincount(features.targets.astype(np.int64), minlength=len(labels))
        # A class of an official task may have no training example.
        weights: NDArray[np.float64] = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
        return weights

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The most probable class."""
        shares = softmax(averaged(features, outputs))
        return [
            ClassAnswer(task_config.labels[best], dict(zip(task_config.labels, row, strict=True)))
            for best, row in zip(shares.argmax(1).tolist(), shares.tolist(), strict=True)
        ]

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
        """Class numbers [N]."""
        return _numbers([example.label for example in examples], labels)

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
        """Class numbers [N]."""
        return _numbers([answer.label for answer in answers], labels)

    def baseline(self, references: Any) -> Any:
        """The most frequent class."""
        return np.full(len(references), np.bincount(references).argmax())

    def table(self, references: Any, predictions: Any, labels: Sequence[str]) -> list[Row]:
        """A row for each class."""
        return per_class(references, predictions, labels)

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To classify."""
        what = kind_of_text(example)
        return t("assign {what} to one of {count} classes", what=what, count=len(labels))

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """A pipeline."""
        return [*sections.pipeline_code(self.pipeline, folder), call_of_pipeline(example)]

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes precision and recall of the classes, confusions and calibration."""
        true = self.references(found.examples, found.labels)
        guessed = self.predictions(found.predictions, found.labels)
        page.section(t("Scores by class"), t(sections.PRECISION))
        sections.write_confusion(page, true, guessed, found.labels, "class")
        confidences = _confidences(found.predictions)
        sections.write_calibration(page, confidences, true == guessed, "predictions")

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Confidence in the wrong class."""
        pairs = zip(examples, answers, strict=True)
        wrong = [answer.label != example.label for example, answer in pairs]
        return sections.where(wrong, _confidences(answers))

    def card(self, example: TextExample, answer: ClassAnswer) -> Card:
        """The text under its true and predicted class."""
        confidence = answer.probabilities[answer.label]
        title = sections.verdict(example.label, answer.label, confidence)
        return Card(title, sections.text_passages(example))


def _numbers(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    number_of = {name: number for number, name in enumerate(labels)}
    return np.array([number_of[name] for name in names])


def _confidences(answers: Sequence[ClassAnswer]) -> list[float]:
    return [answer.probabilities[answer.label] for answer in answers]


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


CLASSIFICATION = Classification()
