"""One fine-tuning run: an origin, labelled examples and settings to a scored model folder.

The folder, while and after a run::

    finetune.json      the settings; their presence means that a run lives here
    metrics.jsonl      every step, the dev scores after every epoch
    schedule.jsonl     what a run with a time limit made of its hours
    checkpoints/       the newest; removed when the run is over
    best/              the model folder of the epoch that was best on dev (see `best_epoch`)
    predictions.jsonl  its answers to the dev examples, in order
    result.json        what the run came to, with checksums of the two, written last
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import msgspec

from bertsmith.checkpoints.folder import load_task
from bertsmith.core.errors import FolderError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import derive_seed
from bertsmith.core.storage import read_json, remove_leftovers, verify, write_sealed
from bertsmith.finetuning.best_epoch import (
    BEST,
    PREDICTIONS,
    BestEpoch,
    DevEvaluation,
    keep_best,
    leave_model,
    read_best,
    read_predictions,
    remedy,
)
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import TaskData
from bertsmith.finetuning.model import build_model, class_weights
from bertsmith.finetuning.origin import Origin
from bertsmith.inference.backends.torch_backend import TorchBackend
from bertsmith.inference.batches import TaskBatches
from bertsmith.inference.engine import Scorer
from bertsmith.models.family import TaskModel
from bertsmith.tasks.kinds.registry import read_task_config
from bertsmith.tasks.scoring import Scores, decisive, score
from bertsmith.tasks.task_config import TASK_CONFIG
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import Saver, TrainerState
from bertsmith.training.config import LoopConfig
from bertsmith.training.loop import train
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import choose_micro_tokens, explaining_memory
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule
from bertsmith.training.start import (
    CHECKPOINTS,
    enter,
    entered,
    find_start,
    note_place,
)

SETTINGS = "finetune.json"
RESULT = "result.json"


def _run_folder(out: Path) -> JobFolder:
    return JobFolder(out, "a fine-tuning run", SETTINGS)


class RunResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run came to (`result.json`)."""

    out: str
    seed: int
    learning_rate: float
    batch_size: int
    epochs: int
    scores: dict[str, Scores]
    """Part (the deciding one first) -> metric -> score of the best epoch; None: undefined."""
    main: float
    """Mean of the deciding metrics on the deciding part."""
    degenerate: bool
    """No better on dev than always giving the most frequent answer, or (a regression) hardly
    anything but one number."""
    best_epoch: float
    steps: int
    seconds: float
    examples_per_second: float
    """Of the training steps alone."""
    fingerprint: str
    """SHA-256 of the examples, of the weights that it began with and of the tokenizer."""
    thresholds: tuple[float, ...] = ()
    """See `TaskConfig`."""
    checksums: dict[str, str] = {}
    """SHA-256 of what the run has come to: `predictions.jsonl` and every file of `best/`."""


def run(
    config: FinetuneConfig,
    data: TaskData,
    out: Path,
    *,
    origin: Origin,
    place: Place,
    title: str,
) -> RunResult:
    """Fine-tunes once; continues where an earlier call was stopped, returns at once where it ended.

    Args:
        config: the settings.
        data: what is trained and evaluated on.
        out: the run's folder.
        origin: what `config` names as the model.
        place: where this process computes.
        title: what the progress bar says.

    Raises:
        UsageError: `out` holds a run with other settings.
        FolderError: the model or a checkpoint is damaged.
        DivergedError: the loss or the gradient stopped being finite.
        Stopped: SIGINT, SIGTERM or SIGHUP ended it; a checkpoint was written.
        SystemFault: the disk is full, memory ran out, ...
    """
    fingerprint = f"{data.fingerprint} {origin.fingerprint} {origin.tokenizer.fingerprint}"
    if (out / RESULT).is_file():
        return _read_result(out, config, fingerprint)
    with ExitStack() as stack:
        # 1. Where the run stands, and what it trains on.
        state, saved, best = place.first_decides(
            lambda: _find_start(config, out, fingerprint, origin, place)
        )
        shorter = f"start over with shorter inputs ({option('max_length')}) or a smaller model"
        stack.enter_context(explaining_memory(place.device, state.micro_tokens, remedy=shorter))
        model, lacking = build_model(config, data, origin, saved)
        job = _Run(config, data, out, origin, place, model, state, saved)

        # 2. The run's folder and its logs.
        resume_step = state.step if saved else -1
        schedule, reporter = stack.enter_context(
            entered(
                place,
                enter(_run_folder(out), config, wait_seconds=place.world.handover_seconds),
                schedule=job.open_schedule,
                reporter=partial(
                    Reporter, resume_step=resume_step, title=title, evaluated=data.deciding
                ),
                out=out,
                state=state,
            )
        )
        for line in _start_notes(config, state, place, lacking=[] if saved else lacking):
            reporter.note(line)

        # 3. Training.
        job.train(schedule, reporter, best)

        # 4. The best epoch on every part, and the result.
        result = job.result(schedule.elapsed, fingerprint)
        if place.world.first:
            result = msgspec.structs.replace(result, checksums=keep_best(out))
            write_sealed(out / RESULT, result)
            leave_model(out)
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
            remove_leftovers(out)
        return result


@dataclass(frozen=True)
class _Run:
    """A run that nothing is wrong with, and what it is made of."""

    config: FinetuneConfig
    data: TaskData
    out: Path
    origin: Origin
    place: Place
    model: TaskModel
    state: TrainerState
    saved: Path | None
    """The checkpoint to continue from."""

    @cached_property
    def batches(self) -> TaskBatches:
        """What it trains on."""
        return TaskBatches(
            self.data.train,
            self.origin.tokenizer,
            batch_size=self.config.batch_size,
            seed=derive_seed(self.config.seed, "batches"),
            micro_tokens=self.state.micro_tokens,
        )

    def open_schedule(self, log: Path | None) -> Schedule:
        """Its schedule, on its log."""
        config = self.config
        steps = config.epochs * self.batches.steps_per_epoch
        return Schedule(
            steps=min(steps, config.steps or steps),
            hours=config.hours or None,
            learning_rate=config.learning_rate,
            warmup_ratio=config.warmup_ratio,
            phases=(Phase(1.0, config.max_length),),
            log=log,
        )

    def train(self, schedule: Schedule, reporter: Reporter, best: BestEpoch | None) -> None:
        """Trains to the end, and keeps the best epoch; `best` is that up to here."""
        config, model, place, state = self.config, self.model, self.place, self.state
        per_epoch = self.batches.steps_per_epoch
        model.class_weights = class_weights(config, self.data, place)
        with ExitStack() as stack:
            parallel = stack.enter_context(Parallel(model, place, shard=config.shard))
            evaluate = DevEvaluation(
                config,
                self.data,
                self.out,
                parallel=parallel,
                tokenizer=self.origin.tokenizer,
                state=state,
                best=best,
            )
            optimizer = adamw(model, config.optimizer)
            if self.saved is not None:
                checkpoint.load_optimizer(self.saved, model, optimizer)
            saver = stack.enter_context(Saver(self.out / CHECKPOINTS, parallel, optimizer, keep=1))

            def save() -> None:
                schedule.sync()
                state.schedule = schedule.checksum(state.step)
                whole = parallel.whole_model()
                saver.save(state, lambda folder: evaluate.write_model(folder, whole))

            train(
                parallel,
                optimizer,
                [self.batches],
                schedule=schedule,
                state=state,
                config=LoopConfig(
                    seed=config.seed,
                    max_grad_norm=config.max_grad_norm,
                    evaluate_every=per_epoch,
                    save_every=0,
                ),
                reporter=reporter,
                evaluate=evaluate,
                save=save,
                enough=lambda: evaluate.enough(per_epoch),
            )

    def result(self, seconds: float, fingerprint: str) -> RunResult:
        """Scores the best epoch on every part."""
        config, data, out, state = self.config, self.data, self.out, self.state
        kind = data.task.kind
        # The first process has written the model before the others read it here.
        best, task_config, answers = self.place.first_decides(
            lambda: (
                read_best(out),
                read_task_config(out / BEST / TASK_CONFIG),
                read_predictions(out / BEST, kind),
            )
        )
        examples, _ = data.evaluated[data.deciding]
        scores = {data.deciding: score(data.task, examples, answers, data.labels)}
        constant = kind.is_constant(
            kind.references(examples, data.labels), kind.predictions(answers, data.labels)
        )
        others = {part: rows for part, rows in data.evaluated.items() if part != data.deciding}
        if others:
            model = load_task(out / BEST).to(self.place.device)
            scorer = Scorer(TorchBackend(model, self.place), self.origin.tokenizer)
            for part, (rows, made) in others.items():
                answers = scorer.predict(rows, task_config, made)
                scores[part] = score(data.task, rows, answers, data.labels)
        main = decisive(data.task, scores[data.deciding])
        per_epoch = self.batches.steps_per_epoch
        trained_on = state.step / per_epoch * data.train_examples
        return RunResult(
            out=str(out),
            seed=config.seed,
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            epochs=config.epochs,
            scores=scores,
            main=main,
            degenerate=constant or main <= decisive(data.task, data.baseline),
            best_epoch=best.step / per_epoch,
            steps=state.step,
            seconds=seconds,
            examples_per_second=trained_on / state.busy if state.busy else 0.0,
            fingerprint=fingerprint,
            thresholds=task_config.thresholds,
        )


def _find_start(
    config: FinetuneConfig, out: Path, fingerprint: str, origin: Origin, place: Place
) -> tuple[TrainerState, Path | None, BestEpoch | None]:
    """State and checkpoint to continue from, and the best epoch up to there."""
    state, saved = find_start(
        _run_folder(out),
        config,
        fingerprint,
        free={"micro_tokens", "shard"},
        moved={"model"},
        resume=True,
    )
    state.micro_tokens = (
        config.micro_tokens
        or state.micro_tokens
        or choose_micro_tokens(place.device, bytes_per_token=origin.model_config.bytes_per_token)
    )
    # An untrained head has nothing to show.
    state.evaluated_at = max(state.evaluated_at, 0)
    # Before the first evaluation there is none.
    return state, saved, read_best(out) if state.evaluated_at > 0 else None


def _start_notes(
    config: FinetuneConfig, state: TrainerState, place: Place, *, lacking: list[str]
) -> Iterator[str]:
    """What to report when the run begins."""
    if moved_place := note_place(state, place):
        yield moved_place
    if lacking:
        yield f"{config.model} has no weights for {', '.join(lacking)}; it starts anew."


def _read_result(out: Path, config: FinetuneConfig, fingerprint: str) -> RunResult:
    """The result of a run that is over, if it is a run of these settings on this data."""
    _run_folder(out).check_same(config, free={"micro_tokens", "shard", "model"})
    result = read_json(out / RESULT, RunResult, sealed=True)
    verify(out, {PREDICTIONS: result.checksums[PREDICTIONS]}, remedy=remedy(out))
    if result.fingerprint != fingerprint:
        raise FolderError(
            f"The examples or the model have changed since {out} was trained; restore them, or "
            "fine-tune in another folder."
        )
    # The folder may have moved since.
    return msgspec.structs.replace(result, out=str(out))
