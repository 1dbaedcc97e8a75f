"""The best stretch of a context for each question, out of start and end scores of its tokens."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.tasks.decode import Outputs, softmax
from bertsmith.tasks.examples import AnswerExample
from bertsmith.tasks.features import Features
from bertsmith.tasks.kind import Prediction
from bertsmith.text.tokenizer.encode import best_windows

LONGEST_ANSWER = 30
"""Pieces (Google's `run_squad.py`, `max_answer_length`)."""
_SPANS_COMPARED = 20
"""Best spans of a question between which probability is shared out."""


class SpanAnswer(Prediction, frozen=True, tag="span"):
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

    @property
    def columns(self) -> dict[str, Any]:
        """The answer and where it starts."""
        return {
            "predicted": self.text,
            "predicted_start": self.start,
            "probability": self.probability,
        }


def answer_spans(
    features: Features,
    outputs: Outputs,
    examples: Sequence[AnswerExample],
    *,
    threshold: float | None,
) -> list[SpanAnswer]:
    """An answer to each question.

    Args:
        features: of `examples`.
        outputs: start and end scores of every token [T, 2].
        examples: what was asked.
        threshold: how much better than the best stretch no answer must be to be given; None: there
            always is an answer (SQuAD v1.1).
    """
    assert features.places_T2 is not None
    lengths = features.lengths
    ends = np.cumsum(lengths)
    starts = ends - lengths
    firsts = np.searchsorted(features.rows["example"], np.arange(len(examples) + 1))
    answers: list[SpanAnswer] = []
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
