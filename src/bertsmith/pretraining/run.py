"""Pre-training, from a prepared corpus to a model folder (paper, section 3.1).

`out/` holds, while and after a run::

    pretrain.json      the settings, written first: their presence means that a run lives here
    metrics.jsonl      baseline, every step, every evaluation
    schedule.jsonl     what a run on the clock made of its hours, for `--replay`
    tensorboard/       events, where TensorBoard is installed
    checkpoints/       the last few; `--resume` continues from the newest
    config.json ...    the model folder, written when the run is over
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bertsmith.checkpoints.folder import load_config, parameter_count, save_model
from bertsmith.core.errors import UsageError
from bertsmith.core.storage import checksum
from bertsmith.corpus.shards import MANIFEST, Corpus, Split
from bertsmith.models.family import NAMES, Pretrained
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.pretraining.evaluation import baseline, evaluate
from bertsmith.pretraining.model_card import pretraining_card
from bertsmith.pretraining.plan import plan_lines
from bertsmith.pretraining.setup import (
    build_model,
    check_tokenizer,
    evaluation_batches,
    model_shape,
    training_batches,
)
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.loop import Settings, train
from bertsmith.training.optimizer import adamw, load_state_by_name, state_by_name
from bertsmith.training.parallel import (
    Parallel,
    Place,
    choose_micro_tokens,
    explaining_memory,
    join,
)
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Schedule
from bertsmith.training.start import CHECKPOINTS, SCHEDULE, enter, find_start, note_place

SETTINGS = "pretrain.json"

# What may differ on a resume: it moves no weight or, as how much is computed at once, only the last
# bits of sums and where dropout falls, and a run that has met the end of memory must go on.
_FREE = frozenset({"evaluate_every", "evaluate_sequences", "save_every", "keep", "micro_tokens"})


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to."""

    out: Path
    """The model folder."""
    step: int
    tokens: int
    """Real tokens trained on."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Last held-out evaluation, `<objective>_loss` (nats) and `<objective>_accuracy`: of BERT `mlm`
    and `nsp`, of one-way models `forward` and (ELMo) `backward`."""
    baseline: dict[str, float] = field(default_factory=dict)
    """The same for guessing by frequency."""
    seconds: float = 0.0
    """On the run's clock, evaluations and checkpoints counted."""
    tokens_per_second: float = 0.0
    """Of the training steps alone."""


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
        out: folder of the run; must not hold anything unless `resume`.
        resume: continue from the newest checkpoint in `out`; from the start where there is none.
        replay: a run with `hours` (its folder or its `schedule.jsonl`) whose schedule is repeated
            exactly.
        held_out: another corpus folder by the same tokenizer, whose training split is used for
            evaluation; by default the held-out split of `config.data`.

    Raises:
        UsageError: settings that do not fit the corpus, the folder or, on a resume, the old ones.
        FolderError: corpus, model folder or checkpoint is missing, damaged or does not fit.
        DataError: the corpus is too small to train or evaluate on.
        DivergedError: the loss or the gradient stopped being finite.
        Stopped: SIGINT or SIGTERM ended it; a checkpoint was written.
        SystemFault: the disk is full, memory ran out, ...
    """
    if replay is not None and config.hours is None:
        raise UsageError("--replay repeats a run with --hours; give the same --hours, not --steps.")
    if replay is not None and replay.is_dir():
        replay = replay / SCHEDULE
    start = config.start_folder
    if start is not None:
        _check_architecture(start, config)
    with join(config.precision) as place, ExitStack() as stack:
        # 1. Everything that can be wrong in what the user gave, before anything is written.
        corpus = _open(Path(config.data), place)
        shape = model_shape(config, corpus)
        if start is not None:
            check_tokenizer(Tokenizer.load(start).fingerprint, str(config.start), corpus)
        manifest = checksum(corpus.folder / MANIFEST)

        # A shape's file may have moved; the weights tell whether it is still the same shape.
        moved = {"data", "size", "start"} if config.size.endswith(".json") else {"data"}

        def decide() -> tuple[TrainerState, Path | None]:
            state, folder = find_start(
                out, config, manifest, settings=SETTINGS, free=_FREE, moved=moved, resume=resume
            )
            if config.micro_tokens or not state.micro_tokens:
                state.micro_tokens = config.micro_tokens or choose_micro_tokens(
                    place.device, bytes_per_token=shape.bytes_per_token
                )
            return state, folder

        # Free memory, too, is measured by one process, or each would cut the batches its own way.
        state, folder = place.first_decides(decide)
        stack.enter_context(explaining_memory(place.device, state.micro_tokens))
        model, fresh_heads = build_model(config, shape, corpus, folder or start)
        evaluated = evaluation_batches(
            config,
            corpus.split("heldout") if held_out is None else _held_out(held_out, corpus, place),
            corpus.tokenizer,
            state.micro_tokens,
        )
        phases = [
            stack.enter_context(batches)
            for batches in training_batches(config, corpus, state.micro_tokens, state.cursors)
        ]
        baseline_numbers = baseline(evaluated, corpus.unigrams_V, corpus.tokenizer)

        # 2. The run's folder and its logs, by the first process; every other hears of damage there.
        resumed_at = state.step if folder is not None else -1

        def open_schedule(log: Path | None) -> Schedule:
            schedule = Schedule(
                steps=config.steps,
                hours=config.hours,
                learning_rate=config.learning_rate,
                warmup=config.warmup,
                phases=config.phases,
                log=log,
            )
            stack.callback(schedule.close)
            return schedule

        opened: list[tuple[Schedule, Reporter]] = []

        def open_folder() -> None:
            stack.enter_context(
                enter(out, config, settings=SETTINGS, replay=replay, phases=config.phases)
            )
            opened.append((open_schedule(out / SCHEDULE), Reporter(out, resume_step=resumed_at)))

        place.first_decides(open_folder)
        schedule, reporter = opened[0] if opened else (open_schedule(None), Reporter(None))
        stack.enter_context(reporter)
        _tell_start(reporter, model, config, place, resume=resume, resumed_at=resumed_at)
        tokens = corpus.manifest.tokens("train")
        for line in plan_lines(config, corpus_tokens=tokens, out=out):
            reporter.note(line)
        if moved_place := note_place(state, place):
            reporter.note(moved_place)
        if fresh_heads:
            reporter.note(
                f"{config.start} has no weights for {', '.join(fresh_heads)}: random ones are put "
                "there."
            )
        if folder is None:
            reporter.baseline(baseline_numbers)

        # 3. Training.
        parallel = stack.enter_context(Parallel(model, place))
        optimizer = adamw(
            model,
            weight_decay=config.weight_decay,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
        )
        if folder is not None:
            moments = checkpoint.load_moments(folder)
            load_state_by_name(model, optimizer, moments, source=str(folder))

        def save() -> None:
            if place.world.first:
                schedule.sync()
                state.cursors = [batches.cursor for batches in phases[: len(state.phase_starts)]]
                checkpoint.save(
                    out / CHECKPOINTS,
                    state,
                    state_by_name(model, optimizer),
                    write_model=write_model,
                    keep=config.keep,
                )

        def write_model(target: Path) -> None:
            card = pretraining_card(
                config,
                shape,
                state,
                parameters=parameter_count(model),
                documents=corpus.manifest.documents("train"),
                corpus_tokens=corpus.manifest.tokens("train"),
                baseline=baseline_numbers,
            )
            save_model(target, model, corpus.tokenizer, card=card)

        train(
            parallel,
            optimizer,
            phases,
            schedule=schedule,
            state=state,
            settings=Settings(
                seed=config.seed,
                clip_norm=config.clip_norm,
                evaluate_every=config.evaluate_every,
                save_every=config.save_every,
            ),
            reporter=reporter,
            evaluate=lambda: evaluate(model, evaluated, place),
            save=save,
        )

        # 4. The model folder; config.json comes last and means that the run is over.
        place.first_decides(lambda: write_model(out))
        return PretrainResult(
            out=out,
            step=state.step,
            tokens=state.tokens,
            metrics=state.evaluation,
            baseline=baseline_numbers,
            seconds=state.elapsed,
            tokens_per_second=state.tokens / state.busy if state.busy else 0.0,
        )


def _check_architecture(folder: Path, config: PretrainConfig) -> None:
    """Refuses weights of another architecture than the run's."""
    found = load_config(folder).family
    if found != config.model:
        raise UsageError(
            f"--from {config.start} holds {NAMES[found]} weights, and the run is of --model "
            f"{config.model}; give --model {found}."
        )


def _open(folder: Path, place: Place) -> Corpus:
    """Opens a corpus; the first process reads all of it once and compares checksums for all."""
    verified: list[Corpus] = []
    place.first_decides(lambda: verified.append(Corpus.open(folder)))
    return verified[0] if verified else Corpus.open(folder, verify=False)


def _held_out(folder: Path, corpus: Corpus, place: Place) -> Split:
    other = _open(folder, place)
    check_tokenizer(other.manifest.tokenizer_fingerprint, str(folder), corpus)
    return other.split("train")


def _tell_start(
    reporter: Reporter,
    model: Pretrained,
    config: PretrainConfig,
    place: Place,
    *,
    resume: bool,
    resumed_at: int,
) -> None:
    name = config.size if config.start is None else f"from {config.start}"
    processes = f", {place.world.size} processes" if place.world.size > 1 else ""
    reporter.note(
        f"Pre-training {NAMES[config.model]} {name} ({parameter_count(model):,} parameters) "
        f"on {place.device.type} in {place.precision}{processes}."
    )
    if resumed_at >= 0:
        reporter.note(f"Continuing from the checkpoint of step {resumed_at:,}.")
    elif resume:
        reporter.note("There is no checkpoint to continue from yet: starting from the beginning.")
