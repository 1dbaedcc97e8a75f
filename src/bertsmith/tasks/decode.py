"""What a model put out for each input, to an answer for each example, in the examples' order.

The outputs of a task are one array: `classify` [R, C] and `regress` [R, 1] scores of every row of
the features, `choose` [R, 1], `tag` [W, C] for every word, `answer` [T, 2] start and end scores of
every token of every row, laid end to end.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.models.head_config import Kind
from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.features import Features
from bertsmith.tasks.task import (
    AnswerExample,
    ChoiceExample,
    Example,
    TagExample,
    TextExample,
)
from bertsmith.text.tokenizer.encode import best_windows

Outputs = NDArray[np.float32] | NDArray[np.float64]

LONGEST_ANSWER = 30
"""Pieces (Google's `run_squad.py`, `max_answer_length`)."""
_SPANS_COMPARED = 20
"""Best spans of a question between which probability is shared out."""


class ClassAnswer(msgspec.Struct, frozen=True, tag="class", tag_field="kind"):
    """A class, and the probability of every class."""

    label: str
    probabilities: dict[str, float]


class NumberAnswer(msgspec.Struct, frozen=True, tag="number", tag_field="kind"):
    """A number."""

    value: float


class ChoiceAnswer(msgspec.Struct, frozen=True, tag="choice", tag_field="kind"):
    """The number of the choice (from 0), its text, and the probability of every choice."""

    choice: int
    text: str
    probabilities: list[float]


class TaggedSpan(msgspec.Struct, frozen=True):
    """Characters `start` to `end` (exclusive) of the text that name something of a type.

    The text is the one given; of words that came in a list, it is these with a space between.
    """

    type: str
    start: int
    end: int
    text: str
    word_start: int
    """The number of the first word."""
    word_end: int
    """The number of the word behind the last."""


class TagAnswer(msgspec.Struct, frozen=True, tag="tags", tag_field="kind"):
    """A tag for every word with its probability, and the entities that the tags spell."""

    words: list[str]
    tags: list[str]
    probabilities: list[float]
    entities: list[TaggedSpan]


class SpanAnswer(msgspec.Struct, frozen=True, tag="span", tag_field="kind"):
    """A stretch of the context, or an empty text where the model holds that there is none."""

    text: str
    start: int
    """Character of the context where it starts; -1 where there is none."""
    probability: float
    """Of what was answered, among the best stretches of the question (and no answer, where one may
    be missing)."""
    best_text: str
    """The best stretch, whether or not it was given as the answer."""
    best_start: int
    best_probability: float
    null_probability: float
    """0 where there always is an answer."""
    null_minus_best: float
    """Score of no answer over that of the best stretch: above the threshold, there is none."""

    def decided(self, threshold: float) -> "SpanAnswer":
        """The same by another threshold."""
        if self.null_minus_best > threshold:
            return msgspec.structs.replace(
                self, text="", start=-1, probability=self.null_probability
            )
        return msgspec.structs.replace(
            self, text=self.best_text, start=self.best_start, probability=self.best_probability
        )


Prediction = ClassAnswer | NumberAnswer | ChoiceAnswer | TagAnswer | SpanAnswer


def decode(
    features: Features,
    outputs: Outputs,
    examples: Sequence[Example],
    *,
    labels: Sequence[str] = (),
    threshold: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    bounds: tuple[float, float] | None = None,
) -> list[Prediction]:
    """An answer for each example.

    Args:
        features: of `examples`.
        outputs: of every row of the features; see above.
        examples: what was asked.
        labels: the classes or tags, in the order of the outputs.
        threshold: `answer`: how much better than the best stretch no answer must be to be given;
            None: there always is an answer (SQuAD v1.1).
        scale: `regress`: what the outputs are multiplied by.
        offset: `regress`: what is added to that.
        bounds: `regress`: least and greatest number that is said.
    """
    decoder = _DECODERS[features.kind]
    return decoder(
        features,
        outputs,
        examples,
        labels=labels,
        threshold=threshold,
        scale=scale,
        offset=offset,
        bounds=bounds,
    )


def _classes(
    features: Features, outputs: Outputs, examples: Sequence[TextExample], **known: Any
) -> list[Prediction]:
    labels: Sequence[str] = known["labels"]
    shares = softmax(_averaged(features, outputs))
    return [
        ClassAnswer(labels[best], dict(zip(labels, row, strict=True)))
        for best, row in zip(shares.argmax(1).tolist(), shares.tolist(), strict=True)
    ]


def _numbers(
    features: Features, outputs: Outputs, examples: Sequence[TextExample], **known: Any
) -> list[Prediction]:
    values = known["offset"] + known["scale"] * _averaged(features, outputs)[:, 0]
    least, greatest = known["bounds"] or (-np.inf, np.inf)
    return [NumberAnswer(value) for value in values.clip(least, greatest).tolist()]


def _averaged(features: Features, outputs: Outputs) -> NDArray[np.float64]:
    """Scores of each example: the mean over its windows."""
    example_of = features.rows["example"]
    counts = np.bincount(example_of)
    totals = np.zeros((len(counts), outputs.shape[1]))
    np.add.at(totals, example_of, outputs)
    mean: NDArray[np.float64] = totals / counts[:, None]
    return mean


def _choices(
    features: Features, outputs: Outputs, examples: Sequence[ChoiceExample], **_: Any
) -> list[Prediction]:
    shares = softmax(outputs.reshape(-1, features.group).astype(np.float64))
    return [
        ChoiceAnswer(best, example.choices[best], row)
        for example, best, row in zip(
            examples, shares.argmax(1).tolist(), shares.tolist(), strict=True
        )
    ]


def _tags(
    features: Features, outputs: Outputs, examples: Sequence[TagExample], **known: Any
) -> list[Prediction]:
    labels: Sequence[str] = known["labels"]
    shares = softmax(outputs.astype(np.float64))
    best = shares.argmax(1)
    sure = shares[np.arange(len(best)), best]
    answers: list[Prediction] = []
    place = 0
    for example in examples:
        here = slice(place, place + len(example.words))
        tags = [labels[number] for number in best[here]]
        spans = [_tagged_span(example, found) for found in entities(tags)]
        answers.append(TagAnswer(list(example.words), tags, sure[here].tolist(), spans))
        place = here.stop
    return answers


def _tagged_span(example: TagExample, found: Entity) -> TaggedSpan:
    text, places = example.placed
    start, end = places[found.start][0], places[found.end - 1][1]
    return TaggedSpan(found.type, start, end, text[start:end], found.start, found.end)


def _spans(
    features: Features, outputs: Outputs, examples: Sequence[AnswerExample], **known: Any
) -> list[Prediction]:
    threshold: float | None = known["threshold"]
    assert features.places_T2 is not None
    lengths = features.lengths
    ends = np.cumsum(lengths)
    starts = ends - lengths
    firsts = np.searchsorted(features.rows["example"], np.arange(len(examples) + 1))
    answers: list[Prediction] = []
    for number, example in enumerate(examples):
        window_rows = range(firsts[number], firsts[number + 1])
        rows = features.rows[firsts[number] : firsts[number + 1]]
        context_start = int(rows["b_start"][0])
        spans = np.stack([rows["b_start"], rows["b_start"] + rows["b_length"]], 1) - context_start
        best_window = best_windows(spans, int(spans[-1, 1]))
        null = min(float(outputs[starts[row]].sum()) for row in window_rows)
        scores, firsts_of, lasts = [], [], []
        for window, row in enumerate(window_rows):
            begin = int(starts[row] + rows["a_length"][window] + 2)
            text_L2 = outputs[begin : begin + rows["b_length"][window]].astype(np.float64)
            allowed = best_window[spans[window, 0] : spans[window, 1]] == window
            score, first, last = best_spans(text_L2[:, 0], text_L2[:, 1], allowed)
            scores.append(score)
            firsts_of.append(first + spans[window, 0])
            lasts.append(last + spans[window, 0])
        answers.append(
            _answer(
                example,
                features.places_T2[context_start : context_start + int(spans[-1, 1])],
                np.concatenate(scores),
                np.concatenate(firsts_of),
                np.concatenate(lasts),
                null=null,
                threshold=threshold,
            )
        )
    return answers


def best_spans(
    starts_L: NDArray[np.float64], ends_L: NDArray[np.float64], allowed_L: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The best legal stretches of a window: scores, first and last pieces, best first.

    Legal is what Google's `run_squad.py` holds legal: the end not before the start, at most
    `LONGEST_ANSWER` pieces, and the start at its best context. Every such stretch is looked at,
    where the script takes the 20 best starts and ends first.

    Args:
        starts_L: score of each piece as the first.
        ends_L: score of each piece as the last.
        allowed_L: whether a stretch may start there.
    """
    length = len(starts_L)
    width = min(LONGEST_ANSWER, length)
    if not width:
        none = np.zeros(0, dtype=np.int64)
        return np.zeros(0), none, none
    reach = np.concatenate([ends_L, np.full(width - 1, -np.inf)])
    table = np.lib.stride_tricks.sliding_window_view(reach, width) + starts_L[:, None]
    table[~allowed_L] = -np.inf
    flat = table.ravel()
    count = min(_SPANS_COMPARED, int(np.isfinite(flat).sum()))
    best = np.argpartition(-flat, count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
    best = best[np.lexsort((best, -flat[best]))]
    first, more = np.divmod(best, width)
    return flat[best], first, first + more


def _answer(
    example: AnswerExample,
    places_C2: NDArray[np.int32],
    scores: NDArray[np.float64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
    *,
    null: float,
    threshold: float | None,
) -> SpanAnswer:
    order = np.argsort(-scores, kind="stable")[:_SPANS_COMPARED]
    if not len(order):  # a context without a piece
        return SpanAnswer("", -1, 1.0, "", -1, 0.0, 1.0, float(np.finfo(np.float32).max))
    start = int(places_C2[firsts[order[0]], 0])
    end = int(places_C2[lasts[order[0]], 1])
    # Cleaning takes accents off, and with them their places; they belong to the character before.
    while end < len(example.context) and unicodedata.category(example.context[end]) == "Mn":
        end += 1
    text = example.context[start:end]
    missing = null - float(scores[order[0]])
    if threshold is None:
        share = float(softmax(scores[order][None])[0, 0])
        return SpanAnswer(text, start, share, text, start, share, 0.0, missing)
    shares = softmax(np.append(scores[order], null)[None])[0]
    best, none = float(shares[0]), float(shares[-1])
    return SpanAnswer(text, start, best, text, start, best, none, missing).decided(threshold)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares along the last axis."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(-1, keepdims=True)
    return shares


def gold(kind: Kind, examples: Sequence[Example], labels: Sequence[str]) -> Any:
    """The right answers of labelled examples, as `metrics.score` takes them."""
    rows: Any = examples
    match kind:
        case "classify":
            number_of = {name: number for number, name in enumerate(labels)}
            return np.array([number_of[example.label] for example in rows])
        case "regress":
            return np.array([example.label for example in rows], dtype=np.float64)
        case "choose":
            return np.array([example.label for example in rows])
        case "tag":
            return [example.tags for example in rows]
        case "answer":
            return [tuple(answer.text for answer in example.answers) for example in rows]


def said(kind: Kind, predictions: Sequence[Prediction], labels: Sequence[str]) -> Any:
    """What was predicted, as `metrics.score` takes it."""
    rows: Any = predictions
    match kind:
        case "classify":
            number_of = {name: number for number, name in enumerate(labels)}
            return np.array([number_of[answer.label] for answer in rows])
        case "regress":
            return np.array([answer.value for answer in rows])
        case "choose":
            return np.array([answer.choice for answer in rows])
        case "tag":
            return [answer.tags for answer in rows]
        case "answer":
            return [answer.text for answer in rows]


_Decoder = Callable[..., list[Prediction]]
_DECODERS: dict[Kind, _Decoder] = {
    "classify": _classes,
    "regress": _numbers,
    "choose": _choices,
    "tag": _tags,
    "answer": _spans,
}
