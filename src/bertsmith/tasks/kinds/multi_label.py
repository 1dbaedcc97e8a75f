"""Multi-label classification: a text or a pair of texts gets any of several labels, or none."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, option
from bertsmith.reports.language import listed, t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks.datasets.fields import name_of, not_a
from bertsmith.tasks.decode import Outputs, averaged
from bertsmith.tasks.examples import Example, Limits, TextExample
from bertsmith.tasks.features import Features, encode_texts, with_targets
from bertsmith.tasks.kind import Answered, Prediction
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.kinds.texts import TextKind, call_of_pipeline, kind_of_text, labels_given
from bertsmith.tasks.metric import F1_WORDS, Floats, Metric, Row, f1, mean, row
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import rows
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_EVEN = 0.5
"""Probability from which a label is given before thresholds are tuned."""


class LabelsAnswer(Prediction, frozen=True, tag="labels"):
    """The labels that are given, and the probability of every label."""

    labels: list[str]
    probabilities: dict[str, float]

    @property
    def columns(self) -> dict[str, Any]:
        """The labels and the probabilities."""
        return {"predicted": self.labels, "probabilities": self.probabilities}


def _given(predicted: Any) -> NDArray[np.bool_]:
    """Whether each label is given [N, C]; see `MultiLabel.predictions`."""
    given: NDArray[np.bool_] = predicted[:, 0] > 0
    return given


def _counts(true_NC: Any, predicted: Any) -> Floats:
    """Hits, true and given labels of each example [N, 3]."""
    given_NC = _given(predicted)
    return np.stack([(true_NC & given_NC).sum(1), true_NC.sum(1), given_NC.sum(1)], 1).astype(float)


def _counts_by_label(true_NC: Any, predicted: Any) -> Floats:
    """The same by label, [N, 3 * C]."""
    given_NC = _given(predicted)
    return np.concatenate([true_NC & given_NC, true_NC, given_NC], 1).astype(np.float64)


def _macro_f1(sums: Floats) -> float:
    """A label that neither side has counts as 0, as in scikit-learn."""
    return float(np.mean([f1(*counts) for counts in sums.reshape(3, -1).T]))


def _ranking_precisions(true_NC: Any, predicted: Any) -> Floats:
    """Of each true label the share of true ones among those ranked as high; their mean [N, 2].

    1 where an example has no label or all of them, as in scikit-learn.
    """
    scores_NC = predicted[:, 1]
    values = []
    for true_C, scores_C in zip(true_NC, scores_NC, strict=True):
        if not true_C.any() or true_C.all():
            values.append(1.0)
            continue
        above = scores_C[None] >= scores_C[true_C][:, None]
        values.append(float((above[:, true_C].sum(1) / above.sum(1)).mean()))
    return np.stack([values, np.ones(len(values))], 1)


class MultiLabel(TextKind):
    """Any of several labels."""

    name = "multi-label"
    loss = "binary-cross-entropy"
    prediction = LabelsAnswer
    settings = TextKind.settings | {"class_weights", "merge_labels"}
    columns = (*TextKind.columns, "label_separator")
    metrics: ClassVar[Mapping[str, Metric]] = {
        "micro_f1": Metric(
            "micro F1",
            _counts,
            lambda sums: f1(*sums),
            meaning=f"Micro F1 is {F1_WORDS} over all labels together.",
        ),
        "label_macro_f1": Metric(
            "macro F1",
            _counts_by_label,
            _macro_f1,
            meaning="Macro F1 is the mean of the F1 of all labels. Rare labels count as much as "
            "frequent ones.",
        ),
        "lrap": Metric(
            "label ranking average precision",
            _ranking_precisions,
            mean,
            meaning="Label ranking average precision is 1 if every true label is more probable "
            "than every other label; it does not depend on thresholds.",
        ),
    }
    deciding = ("micro_f1", "label_macro_f1")
    baseline_name = "labels of most examples"
    counted = "label"
    loss_words = "binary cross-entropy in nats, averaged over the labels"

    def needed(self, columns: Columns, *, labelled: bool) -> dict[str, str]:
        """The labels may also be in a column `labels`."""
        found = super().needed(columns, labelled=labelled)
        return {field: name for field, name in found.items() if field != "label"}

    def label_in(self, row: FileRow, columns: Columns) -> tuple[str, ...]:
        """A list, also as JSON, or names with the separator between; empty: no label."""
        name = columns.label
        if name == Columns().label and name not in row.values and "labels" in row.values:
            name = "labels"
        value = rows.column(row, name, advice=f"name another with {option('label')}")
        if isinstance(value, str) and value.lstrip().startswith("["):
            with contextlib.suppress(msgspec.DecodeError):
                value = msgspec.json.decode(value)
        if isinstance(value, str) and columns.label_separator:
            value = [part for part in value.split(columns.label_separator) if part.strip()]
        elif value is None or (isinstance(value, str) and not value.strip()):
            value = []
        if isinstance(value, str):
            raise DataError(
                f"{row.where}: the column '{name}' holds '{value[:60]}', expected a JSON list of "
                "labels; write one, or name the separator with "
                f"{option('label_separator')}."
            )
        if not isinstance(value, list):
            raise not_a(row, name, value, "a list of labels")
        names = [name_of(one, row, name, "label") for one in value]
        return tuple(dict.fromkeys(names))

    def check_learnable(self, train: Sequence[Example]) -> None:
        """Some label is there in some examples and not in others."""
        sets = {frozenset(example.labels) for example in train}
        if len(sets) < 2:
            raise DataError(
                f"{train[0].where}: this and every other example of train has the same "
                "labels; add examples with others, or check that the right column is read."
            )

    def encode(
        self,
        examples: Sequence[TextExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """1 for each label that an example has is the target of its rows."""
        features = encode_texts(examples, tokenizer, limits)
        if labels_given(examples) is None:
            return features
        return with_targets(features, self.references(examples, labels).astype(np.float32))

    def class_weights(self, features: Features, labels: Sequence[str]) -> NDArray[np.float64]:
        """How many examples lack a label for each that has it."""
        assert features.targets is not None
        having = features.targets.sum(0)
        weights: NDArray[np.float64] = (len(features.targets) - having) / np.maximum(having, 1)
        return np.maximum(weights, 1 / len(features.targets))

    def initial_thresholds(
        self, labels: Sequence[str], *, may_be_impossible: bool
    ) -> tuple[float, ...]:
        """An even chance."""
        return (_EVEN,) * len(labels)

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The labels whose probability reaches their threshold."""
        probabilities = 1 / (1 + np.exp(-averaged(features, outputs)))
        return [
            _answer(dict(zip(task_config.labels, row, strict=True)), task_config)
            for row in probabilities.tolist()
        ]

    def tuned(
        self, task_config: TaskConfig, examples: Sequence[Any], answers: list[Prediction]
    ) -> tuple[TaskConfig, list[Prediction]]:
        """For each label the threshold with the best F1, halfway between two probabilities."""
        true_NC = self.references(examples, task_config.labels)
        given = [answer for answer in answers if isinstance(answer, LabelsAnswer)]
        scores_NC = _probabilities(given, task_config.labels)
        thresholds = tuple(map(_best_threshold, true_NC.T, scores_NC.T))
        task_config = msgspec.structs.replace(task_config, thresholds=thresholds)
        return task_config, [_answer(answer.probabilities, task_config) for answer in given]

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each example has each label [N, C]."""
        return np.array([[name in set(one.label) for name in labels] for one in examples], bool)

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> Floats:
        """Whether each label is given, as 0 or 1, and its probability, [N, 2, C]."""
        given = [[name in set(one.labels) for name in labels] for one in answers]
        return np.stack([np.array(given, np.float64), _probabilities(answers, labels)], 1)

    def baseline(self, references: Any) -> Any:
        """Every label that half of the examples have, ranked by how many have it."""
        shares_C = references.mean(0)
        one = np.stack([(shares_C >= _EVEN).astype(np.float64), shares_C])
        return np.repeat(one[None], len(references), 0)

    def table(self, references: Any, predictions: Any, labels: Sequence[str]) -> list[Row]:
        """A row for each label."""
        given_NC = _given(predictions)
        counts = (references & given_NC).sum(0), references.sum(0), given_NC.sum(0)
        return [row(*cells) for cells in zip(labels, *counts, strict=True)]

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To label."""
        what = kind_of_text(example)
        return t("choose which of {count} labels {what} has", count=len(labels), what=what)

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """A pipeline that gives the probability of every label."""
        code = sections.pipeline_code(self.pipeline, folder, ", top_k=None")
        return [*code, call_of_pipeline(example)]

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes precision and recall of the labels, and calibration."""
        true_NC = self.references(found.examples, found.labels)
        guessed = self.predictions(found.predictions, found.labels)
        page.section(t("Scores by label"), t(sections.PRECISION))
        sections.write_rows(page, self.table(true_NC, guessed, found.labels), "label")
        given_NC = _given(guessed)
        if given_NC.any():
            sure, right = guessed[:, 1][given_NC], true_NC[given_NC]
            sections.write_calibration(page, sure.tolist(), right, "predicted labels")

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Confidence in the worst error among the labels."""
        worst = []
        for example, answer in zip(examples, answers, strict=True):
            true, given = set(example.label), set(answer.labels)
            sure = [answer.probabilities[name] for name in given - true]
            sure += [1 - answer.probabilities[name] for name in true - given]
            worst.append(max(sure, default=-1.0))
        return np.array(worst)

    def card(self, example: TextExample, answer: LabelsAnswer) -> Card:
        """The text under its true and predicted labels."""
        true = listed(example.labels) or t("none")
        predicted = [
            one + t(" ({confidence:.1%})", confidence=answer.probabilities[one])
            for one in answer.labels
        ]
        title = sections.verdict(true, listed(predicted) or t("none"))
        return Card(title, sections.text_passages(example))


def _probabilities(answers: Sequence[LabelsAnswer], labels: Sequence[str]) -> Floats:
    return np.array([[one.probabilities[name] for name in labels] for one in answers])


def _answer(probabilities: dict[str, float], task_config: TaskConfig) -> LabelsAnswer:
    thresholds = task_config.thresholds or (_EVEN,) * len(task_config.labels)
    pairs = zip(task_config.labels, thresholds, strict=True)
    return LabelsAnswer(
        [name for name, least in pairs if probabilities[name] >= least], probabilities
    )


def _best_threshold(true_N: NDArray[np.bool_], scores_N: Floats) -> float:
    """The threshold with the best F1, the highest of equally good ones; an even chance of none."""
    if not true_N.any():
        return _EVEN
    order = np.argsort(-scores_N, kind="stable")
    scores, hits = scores_N[order], np.cumsum(true_N[order])
    f1_N = 2 * hits / (np.arange(1, len(scores) + 1) + true_N.sum())
    # Equal probabilities are given together.
    ends = np.append(scores[1:] != scores[:-1], True)
    best = int(np.where(ends, f1_N, -1).argmax())
    after = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + after) / 2)


MULTI_LABEL = MultiLabel()
