"""Wrong answers to read: those that a model was surest of, as cards of its page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.models.head_config import Kind
from bertsmith.reports.page import Card, Passage, Stretch
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
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.task import (
    Answer,
    AnswerExample,
    ChoiceExample,
    Example,
    TagExample,
    TextExample,
)

MOST = 12
_AROUND = 160
"""Characters of a context that are shown before and after what is highlighted."""
_PART_OF_A_WORD = 20
_ORANGE, _GREEN = 1, 2
_NONE = "no answer"


Badness = NDArray[np.float64]
"""How bad the answer to each example is, -1 where it is right [N]."""


@dataclass(frozen=True)
class Errors:
    """The wrong answers of a part."""

    count: int
    """All of them; for `tag` sentences with a wrong entity or tag."""
    cards: list[Card]
    """The first few of them, the worst first."""


def errors(kind: Kind, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Errors:
    """The wrong answers, and the `MOST` of them that the model was surest of.

    For `regress` those that are furthest off; for `answer` a probability counts less, down to the
    half, the more words the answer shares with a right one.
    """
    judge, card = _KINDS[kind]
    badness = judge(examples, predictions)
    wrong = np.flatnonzero(badness >= 0)
    worst = wrong[np.argsort(-badness[wrong], kind="stable")][:MOST]
    return Errors(len(wrong), [card(examples[place], predictions[place]) for place in worst])


def _class_badness(examples: Sequence[TextExample], answers: Sequence[ClassAnswer]) -> Badness:
    sure = [answer.probabilities[answer.label] for answer in answers]
    pairs = zip(examples, answers, strict=True)
    return _where([answer.label != example.label for example, answer in pairs], sure)


def _number_badness(examples: Sequence[TextExample], answers: Sequence[NumberAnswer]) -> Badness:
    distances = np.abs(gold("regress", examples, ()) - said("regress", answers, ()))
    return _where(distances > 0, distances)


def _choice_badness(examples: Sequence[ChoiceExample], answers: Sequence[ChoiceAnswer]) -> Badness:
    sure = [answer.probabilities[answer.choice] for answer in answers]
    pairs = zip(examples, answers, strict=True)
    return _where([answer.choice != example.label for example, answer in pairs], sure)


def _tag_badness(examples: Sequence[TagExample], answers: Sequence[TagAnswer]) -> Badness:
    wrong = [wrong_words(*pair) for pair in zip(examples, answers, strict=True)]
    sure = [
        max((answer.probabilities[word] for word in words), default=0.0)
        for words, answer in zip(wrong, answers, strict=True)
    ]
    return _where([bool(words) for words in wrong], sure)


def _span_badness(examples: Sequence[AnswerExample], answers: Sequence[SpanAnswer]) -> Badness:
    pairs = gold("answer", examples, ()), said("answer", answers, ())
    exact, shared = (
        METRICS[name].statistics(*pairs)[:, 0] for name in ("exact_match", "answer_f1")
    )
    sure = np.array([answer.probability for answer in answers])
    # An answer with a word too many is less of an error than one from elsewhere.
    return _where(exact == 0, sure * (1 - shared / 2))


def _where(wrong: ArrayLike, badness: ArrayLike) -> Badness:
    return np.where(wrong, badness, -1.0)


def wrong_words(example: TagExample, answer: TagAnswer) -> list[int]:
    """Places of the words with a wrong tag; none where both spell the same entities."""
    assert example.tags is not None
    found = entities(answer.tags)
    if found and found == entities(example.tags):
        return []
    pairs = zip(example.tags, answer.tags, strict=True)
    return [place for place, (true, guess) in enumerate(pairs) if true != guess]


def _class_card(example: TextExample, answer: ClassAnswer) -> Card:
    sure = answer.probabilities[answer.label]
    return Card(f"true: {example.label}, said: {answer.label} ({sure:.1%})", _texts(example))


def _number_card(example: TextExample, answer: NumberAnswer) -> Card:
    return Card(f"true: {example.label:g}, said: {answer.value:.3g}", _texts(example))


def _texts(example: TextExample) -> list[Passage]:
    first = Passage(example.a, name=example.where)
    return [first] if example.b is None else [first, Passage(example.b, name="second text")]


def _choice_card(example: ChoiceExample, answer: ChoiceAnswer) -> Card:
    passages = [Passage(example.a, name=example.where)]
    for number, text in enumerate(example.choices):
        is_true, is_said = number == example.label, number == answer.choice
        tone = _GREEN if is_true else _ORANGE
        passages.append(
            Passage(
                text,
                [Stretch(0, len(text), tone=tone)] if is_true or is_said else [],
                f"choice {number}, {answer.probabilities[number]:.1%}"
                + ", true" * is_true
                + ", said" * is_said,
            )
        )
    sure = answer.probabilities[answer.choice]
    return Card(
        f"true: choice {example.label}, said: choice {answer.choice} ({sure:.1%})", passages
    )


def _tag_card(example: TagExample, answer: TagAnswer) -> Card:
    assert example.tags is not None
    wrong = wrong_words(example, answer)
    surest = max(wrong, key=lambda place: answer.probabilities[place])
    true, guessed = entities(example.tags), entities(answer.tags)
    return Card(
        f"“{example.words[surest]}” true: {example.tags[surest]}, said: {answer.tags[surest]} "
        f"({answer.probabilities[surest]:.1%})",
        [
            _marked(example.words, true, guessed, f"{example.where}, true"),
            _marked(example.words, guessed, true, "said"),
        ],
    )


def _marked(
    words: Sequence[str], found: Sequence[Entity], others: Sequence[Entity], name: str
) -> Passage:
    """A sentence with its entities: green where the other side has them too, else orange."""
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    stretches = [
        Stretch(
            starts[one.start], starts[one.end] - 1, one.type, _GREEN if one in others else _ORANGE
        )
        for one in found
    ]
    return Passage(" ".join(words), stretches, name)


def _span_card(example: AnswerExample, answer: SpanAnswer) -> Card:
    assert example.answers is not None
    rights = list(dict.fromkeys(right.text for right in example.answers))
    spans = [(right, "true", _GREEN) for right in example.answers[:1]]
    if answer.text:
        spans.append((Answer(answer.text, answer.start), "said", _ORANGE))
    ends = [(span.start, span.start + len(span.text)) for span, _, _ in spans]
    first, last = _around(example.context, *_outer(ends))
    before, after = "… " * (first > 0), " …" * (last < len(example.context))
    moved = len(before) - first
    return Card(
        example.question,
        [
            Passage(
                before + example.context[first:last] + after,
                [
                    Stretch(start + moved, end + moved, label, tone)
                    for (start, end), (_, label, tone) in zip(ends, spans, strict=True)
                ],
                f"true: {' / '.join(rights) or _NONE}; said: {answer.text or _NONE} "
                f"({answer.probability:.1%}); {example.where}",
            )
        ],
    )


def _outer(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(start for start, _ in spans), max(end for _, end in spans)


def _around(context: str, start: int, end: int) -> tuple[int, int]:
    """A stretch of a context with what stands around it; whole words, where spaces part them."""
    first, last = max(0, start - _AROUND), min(len(context), end + _AROUND)
    if first:
        first = context.find(" ", first, min(start, first + _PART_OF_A_WORD)) + 1 or first
    if last < len(context):
        space = context.rfind(" ", max(end, last - _PART_OF_A_WORD), last)
        last = last if space < 0 else space
    return first, last


_KINDS: dict[Kind, tuple[Callable[..., Badness], Callable[..., Card]]] = {
    "classify": (_class_badness, _class_card),
    "regress": (_number_badness, _number_card),
    "choose": (_choice_badness, _choice_card),
    "tag": (_tag_badness, _tag_card),
    "answer": (_span_badness, _span_card),
}
