"""The job: labelled examples and a model to the best of one or several fine-tunings.

A folder, while and after the job::

    identity.json      what makes it this job, wherever its files lie
    job.json           what was asked for; its presence means that a job lives here
    split.json         which examples of the user's file were put aside as dev
    runs/NAME/         one run each (see `run`); all results are kept, the best model only
    results.json       everything that came out
    report.html        the same to look at
    config.json ...    the model folder of the best run, with `task.json`
"""

import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.checkpoints.folder import CONFIG
from bertsmith.checkpoints.sources import resolve
from bertsmith.core.errors import UsageError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import PageLanguage, derive_seed
from bertsmith.core.storage import atomic_path, read_json, verify, write_json, write_sealed
from bertsmith.core.terminal import say
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning import run as tuning
from bertsmith.finetuning.best_epoch import BEST, read_predictions, remedy
from bertsmith.finetuning.config import FinetuneConfig, limits_of
from bertsmith.finetuning.data import Lengths, Parts, Source, TaskData
from bertsmith.finetuning.defaults import SWEPT, finetune_config, grid
from bertsmith.finetuning.fingerprint import IDENTITY, Identity, check_same_job, identity_of
from bertsmith.finetuning.model import head_of
from bertsmith.finetuning.origin import Origin, PretrainedModel, Untrained, UntrainedModel
from bertsmith.finetuning.report.page import write_report
from bertsmith.finetuning.result import FinetuneResult, summarise
from bertsmith.finetuning.run import RunResult
from bertsmith.models.family import build_for_task, check_segments, is_known_to_transformers
from bertsmith.reports import svg
from bertsmith.reports.language import written_in
from bertsmith.tasks import metrics
from bertsmith.tasks.inspection import Inspection
from bertsmith.training.parallel.place import Place, join

JOB = "job.json"
RESULTS = "results.json"
REPORT = "report.html"


_MOST_SEEDS = 1000


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was asked for, and where it lies (`job.json`); see `identity` for what may change."""

    source: Source
    model: str | Untrained
    """A pre-trained model's folder or name, or a network without pre-training."""
    seeds: int = 1
    """Runs that differ in nothing but their seed."""
    sweep: bool = False
    """Try every combination of a grid of rates, batch sizes and epochs first."""
    settings: dict[str, Any] = {}
    """Settings that the user gave."""


def job_folder(out: Path) -> JobFolder:
    """`out` as the folder of a job; the identity is written before `job.json`."""
    return JobFolder(out, "a fine-tuning", JOB, own=(IDENTITY,))


def finetune(
    job: Job,
    out: Path,
    *,
    resume: bool = False,
    show: Callable[[str], object] | None = None,
    language: PageLanguage | None = None,
) -> FinetuneResult:
    """Fine-tunes and writes the best model to `out`. Under `torchrun`, call it in every process.

    Args:
        job: what to do.
        out: folder of the job; must not hold anything unless `resume`.
        resume: continue in `out`.
        show: called with each line on the data; by default they are printed on stderr.
        language: language of the report; None: that of the locale.

    Raises:
        UsageError: settings that do not fit the task, the model or, on a resume, the old ones.
        DataError: files that cannot be read, or from which nothing can be learned.
        FolderError: the model or a checkpoint is missing, damaged or does not fit.
        DivergedError: the loss or the gradient stopped being finite.
        Stopped: SIGINT, SIGTERM or SIGHUP ended it; everything so far was saved.
        SystemFault: the disk is full, memory ran out, the hub cannot be reached, ...
    """
    with join(job.settings.get("precision") or "auto") as place, ExitStack() as stack:
        # 1. Everything that can be wrong in what the user gave, before anything is written.
        ready = _prepare(job, out, place, resume=resume)
        if place.world.first:
            plan = _plan(ready.config, len(ready.sweep), job.seeds, ready.data.train.items, out)
            for line in (*ready.notes(), plan):
                (show or say)(line)

        # 2. The runs, each of which is skipped where it was done before.
        def begin() -> None:
            stack.enter_context(job_folder(out).enter(wait_seconds=place.world.handover_seconds))
            _begin(out, job, ready)

        place.first_decides(begin)
        runs = _Runs(out, ready.data, ready.origin, place)
        config = ready.config
        for number, one in enumerate(ready.sweep, 1):
            runs.do(one, f"setting {number} of {len(ready.sweep)}")
        if ready.sweep:
            config = runs.best_config
        for number in range(job.seeds):
            one = msgspec.structs.replace(config, seed=config.seed + number)
            runs.do(one, f"seed {one.seed}" if job.seeds > 1 else "")

        # 3. The best of them.
        return place.first_decides(lambda: _finish(out, ready, runs, language))


@dataclass(frozen=True)
class _Ready:
    """A job that nothing is wrong with, as far as can be seen before it begins."""

    origin: Origin
    parts: Parts
    inspection: Inspection
    data: TaskData
    lengths: Lengths
    config: FinetuneConfig
    """Of the first run."""
    sweep: list[FinetuneConfig]
    """Settings to try first."""
    identity: Identity

    def notes(self) -> list[str]:
        """What is worth knowing of the model and the data."""
        notes = finetune_data.notes_on(self.parts, self.inspection, self.lengths)
        return [*self.origin.notes, *notes]


def _prepare(job: Job, out: Path, place: Place, *, resume: bool) -> _Ready:
    """Reads and checks everything; writes nothing."""
    if not 1 <= job.seeds <= _MOST_SEEDS:
        expected = "at least 1" if job.seeds < 1 else f"at most {_MOST_SEEDS:,}"
        raise UsageError(f"{option('seeds')} is {job.seeds}; it must be {expected}.")
    svg.matplotlib("figure")  # the report at the end must not be what fails
    folder = job_folder(out)
    place.first_decides(lambda: _check_folder(folder, job, resume=resume))
    given = {name: value for name, value in job.settings.items() if value is not None}
    # A model that is not there is found before long files are read.
    pretrained = None if isinstance(job.model, Untrained) else _open_model(job.model, place)
    parts = finetune_data.read(job.source, seed=derive_seed(int(given.get("seed", 0)), "split"))
    inspection = finetune_data.inspect(parts)
    if isinstance(job.model, Untrained):
        origin: Origin = UntrainedModel(job.model, parts.train, place)
    else:
        assert pretrained is not None
        origin = pretrained
    configure = _configure(parts, origin, given)
    config = configure(examples=len(parts.train))
    _check_model(origin, config, parts)
    limits = limits_of(config)
    data = finetune_data.featured(parts, origin.tokenizer, limits, job.source.columns)
    # What a batch counts is known now: windows, where there are any.
    config = configure(examples=data.train.items)
    sweep = grid(config, width=origin.model_config.hidden_size, fixed=given) if job.sweep else []
    for one in (config, *sweep):
        if min(one.batch_size, data.train.items) < place.world.size:
            raise UsageError(
                f"A step has {min(one.batch_size, data.train.items)} examples, fewer than the "
                f"{place.world.size} processes of this run; start fewer, or raise "
                f"{option('batch_size')}."
            )
    identity = identity_of(
        config,
        columns=job.source.columns,
        fixed=[name for name in SWEPT if name in given] if job.sweep else None,
        data=data.fingerprint,
        origin=origin,
    )
    place.first_decides(lambda: check_same_job(folder, identity))
    lengths = finetune_data.lengths(data, origin.tokenizer, limits)
    return _Ready(origin, parts, inspection, data, lengths, config, sweep, identity)


def _open_model(name: str, place: Place) -> PretrainedModel:
    return PretrainedModel.open(name, place.first_decides(lambda: resolve(name)))


def _configure(
    parts: Parts, origin: Origin, given: dict[str, Any]
) -> Callable[..., FinetuneConfig]:
    """The settings for this task and model, as a function of how many `examples` there are."""
    return partial(
        finetune_config,
        task=parts.task.name,
        kind=parts.task.kind.name,
        model=origin.name,
        initial_weights=origin.initial_weights,
        width=origin.model_config.hidden_size,
        positions=origin.model_config.max_position_embeddings,
        frozen_encoder=origin.model_config.frozen_in_tasks,
        **given,
    )


def _plan(config: FinetuneConfig, tried: int, seeds: int, items: int, out: Path) -> str:
    """What is going to be done, in words; a batch counts `items`: examples, or their windows."""
    steps = math.ceil(items / config.batch_size) * config.epochs
    steps = min(steps, config.steps or steps)
    one = f"up to {steps:,} steps of {config.batch_size} ({config.epochs} epochs of {items:,})"
    runs = f"{seeds} runs of" if seeds > 1 else "1 run of"
    if tried:
        settings = "setting" if tried == 1 else "settings"
        return f"Plan: {tried} {settings} tried, then {runs} the best. Output: {out}."
    return f"Plan: {runs} {one}. Output: {out}."


class _Runs:
    """The runs of a job, the best so far, and its model: the others' models are thrown away."""

    def __init__(self, out: Path, data: TaskData, origin: Origin, place: Place) -> None:
        self._out, self._data, self._origin, self._place = out, data, origin, place
        self.results: list[RunResult] = []
        self.configs: list[FinetuneConfig] = []

    def do(self, config: FinetuneConfig, title: str) -> None:
        """Does one run, unless it was done before."""
        if config in self.configs:
            return
        folder = self._out / "runs" / run_name(config)
        result = tuning.run(
            config,
            self._data,
            folder,
            origin=self._origin,
            place=self._place,
            title=title,
        )
        self.results.append(result)
        self.configs.append(config)
        if self._place.world.first:
            for number, other in enumerate(self.results):
                if number != self.best:
                    shutil.rmtree(Path(other.out) / BEST, ignore_errors=True)

    @property
    def best(self) -> int:
        """Number of the best run; the first where several are equally good."""
        mains = [result.main for result in self.results]
        return mains.index(max(mains))

    @property
    def best_config(self) -> FinetuneConfig:
        """Its settings."""
        return self.configs[self.best]

    @property
    def of_best_setting(self) -> list[RunResult]:
        """The runs that differ from the best one in their seed only."""
        best = msgspec.structs.replace(self.best_config, seed=0)
        return [
            result
            for result, config in zip(self.results, self.configs, strict=True)
            if msgspec.structs.replace(config, seed=0) == best
        ]


def run_name(config: FinetuneConfig) -> str:
    """The folder of a run."""
    return (
        f"lr-{config.learning_rate:g}_batch-{config.batch_size}_epochs-{config.epochs}"
        f"_seed-{config.seed}"
    )


def _check_folder(folder: JobFolder, job: Job, *, resume: bool) -> None:
    folder.check(resume=resume)
    # Runs that an earlier call has made must not be lost.
    old = folder.read(Job).seeds if folder.begun else 0
    if job.seeds < old:
        raise UsageError(
            f"{option('seeds')} is {job.seeds}, but the fine-tuning in {folder.path} is of {old}; "
            "give at least as many, or choose another folder."
        )


def _check_model(origin: Origin, config: FinetuneConfig, parts: Parts) -> None:
    """Everything about the model that would fail later, when the folder is begun."""
    model_config = origin.model_config
    head = head_of(config, parts.task, parts.labels, origin.tokenizer, paired=parts.paired)
    if parts.paired:
        check_segments(origin.name, model_config)
    origin.check(build_for_task(model_config, head, pieces=origin.tokenizer.vocab))


def _begin(out: Path, job: Job, ready: _Ready) -> None:
    write_sealed(out / IDENTITY, ready.identity)
    job_folder(out).write(job)
    numbers = ready.parts.dev_numbers
    if numbers is not None:
        write_json(out / "split.json", {"file": job.source.train, "dev": numbers})


def _finish(out: Path, ready: _Ready, runs: _Runs, language: PageLanguage | None) -> FinetuneResult:
    """The model folder, the numbers, the page; config.json comes last: the job is over."""
    parts, data = ready.parts, ready.data
    alike = runs.of_best_setting
    sound = [result for result in alike if not result.degenerate] or alike
    best = runs.results[runs.best]
    summary = {
        part: {
            name: summarise([run.scores[part][name] for run in sound])
            for name in parts.task.metrics
        }
        for part in best.scores
    }
    verify(Path(best.out), best.checksums, remedy=remedy(Path(best.out)))
    kind, examples = parts.task.kind, parts.evaluated[data.deciding]
    predictions = read_predictions(Path(best.out), kind)
    right = kind.references(examples, parts.labels)
    answered = kind.predictions(predictions, parts.labels)
    intervals = {
        name: metrics.interval(name, right, answered)
        for name in parts.task.metrics
        if best.scores[data.deciding][name] is not None
    }
    source = Path(best.out) / BEST
    result = FinetuneResult(
        out=str(out),
        report=str(out / REPORT),
        task=parts.task.name,
        title=parts.task.title,
        kind=parts.task.kind.name,
        model=runs.best_config.model,
        labels=parts.labels,
        deciding=data.deciding,
        deciding_metrics=parts.task.deciding or parts.task.metrics,
        inspection=ready.inspection,
        lengths=ready.lengths,
        source=parts.source,
        skipped=parts.skipped,
        baseline=data.baseline,
        config=runs.best_config,
        runs=runs.results,
        best=runs.best,
        summary=summary,
        degenerate=[Path(run.out).name for run in runs.results if run.degenerate],
        intervals={name: found for name, found in intervals.items() if found is not None},
        seconds=sum(run.seconds for run in runs.results),
        in_transformers=is_known_to_transformers(read_json(source / CONFIG, dict[str, Any])),
    )
    write_sealed(out / RESULTS, result)
    with written_in(language):
        write_report(result, examples=examples, predictions=predictions)
    # A folder with another model's files in it must not look whole.
    (out / CONFIG).unlink(missing_ok=True)
    files = [Path(best.out) / name for name in best.checksums if name.startswith(f"{BEST}/")]
    for file in sorted(files, key=lambda path: path.name == CONFIG):
        with atomic_path(out / file.name) as copy:
            shutil.copyfile(file, copy)
    return result
