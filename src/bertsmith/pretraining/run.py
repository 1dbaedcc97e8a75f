"""Pre-training, from a prepared corpus to a model folder (paper, section 3.1).

The folder of a run::

    pretrain.json      settings, written first; marks the folder as a run
    metrics.jsonl      baseline, every step, every evaluation
    schedule.jsonl     schedule of a run with a time limit, for a replay
    tensorboard/       events, if TensorBoard is installed
    checkpoints/       the newest few; a resume continues from the last one
    config.json ...    the model folder, written at the end
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bertsmith.checkpoints.folder import parameter_count, save_model
from bertsmith.core.errors import UsageError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.corpus.shards import Corpus
from bertsmith.models.config import ModelConfig
from bertsmith.models.family import Pretrained
from bertsmith.models.modules.packed import TextBatch
from bertsmith.pretraining.batches import Batches
from bertsmith.pretraining.config import SETTINGS, PretrainConfig
from bertsmith.pretraining.evaluation import baseline, evaluate
from bertsmith.pretraining.model_card import pretraining_card
from bertsmith.pretraining.operations import mean_step, training_flops
from bertsmith.pretraining.plan import plan_lines
from bertsmith.pretraining.setup import (
    build_model,
    check_start,
    evaluation_batches,
    open_corpus,
    open_held_out,
    resolve_model_config,
    training_batches,
)
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import Saver, TrainerState
from bertsmith.training.loop import train
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place, join
from bertsmith.training.parallel.precision import (
    choose_micro_tokens,
    explaining_memory,
    matrix_rate,
)
from bertsmith.training.progress import Rate, Reporter
from bertsmith.training.schedule import Schedule
from bertsmith.training.start import (
    CHECKPOINTS,
    SCHEDULE,
    enter,
    entered,
    find_start,
    note_place,
)

# May differ on a resume. These settings change no weight, except that micro-batches affect rounding
# and dropout; a run that ran out of memory must be able to continue with smaller ones.
_FREE = frozenset(
    {
        "evaluate_every",
        "evaluate_sequences",
        "save_every",
        "save_total_limit",
        "micro_tokens",
        "shard",
    }
)


def run_folder(out: Path) -> JobFolder:
    """`out` as the folder of a pre-training run."""
    return JobFolder(out, "a pre-training run", SETTINGS)


@dataclass(frozen=True)
class PretrainResult:
    """The result of a run."""

    out: Path
    """The model folder."""
    step: int
    tokens: int
    """Tokens trained on, without padding."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Last held-out evaluation: `<objective>_loss` (nats) and `<objective>_accuracy`. Objectives
    are `mlm` and `nsp` for BERT, `forward` and (ELMo) `backward` for one-way models."""
    baseline: dict[str, float] = field(default_factory=dict)
    """The same numbers of the baseline."""
    seconds: float = 0.0
    """Time of the run, with evaluations and checkpoints."""
    tokens_per_second: float = 0.0
    """Speed of the training steps."""


def run(
    config: PretrainConfig,
    out: Path,
    *,
    resume: bool = False,
    replay: Path | None = None,
    held_out: Path | None = None,
) -> PretrainResult:
    """Pre-trains a BERT, a GPT or an ELMo and writes it to `out`.

    Under `torchrun`, call it in every process.

    Args:
        config: the settings.
        out: folder of the run; must be empty unless `resume`.
        resume: continue from the newest checkpoint in `out`, or start if there is none.
        replay: a run with `hours` (its folder or `schedule.jsonl`) whose schedule to repeat
            exactly.
        held_out: another corpus folder with the same tokenizer, whose training split is used for
            evaluation; None: the held-out split of `config.data`.

    Raises:
        UsageError: the settings do not fit the corpus, the folder or the run to resume.
        FolderError: corpus, model folder or checkpoint is missing, damaged or does not fit.
        DataError: the corpus is too small to train or evaluate on.
        DivergedError: the loss or the gradient is no longer finite.
        Stopped: SIGINT, SIGTERM or SIGHUP ended it; a checkpoint was written.
    """
    if replay is not None and config.hours is None:
        raise UsageError(f"{option('replay')} needs {option('hours')}; give both.")
    if replay is not None and replay.is_dir():
        replay = replay / SCHEDULE
    with join(config.precision) as place, ExitStack() as stack:
        # 1. Check everything the user gave before anything is written.
        job = _prepare(config, out, place, stack, resume=resume, held_out=held_out)

        # 2. The run's folder and its logs.
        resumed_at = -1 if job.saved is None else job.state.step
        schedule, reporter = stack.enter_context(
            entered(
                place,
                enter(
                    run_folder(out),
                    config,
                    wait_seconds=place.world.handover_seconds,
                    replay=replay,
                    phases=config.phases,
                ),
                schedule=partial(_open_schedule, config),
                reporter=partial(Reporter, resume_step=resumed_at),
                out=out,
                state=job.state,
            )
        )
        for line in _start_notes(config, job, place, out, resume=resume):
            reporter.note(line)
        if job.saved is None:
            reporter.baseline(job.baseline)

        # 3. Training.
        parallel = stack.enter_context(Parallel(job.model, place, shard=config.shard))
        optimizer = adamw(job.model, config.optimizer)
        if job.saved is not None:
            checkpoint.load_optimizer(job.saved, job.model, optimizer)
        saver = Saver(out / CHECKPOINTS, parallel, optimizer, keep=config.save_total_limit)

        def save() -> None:
            place.first_decides(job.corpus.check_unchanged)
            schedule.sync()
            job.state.schedule = schedule.checksum(job.state.step)
            job.note_cursors()
            model = parallel.whole_model()
            saver.save(job.state, lambda folder: job.write_model(folder, model))

        with saver:
            train(
                parallel,
                optimizer,
                job.phases,
                schedule=schedule,
                state=job.state,
                config=config.loop,
                reporter=reporter,
                evaluate=lambda: evaluate(job.model, job.evaluated, place),
                save=save,
                rate=job.rate(place),
            )

        # 4. The model folder; config.json comes last and means that the run is over.
        place.first_decides(job.corpus.check_unchanged)
        trained = parallel.whole_model()
        place.first_decides(lambda: job.write_model(out, trained))
        return job.result(out)


@dataclass(frozen=True)
class _Job:
    """A run that has passed every check, and its parts."""

    config: PretrainConfig
    corpus: Corpus
    model_config: ModelConfig
    model: Pretrained
    new_heads: list[str]
    """Heads that the model to start from lacks."""
    phases: list[Batches]
    evaluated: list[TextBatch]
    baseline: dict[str, float]
    state: TrainerState
    saved: Path | None
    """The checkpoint to continue from."""

    def rate(self, place: Place) -> Rate:
        """Measures its speed, and how much of the hardware it uses."""

        def operations(batches: Sequence[TextBatch]) -> float:
            return training_flops(self.model_config, mean_step([batches]))

        peak = place.world.size * matrix_rate(place.device, place.precision)
        return Rate(operations=operations, peak=peak)

    def note_cursors(self) -> None:
        """Records how far each phase has read the corpus."""
        begun = self.phases[: len(self.state.phase_starts)]
        self.state.cursors = [batches.cursor for batches in begun]

    def write_model(self, folder: Path, model: Pretrained) -> None:
        """Writes the model in its current state as a model folder."""
        card = pretraining_card(
            self.config,
            self.model_config,
            self.state,
            parameters=parameter_count(model),
            documents=self.corpus.manifest.documents("train"),
            corpus_tokens=self.corpus.manifest.tokens("train"),
            baseline=self.baseline,
        )
        save_model(folder, model, self.corpus.tokenizer, card=card)

    def result(self, out: Path) -> PretrainResult:
        """The result so far."""
        state = self.state
        return PretrainResult(
            out=out,
            step=state.step,
            tokens=state.tokens,
            metrics=state.evaluation,
            baseline=self.baseline,
            seconds=state.elapsed,
            tokens_per_second=state.tokens / state.busy if state.busy else 0.0,
        )


def _prepare(
    config: PretrainConfig,
    out: Path,
    place: Place,
    stack: ExitStack,
    *,
    resume: bool,
    held_out: Path | None,
) -> _Job:
    """Reads and checks everything; writes nothing."""
    corpus = open_corpus(config.data, place)
    check_start(config, corpus)
    model_config = resolve_model_config(config, corpus)
    # One process measures free memory for all; otherwise their micro-batches would differ.
    state, saved = place.first_decides(
        lambda: _find_start(config, out, corpus, model_config, place, resume=resume)
    )
    stack.enter_context(explaining_memory(place.device, state.micro_tokens))
    model, new_heads = build_model(config, model_config, corpus, saved or config.start_folder)
    split = corpus.split("heldout") if held_out is None else open_held_out(held_out, corpus, place)
    evaluated = evaluation_batches(config, split, corpus.tokenizer, state.micro_tokens)
    return _Job(
        config,
        corpus,
        model_config,
        model,
        new_heads,
        phases=[
            stack.enter_context(batches)
            for batches in training_batches(
                config,
                corpus,
                state.micro_tokens,
                state.cursors,
                pin=place.device.type == "cuda",
            )
        ],
        evaluated=evaluated,
        baseline=baseline(evaluated, corpus.unigrams_V, corpus.tokenizer),
        state=state,
        saved=saved,
    )


def _find_start(
    config: PretrainConfig,
    out: Path,
    corpus: Corpus,
    model_config: ModelConfig,
    place: Place,
    *,
    resume: bool,
) -> tuple[TrainerState, Path | None]:
    """State and checkpoint to continue from, with `micro_tokens` resolved."""
    # The config file may have been moved; the weights show whether it is still the same.
    moved = {"data", "size", "start"} if config.size.endswith(".json") else {"data"}
    state, saved = find_start(
        run_folder(out), config, corpus.checksum, free=_FREE, moved=moved, resume=resume
    )
    if config.micro_tokens or not state.micro_tokens:
        state.micro_tokens = config.micro_tokens or choose_micro_tokens(
            place.device, bytes_per_token=model_config.bytes_per_token
        )
    return state, saved


def _open_schedule(config: PretrainConfig, log: Path | None) -> Schedule:
    """The schedule of a run, with its log."""
    return Schedule(
        steps=config.steps,
        hours=config.hours,
        learning_rate=config.learning_rate,
        warmup_ratio=config.warmup_ratio,
        phases=config.phases,
        log=log,
    )


def _start_notes(
    config: PretrainConfig, job: _Job, place: Place, out: Path, *, resume: bool
) -> Iterator[str]:
    """Lines to print before the run starts."""
    name = config.size if config.start is None else f"from {config.start}"
    processes = f", {place.world.size} processes" if place.world.size > 1 else ""
    yield (
        f"Pre-training {job.model.config.display_name} {name} "
        f"({parameter_count(job.model):,} parameters) on {place.device.type} in "
        f"{place.precision}{processes}."
    )
    if job.saved is not None:
        yield f"Continuing from the checkpoint of step {job.state.step:,}."
    elif resume:
        yield "No checkpoint to continue from yet; starting from the beginning."
    yield from plan_lines(config, corpus_tokens=job.corpus.manifest.tokens("train"), out=out)
    if moved_place := note_place(job.state, place):
        yield moved_place
    if job.new_heads:
        yield (f"{config.start} has no weights for {', '.join(job.new_heads)}; using random ones.")
