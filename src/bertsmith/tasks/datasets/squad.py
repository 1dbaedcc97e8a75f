"""SQuAD's JSON, versions 1.1 and 2.0 (Rajpurkar et al. 2016, 2018).

Articles hold paragraphs, a paragraph holds a context and the questions about it, and an answer says
at which character of the context it begins. In version 2.0 a question may be impossible.
"""

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bertsmith.core.errors import DataError, explain_os_error
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.examples import Answer, AnswerExample, Example
from bertsmith.tasks.notes import Notes
from bertsmith.text import streams

CONTRADICTING = (
    "questions that are marked as impossible (is_impossible) and have answers, which are left out"
)
_SHAPE = 'articles in "data", each with "paragraphs" that hold a "context" and its "qas"'


class _Answer(msgspec.Struct):
    text: str
    answer_start: int


class _Question(msgspec.Struct):
    id: str | int
    question: str
    answers: list[_Answer] | None = None
    is_impossible: bool = False


class _Paragraph(msgspec.Struct):
    context: str
    qas: list[_Question]


class _Article(msgspec.Struct):
    paragraphs: list[_Paragraph]


class _Squad(msgspec.Struct):
    data: list[_Article]


def reader(
    *, may_be_impossible: bool, bad: BadRows | None = None, notes: Notes | None = None
) -> Callable[[Path, str], list[Example]]:
    """A task's reader of (file, part), by `read`; only a test file may be without answers."""

    def read_part(path: Path, part: str) -> list[Example]:
        labelled = None if part == "test" else True
        return read(
            path,
            may_be_impossible=may_be_impossible,
            labelled=labelled,
            bad=bad,
            notes=notes,
        )

    return read_part


def read(
    path: Path | str,
    *,
    may_be_impossible: bool,
    labelled: bool | None = True,
    bad: BadRows | None = None,
    notes: Notes | None = None,
) -> list[Example]:
    """The questions of one file, in order.

    White space around an answer is taken off it, so that it begins and ends with what it says.

    Args:
        path: the file, possibly packed.
        may_be_impossible: whether a question may have no answer (version 2.0).
        labelled: whether each question must have its answers; None takes them where they are, False
            does not look at them.
        bad: collects answers that are not in their context, and with them goes the question that
            has no other; None: the file is refused.
        notes: are told of impossible questions that have answers; they are taken to have none.

    Raises:
        DataError: the file is not JSON or has another structure, an empty question or context, an
            id that occurs twice, a question without an answer where each must have one, or answers
            that are not in their context (counted, the first named).
        SystemFault: the file cannot be read.
    """
    bad = bad or BadRows()
    examples: list[Example] = []
    for question, context, where in _questions(path):
        answers: tuple[Answer, ...] | None = None
        if labelled or (labelled is None and question.answers is not None):
            answers = _answers(question, context, where, bad, impossible=may_be_impossible)
            if notes is not None and question.is_impossible and question.answers:
                notes.add(CONTRADICTING, where)
            if not answers and question.answers and not question.is_impossible:
                continue  # all of them were misplaced
        key = str(question.id)
        examples.append(AnswerExample(where, key, question.question, context, answers))
    bad.judge(path)
    return examples


def place(text: str, start: int, *, context: str, where: str, bad: BadRows) -> list[Answer]:
    """The answer without white space around it; nothing, and why, where it is not at `start`."""
    body = text.strip()
    begin = start + text.index(body)
    # The white space itself may be missing in the context.
    if body and start >= 0 and context.startswith(body, begin):
        return [Answer(body, begin)]
    there = context[max(start, 0) :][: max(len(text), 1)]
    found = f"where '{there[:60]}' is" if there else f"which has {len(context)} characters"
    bad.add(
        f"{where}: the answer '{text[:60]}' is not at character {start} of its context, {found}"
    )
    return []


def _questions(path: Path | str) -> Iterator[tuple[_Question, str, str]]:
    """Each question with its context and where it is."""
    seen = set()
    for article in _load(path).data:
        for paragraph in article.paragraphs:
            for question in paragraph.qas:
                where = f"{path}: question {question.id}"
                for name, text in (("question", question.question), ("context", paragraph.context)):
                    if not text.strip():
                        raise DataError(f"{where}: the {name} is empty; remove the question.")
                if str(question.id) in seen:
                    raise DataError(f"{where} occurs twice; give each question its own id.")
                seen.add(str(question.id))
                yield question, paragraph.context, where
    if not seen:
        raise DataError(f"{path} has no questions; give another file.")


def _load(path: Path | str) -> _Squad:
    try:
        data = b"".join(streams.text_blocks(str(path))).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if not data.strip():
        raise DataError(f"{path} is empty; give another file.")
    try:
        return msgspec.json.decode(data, type=_Squad)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Of half a surrogate pair it is said too, and there the file is whole.
        if str(error) == "Input data was truncated" and not data.rstrip().endswith(b"}"):
            raise DataError(
                f"{path} ends in the middle of its JSON; copy or download the file again."
            ) from error
        raise DataError(
            f"{path} is not in SQuAD's format ({error}); expected JSON with {_SHAPE}."
        ) from error


def _answers(
    question: _Question, context: str, where: str, bad: BadRows, *, impossible: bool
) -> tuple[Answer, ...]:
    if question.is_impossible and impossible:
        return ()
    if question.is_impossible or not (question.answers or impossible):
        raise DataError(
            f"{where} has no answer, expected one or more; questions without an answer belong to "
            "SQuAD v2.0, the task squad2."
        )
    if question.answers is None:
        raise DataError(
            f'{where} has neither "answers" nor "is_impossible"; give each question of a labelled '
            "file one of them."
        )
    return tuple(
        placed
        for answer in question.answers
        for placed in place(answer.text, answer.answer_start, context=context, where=where, bad=bad)
    )
