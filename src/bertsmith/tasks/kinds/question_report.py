"""Report sections and error cards for question answering."""

import re
from collections.abc import Sequence

import numpy as np

from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Passage, Report, Stretch
from bertsmith.tasks.examples import Answer, AnswerExample
from bertsmith.tasks.kinds.answer_spans import SpanAnswer
from bertsmith.tasks.kinds.sections import GREEN, ORANGE, verdict
from bertsmith.tasks.metric import Floats, score_text

_QUESTION_WORDS = ("what", "who", "when", "where", "which", "why", "how")
_CHARACTERS = (5, 10, 20, 40)
_NONE, _OTHER = "no answer", "other"
_AROUND = 160
"""Characters of context shown before and after the highlights."""
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
        t("Scores by question"),
        t(
            "By length of the answer (the shortest correct one) and by the first question word of "
            "the question."
        ),
    )

    def write(column: str, group_of: Sequence[str], order: Sequence[str]) -> None:
        groups = {name: np.array([one == name for one in group_of]) for name in order}
        page.table(
            [t(column), t("questions"), t("exact match"), "F1"],
            [
                [
                    t(name),
                    int(group.sum()),
                    score_text(exact[group].mean()),
                    score_text(shared[group].mean()),
                ]
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
        return t("more than {count} characters", count=_CHARACTERS[-1])
    first, last = (0, *_CHARACTERS)[place] + 1, _CHARACTERS[place]
    return t("{first} to {last} characters", first=first, last=last)


def _question_word(question: str) -> str:
    for word in re.findall(r"\w+", question.lower()):
        plain = "who" if word in ("whom", "whose") else word
        if plain in _QUESTION_WORDS:
            return plain
    return _OTHER


def write_threshold(
    page: Report, threshold: float, true: Sequence[Sequence[str]], guessed: Sequence[str]
) -> None:
    """Writes how often questions with and without an answer got one."""
    has, gave = np.array([bool(row) for row in true]), np.array([bool(text) for text in guessed])
    page.section(
        t("Questions without an answer"),
        t(
            "{count:,} of {total:,} questions have no answer in their text. The model predicts "
            "none if “no answer” scores more than {threshold:.4g} above the best span. This "
            "threshold gives the best F1 on these same questions.",
            count=int((~has).sum()),
            total=len(has),
            threshold=threshold,
        ),
    )
    page.table(
        [t("question"), t("answer predicted"), t("none predicted")],
        [
            [name, int((group & gave).sum()), int((group & ~gave).sum())]
            for name, group in ((t("with an answer"), has), (t("without an answer"), ~has))
        ],
    )


def card(example: AnswerExample, answer: SpanAnswer) -> Card:
    """The question and the context around the true and the predicted answer."""
    assert example.answers is not None
    rights = list(dict.fromkeys(right.text for right in example.answers))
    spans = [(right, t("true"), GREEN) for right in example.answers[:1]]
    if answer.text:
        spans.append((Answer(answer.text, answer.start), t("predicted"), ORANGE))
    ends = [(span.start, span.start + len(span.text)) for span, _, _ in spans]
    first, last = _around(example.context, *_outer(ends))
    before, after = "… " * (first > 0), " …" * (last < len(example.context))
    moved = len(before) - first
    answers = verdict(" / ".join(rights) or t(_NONE), answer.text or t(_NONE), answer.probability)
    return Card(
        example.question,
        [
            Passage(
                before + example.context[first:last] + after,
                [
                    Stretch(start + moved, end + moved, label, tone)
                    for (start, end), (_, label, tone) in zip(ends, spans, strict=True)
                ],
                t("; ").join([answers, example.where]),
            )
        ],
    )


def _outer(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(start for start, _ in spans), max(end for _, end in spans)


def _around(context: str, start: int, end: int) -> tuple[int, int]:
    """A span of a context with some text around it, cut at spaces where there are any."""
    first, last = max(0, start - _AROUND), min(len(context), end + _AROUND)
    if first:
        first = context.find(" ", first, min(start, first + _PART_OF_A_WORD)) + 1 or first
    if last < len(context):
        space = context.rfind(" ", max(end, last - _PART_OF_A_WORD), last)
        last = last if space < 0 else space
    return first, last
