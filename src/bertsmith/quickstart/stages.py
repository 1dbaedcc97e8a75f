"""The stages: text, vocabulary, corpus, pre-training, two fine-tunings, report; all offline.

Each stage writes its result to the folder and is skipped if it is there, so a rerun continues. The
minutes are for the whole quickstart (see `budget`): fine-tuning gets a share, and pre-training what
the earlier stages, that share and the report leave.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.checkpoints.folder import parameter_count
from bertsmith.core.errors import Stopped, UsageError, nearest, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import core_count, page_language
from bertsmith.core.storage import atomic_file, changed_fields
from bertsmith.core.terminal import say
from bertsmith.corpus.prepare import prepare
from bertsmith.corpus.shards import Corpus
from bertsmith.inference.predictor import Model
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import PretrainConfig, pretrain_config
from bertsmith.quickstart.budget import Budget, affordable_examples
from bertsmith.quickstart.comparison import compare
from bertsmith.quickstart.page import Outcome, collect, held_out_blanks, write_report
from bertsmith.quickstart.sample_tasks import sample_task
from bertsmith.quickstart.samples import SOURCES, SampleLanguage, sample
from bertsmith.quickstart.task import PRETRAINED, TaskPlan, fine_tune
from bertsmith.reports.language import written_in
from bertsmith.reports.page import Blank
from bertsmith.tasks.task_config import Columns
from bertsmith.text.tokenizer.train import train_tokenizer
from bertsmith.training.progress import read_metrics
from bertsmith.training.schedule import Phase

HELD_OUT = 0.05
EVALUATED_SEQUENCES = 400
BLANKS_FROM_TEXT = 8


# The best settings found for eight minutes on two cores (docs/log.md): two layers, short inputs.
SETTINGS: dict[str, Any] = {
    "size": "tiny",
    "batch_size": 32,
    "learning_rate": 2e-3,
    "phases": (Phase(0.4, 32), Phase(0.3, 64), Phase(0.3, 128)),
}


# Twice the rate or half the batch learns nothing; dropout only slows learning (docs/log.md).
_TUNING: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 5e-4,
    "epochs": 3,
    "max_length": 64,
    "dropout": 0.0,
}


@dataclass(frozen=True)
class Plan:
    """The settings of a language."""

    vocab_size: int
    settings: dict[str, Any]
    """Settings of the pre-training; chosen by measurement, see docs/results."""
    blanks: tuple[tuple[str, str], ...]
    """Sentences with a blank, and the original word."""
    task: TaskPlan
    """The fine-tuning task."""


PLANS: dict[SampleLanguage, Plan] = {
    "en": Plan(
        vocab_size=8000,
        settings=SETTINGS,
        blanks=(
            ("The king sent his [MASK] to the city.", "servants"),
            ("They ate the [MASK] and drank the wine.", "bread"),
            ("He was the [MASK] of David, the king of Israel.", "son"),
            ("Don't be [MASK], for I am with you.", "afraid"),
            ("The blind man could [MASK] again.", "see"),
            ("In the morning the [MASK] rose over the sea.", "sun"),
        ),
        task=TaskPlan(
            question="Is a verse of the King James Version the same verse as one of the World "
            "English Bible?",
            about_dev="The dev verses come from chapters that are in neither the training examples "
            "nor the pre-training text.",
            columns=Columns(text="king_james", text_pair="world_english"),
            settings=_TUNING,
            tokens=45,
        ),
    ),
    "zh": Plan(
        vocab_size=8000,
        settings=SETTINGS,
        blanks=(
            ("这家酒店的服[MASK]态度很好。", "务"),
            ("这本书非[MASK]好看。", "常"),
            ("房间很干[MASK]，下次还会来住。", "净"),
            ("中国经济继续保持快速增[MASK]。", "长"),
            ("新华社北[MASK]一月一日电", "京"),
            ("我喜欢吃苹[MASK]。", "果"),
        ),
        task=TaskPlan(
            question="Is a customer review positive or negative?",
            about_dev="The dev reviews are in neither the training examples nor the pre-training "
            "text, not even with other punctuation.",
            columns=Columns(text="review"),
            settings=_TUNING,
            tokens=35,
        ),
    ),
}


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Settings and progress of a quickstart (`quickstart.json`)."""

    language: SampleLanguage
    """Language of the text and of the pages."""
    minutes: float
    hours: float | None = None
    """Length of the pre-training, once it has started."""
    examples: int | None = None
    """Number of training examples of the fine-tunings, once they have started."""
    tuning_hours: dict[str, float] = {}
    """Folder of each fine-tuning that has started -> its time limit."""
    seconds: dict[str, float] = {}
    """Finished stage -> its time."""


@dataclass
class Work:
    """A running quickstart."""

    out: Path
    state: State
    deadline: float
    """Time of the monotonic clock."""

    @property
    def plan(self) -> Plan:
        """The settings of the language."""
        return PLANS[self.state.language]

    @property
    def text(self) -> Path:
        """File with the whole text."""
        return self.out / "text" / f"{self.state.language}.txt"

    @property
    def budget(self) -> Budget:
        """The division of the time."""
        return Budget(self.state.minutes)

    @property
    def folder(self) -> JobFolder:
        """The output folder."""
        return JobFolder(self.out, "a quickstart", "quickstart.json")

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def save(self) -> None:
        """Writes the state."""
        self.folder.write(self.state)


def quickstart(
    out: Path, *, minutes: float = 9.0, language: SampleLanguage | None = None
) -> Outcome:
    """Trains a tokenizer, pre-trains and fine-tunes a BERT on sample text, and writes a report.

    Args:
        out: folder for all results; a rerun with the same settings continues there.
        minutes: total time.
        language: language of the text and of the pages; None: the one of the folder to continue,
            otherwise that of the locale.

    Raises:
        UsageError: a setting is wrong, or the folder holds something else.
        MissingExtra: a package with the text, or matplotlib, is not installed.
        Stopped: SIGINT or SIGTERM was received while training; a rerun continues.
        SystemFault: the disk is full, ...
    """
    began = time.monotonic()
    work = _open(out, minutes, language)
    work.deadline = began + 60 * minutes
    with work.folder.enter(work.state):
        try:
            _do_stages(work)
        except Stopped as stop:
            # The quickstart needs no option to resume.
            raise Stopped(stop.number, stop.where, again="") from stop
        with written_in(work.state.language):
            return _report(work)


def _do_stages(work: Work) -> None:
    for number, (name, stage) in enumerate(STAGES, 1):
        if name in work.state.seconds:
            say(f"[{number}/{len(STAGES)}] {name}: already done")
            continue
        say(f"[{number}/{len(STAGES)}] {name} ...")
        stage_began = time.monotonic()
        stage(work)
        work.state.seconds[name] = round(time.monotonic() - stage_began, 2)
        work.save()


def _open(out: Path, minutes: float, language: SampleLanguage | None) -> Work:
    if minutes <= 0:
        raise UsageError(f"{option('minutes')} is {minutes}; it must be above 0.")
    if language is not None and language not in PLANS:
        raise UsageError(
            f"{option('language', language)}: unknown language{nearest(language, PLANS)}; choose "
            f"one of {', '.join(PLANS)}."
        )
    work = Work(out, State(language or page_language(), minutes), deadline=0.0)
    work.folder.check()
    if work.folder.begun:
        work.state = work.folder.read(State)
        changes = changed_fields(work.state, State(language or work.state.language, minutes))
        work.folder.refuse([one for one in changes if one.startswith(("language:", "minutes:"))])
    return work


def _write_text(work: Work) -> None:
    with atomic_file(work.text) as file:
        for document in sample(work.state.language):
            file.write(f"{document}\n\n".encode())


def _train_vocabulary(work: Work) -> None:
    train_tokenizer([str(work.text)], out=work.out / "tokenizer", size=work.plan.vocab_size)


def _prepare_corpus(work: Work) -> None:
    prepare(
        [str(work.text)],
        tokenizer=work.out / "tokenizer",
        out=work.out / "corpus",
        workers=core_count(),
        language=work.state.language,
        held_out=HELD_OUT,
    )


def _pretrain(work: Work) -> None:
    if work.state.hours is None:
        work.state.hours = round(work.budget.pretraining(work.left) / 3600, 6)
        work.save()
    pretrain.run(_config(work), work.out / "model", resume=True)


def _config(work: Work) -> PretrainConfig:
    return pretrain_config(
        "modern",
        data=str(work.out / "corpus"),
        hours=work.state.hours,
        evaluate_every=200,
        evaluate_sequences=EVALUATED_SEQUENCES,
        save_every=1000,
        **work.plan.settings,
    )


def _fine_tune(work: Work) -> None:
    state, plan, task = work.state, work.plan.task, sample_task(work.state.language)
    # Too small if the stage was interrupted; the budget has a minimum for that.
    overhead = state.seconds.get("pre-training", 0.0) - 3600 * (state.hours or 0.0)
    if state.examples is None:
        trained = read_metrics(work.out / "model" / "metrics.jsonl")
        last = next(row for row in reversed(trained) if row["kind"] == "train")
        state.examples = affordable_examples(
            work.budget.first_tuning(work.left, overhead),
            last["tokens"] / last["elapsed"],
            epochs=plan.settings["epochs"],
            dev=len(task.dev),
            tokens=plan.tokens,
        )

    def hours(tuned: str, overhead_before: float) -> float:
        if tuned not in state.tuning_hours:
            if tuned == PRETRAINED[1]:
                seconds = work.budget.first_tuning(work.left, overhead)
            else:
                seconds = work.budget.second_tuning(work.left, overhead_before)
            state.tuning_hours[tuned] = round(seconds / 3600, 6)
            work.save()
        return state.tuning_hours[tuned]

    fine_tune(
        plan,
        task,
        work.out,
        pretrained=_config(work),
        examples=state.examples,
        hours=hours,
        language=state.language,
    )


STAGES: list[tuple[str, Callable[[Work], None]]] = [
    ("text", _write_text),
    ("vocabulary", _train_vocabulary),
    ("corpus", _prepare_corpus),
    ("pre-training", _pretrain),
    ("fine-tuning", _fine_tune),
]


def _report(work: Work) -> Outcome:
    began = time.monotonic()
    corpus = Corpus.open(work.out / "corpus", verify=False)
    predictor = Model(work.out / "model")

    def fill(sentences: Sequence[tuple[str, str]]) -> list[Blank]:
        return [
            Blank(text, [(guess.token, guess.probability) for guess in blank.candidates], answer)
            for text, answer in sentences
            for blank in predictor.fill_mask(text).blanks
        ]

    metrics = read_metrics(work.out / "model" / "metrics.jsonl")
    outcome = collect(
        work.out,
        language=work.state.language,
        source=SOURCES[work.state.language],
        corpus=corpus,
        parameters=parameter_count(predictor.model),
        metrics=metrics,
        own_blanks=fill(work.plan.blanks),
        text_blanks=fill(held_out_blanks(corpus, BLANKS_FROM_TEXT)),
        task=compare(work.plan.task, work.out),
        seconds=work.state.seconds,
    )
    outcome.seconds["report"] = round(time.monotonic() - began, 2)
    write_report(outcome, _config(work), metrics)
    return outcome
