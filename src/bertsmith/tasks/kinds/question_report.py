"""The sections and cards of a report on question answering."""

import re
from collections.abc import Sequence

import numpy as np

from bertsmith.reports.page import Card, Passage, Report, Stretch
from bertsmith.tasks.examples import Answer, AnswerExample
from bertsmith.tasks.kinds.answer_spans import SpanAnswer
from bertsmith.tasks.kinds.sections import GREEN, ORANGE
from bertsmith.tasks.metric import Floats, told

_QUESTION_WORDS = ("what", "who", "when", "where", "which", "why", "how")
_CHARACTERS = (5, 10, 20, 40)
_NONE, _OTHER = "no answer", "other"
_AROUND = 160
"""Characters of a context that are shown before and after what is highlighted."""
_PART_OF_A_WORD = 20


def write_groups(
    page: Report,
    true: Sequence[Sequence[str]],
    questions: Sequence[str],
    exact: Floats,
    shared: Floats,
) -> None:
    """Writes both scores by the length of the answer and by the question word."""
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
    question_words = [_question_word(question) for question in questions]
    if set(question_words) != {_OTHER}:
        write("question", question_words, [*_QUESTION_WORDS, _OTHER])


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


def write_threshold(
    page: Report, threshold: float, true: Sequence[Sequence[str]], guessed: Sequence[str]
) -> None:
    """Writes how questions with and without an answer were answered."""
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


def card(example: AnswerExample, answer: SpanAnswer) -> Card:
    """The question over the context around the true and the said answer."""
    assert example.answers is not None
    rights = list(dict.fromkeys(right.text for right in example.answers))
    spans = [(right, "true", GREEN) for right in example.answers[:1]]
    if answer.text:
        spans.append((Answer(answer.text, answer.start), "said", ORANGE))
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
