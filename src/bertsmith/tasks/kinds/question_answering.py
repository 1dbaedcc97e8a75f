"""Question answering: the part of a context that answers a question, or none."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError
from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import own_rows, question_rows, squad
from bertsmith.tasks.datasets.fields import text_of
from bertsmith.tasks.decode import Outputs
from bertsmith.tasks.examples import AnswerExample, Example, Limits
from bertsmith.tasks.features import ROW, Features
from bertsmith.tasks.kind import Answered, Prediction, TaskKind, Usual
from bertsmith.tasks.kinds import question_report, sections
from bertsmith.tasks.kinds.answer_spans import SpanAnswer, answer_spans
from bertsmith.tasks.metric import F1_WORDS, Floats, Metric, mean
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.pool import Integers, Pool
from bertsmith.tasks.spans import answer_f1, best_threshold, exact_match
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import rows, streams
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.encode import room_for_text, window_spans
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def _by(rule: Callable[..., float]) -> Callable[[Any, Any], Floats]:
    def statistics(gold: Any, predicted: Any) -> Floats:
        # The script of v2.0 if a question has no answer, else that of v1.1.
        impossible = not all(gold)
        pairs = zip(gold, predicted, strict=True)
        scores = [rule(right, text, may_be_impossible=impossible) for right, text in pairs]
        return np.array([(value, 1.0) for value in scores])

    return statistics


class QuestionAnswering(TaskKind):
    """A part of a context."""

    name = "question-answering"
    level = "span"
    prediction = SpanAnswer
    settings = frozenset(("stride",))
    is_paired = True
    usual = Usual(16, 384, 256)
    metrics: ClassVar[Mapping[str, Metric]] = {
        "exact_match": Metric(
            "exact match",
            _by(exact_match),
            mean,
            meaning="Exact match is the share of questions whose predicted answer equals a correct "
            "one, ignoring case, punctuation and articles.",
        ),
        "answer_f1": Metric(
            "F1",
            _by(answer_f1),
            mean,
            meaning=f"F1 is {F1_WORDS} over the words of an answer, averaged over the questions.",
        ),
    }
    columns = ("question", "context", "answer")
    asked = "a question and its context"
    pipeline = "question-answering"
    baseline_name = "no answer"
    counted = "question"
    cut_inputs = "questions"

    def parse(self, row: FileRow, key: str, columns: Columns, *, labelled: bool) -> Example:
        """A question and its context; labelled rows are read by `read`."""
        question = text_of(row, columns.question, "question")
        return AnswerExample(row.where, key, question, text_of(row, columns.context, "context"))

    def read(
        self,
        path: Path | str,
        columns: Columns,
        *,
        bad: BadRows | None = None,
        notes: Notes | None = None,
    ) -> Iterator[Example]:
        """SQuAD's JSON, or rows."""
        if is_squad(path):
            rows.refuse_folder(path)
            yield from squad.read(path, may_be_impossible=True, bad=bad, notes=notes)
            return
        self.refuse_lines(path)
        bad = bad or BadRows()
        parse = question_rows.parser(columns, bad, notes or Notes())
        for _, example in own_rows.read(path, self.needed(columns, labelled=True), parse, bad):
            yield example

    def read_unlabelled(
        self,
        path: Path | str,
        columns: Columns,
        *,
        labels: Collection[str] = (),
        bad: BadRows | None = None,
    ) -> Iterator[tuple[dict[str, Any], Example]]:
        """SQuAD's JSON, or rows."""
        rows.refuse_folder(path)
        if not is_squad(path):
            yield from super().read_unlabelled(path, columns, labels=labels, bad=bad)
            return
        for example in squad.read(path, may_be_impossible=True, labelled=False):
            yield {"id": example.key}, example

    def example(self, item: str | tuple[Any, ...], where: str, number: int) -> Example | None:
        """A question and its context."""
        match item:
            case (str(question), str(context)):
                return AnswerExample(where, str(number), question, context)
        return None

    def check_learnable(self, train: Sequence[Example]) -> None:
        """Some question has an answer."""
        if not any(example.answer for example in train):
            raise DataError(
                f"{train[0].where}: this and every other question of train has no answer; "
                "give answers to learn from, or check that the right column is read."
            )

    def initial_thresholds(
        self, labels: Sequence[str], *, may_be_impossible: bool
    ) -> tuple[float, ...]:
        """0 where a question may have no answer."""
        return (0.0,) if may_be_impossible else ()

    def encode(
        self,
        examples: Sequence[AnswerExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """Windows over the contexts, each with its question."""
        pool = Pool(tokenizer, placed=True)
        contexts = list(dict.fromkeys(example.context for example in examples))
        questions = list(dict.fromkeys(example.question for example in examples))
        c_starts, c_lengths = pool.add(contexts)
        q_starts, q_lengths = pool.add(questions)
        context_of = {text: number for number, text in enumerate(contexts)}
        question_of = {text: number for number, text in enumerate(questions)}
        cut = 0
        tables, targets, whole = [], [], []
        for number, example in enumerate(examples):
            question, context = question_of[example.question], context_of[example.context]
            a_length = min(int(q_lengths[question]), limits.max_question_length)
            cut += int(a_length < q_lengths[question])
            whole.append(int(q_lengths[question] + c_lengths[context]) + 3)
            room = room_for_text(limits.max_length, specials=3 + a_length)
            spans = window_spans(int(c_lengths[context]), room=room, stride=limits.stride)
            rows = np.zeros(len(spans), dtype=ROW)
            rows["example"] = number
            rows["a_start"], rows["a_length"] = q_starts[question], a_length
            rows["b_start"] = c_starts[context] + spans[:, 0]
            rows["b_length"] = spans[:, 1] - spans[:, 0]
            tables.append(rows)
            if example.answers is not None:
                begin = int(c_starts[context])
                places_T2 = pool.places_T2(begin, int(c_lengths[context]))
                targets.append(_answer_places(example, places_T2, spans, before=a_length + 2))
        return Features(
            pool.pieces_T,
            np.concatenate(tables),
            paired=True,
            whole=np.array(whole),
            targets=np.concatenate(targets) if len(targets) == len(examples) else None,
            places_T2=pool.places_T2(0, len(pool.pieces_T)),
            truncated=cut,
        )

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The best stretch of each context, or none by the threshold."""
        return [
            *answer_spans(
                features, outputs, examples, threshold=next(iter(task_config.thresholds), None)
            )
        ]

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> list[tuple[str, ...]]:
        """Every right answer to each question; empty: there is none."""
        return [tuple(answer.text for answer in example.answers) for example in examples]

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> list[str]:
        """The answers; empty: none."""
        return [answer.text for answer in answers]

    def tuned(
        self, task_config: TaskConfig, examples: Sequence[Any], answers: list[Prediction]
    ) -> tuple[TaskConfig, list[Prediction]]:
        """SQuAD v2.0: the threshold with the best F1, as the official script finds it.

        The script's is the difference of a question of dev; here it lies halfway to the next, which
        decides dev alike and other questions no closer to one side than to the other.
        """
        if not task_config.thresholds:
            return task_config, answers
        found: list[SpanAnswer] = [answer for answer in answers if isinstance(answer, SpanAnswer)]
        rights = self.references(examples, ())
        differences = np.array([answer.null_minus_best for answer in found])
        threshold, _ = best_threshold(
            differences,
            np.array([bool(answers) for answers in rights]),
            scores=np.array(
                [
                    answer_f1(answers, answer.best_text, may_be_impossible=True)
                    for answers, answer in zip(rights, found, strict=True)
                ]
            ),
        )
        if (differences > threshold).any():
            threshold = (threshold + float(differences[differences > threshold].min())) / 2
        return msgspec.structs.replace(task_config, thresholds=(threshold,)), [
            answer.decided(threshold) for answer in found
        ]

    def baseline(self, references: Any) -> Any:
        """To a question always none."""
        return [""] * len(references)

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To answer."""
        return t("answer questions with a span of the given text")

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """There is no pipeline since version 5."""
        return sections.automatic_code("QuestionAnswering", folder)

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes scores by answer length and question word, the threshold, and calibration."""
        true = self.references(found.examples, ())
        guessed = self.predictions(found.predictions, ())
        exact, shared = self._scores(true, guessed)
        questions = [example.question for example in found.examples]
        question_report.write_groups(page, true, questions, exact, shared)
        for threshold in found.thresholds:
            question_report.write_threshold(page, threshold, true, guessed)
        sure = [answer.probability for answer in found.predictions]
        sections.write_calibration(page, sure, exact == 1, "predictions")

    def _scores(self, true: Any, guessed: Any) -> tuple[Floats, Floats]:
        """Exact match and F1 of each question."""
        exact, shared = (
            self.metrics[name].statistics(true, guessed)[:, 0]
            for name in ("exact_match", "answer_f1")
        )
        return exact, shared

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Confidence in a wrong answer, halved at most for words shared with a correct one."""
        exact, shared = self._scores(self.references(examples, ()), self.predictions(answers, ()))
        sure = np.array([answer.probability for answer in answers])
        # One word too many is a smaller error than an answer from somewhere else.
        return sections.where(exact == 0, sure * (1 - shared / 2))

    def card(self, example: AnswerExample, answer: SpanAnswer) -> Card:
        """The context around both answers."""
        return question_report.card(example, answer)


def is_squad(path: Path | str) -> bool:
    """Whether a file has SQuAD's JSON."""
    return streams.endings(str(path))[0] == ".json"


def _answer_places(
    example: AnswerExample, places_T2: NDArray[np.int32], spans: Integers, *, before: int
) -> Integers:
    """First and last piece of the first answer in each window, [W, 2]; (0, 0) if not whole there.

    A window that cuts the answer teaches, as Google's script does, that there is none in it.
    """
    places = np.zeros((len(spans), 2), dtype=np.int64)
    if example.answers:
        answer = example.answers[0]
        end = answer.start + len(answer.text)
        first = int(np.searchsorted(places_T2[:, 1], answer.start, side="right"))
        last = int(np.searchsorted(places_T2[:, 0], end, side="left")) - 1
        if first <= last:
            whole = (spans[:, 0] <= first) & (last < spans[:, 1])
            places[whole] = np.array([first, last]) - spans[whole, :1] + before
    return places


QUESTION_ANSWERING = QuestionAnswering()
