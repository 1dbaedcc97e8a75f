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

import msgspec
import torch

from bertsmith.config import PretrainConfig
from bertsmith.corpus.batches import Batches, heldout_batches
from bertsmith.corpus.shards import MANIFEST, Corpus, Split
from bertsmith.corpus.show import describe
from bertsmith.errors import FolderError, UsageError
from bertsmith.files import checksum
from bertsmith.models.folder import (
    CONFIG,
    load_config,
    load_pretraining,
    parameter_count,
    save_model,
)
from bertsmith.models.heads import BertForPretraining
from bertsmith.models.packed import PretrainBatch
from bertsmith.runtime import derive_seed
from bertsmith.shapes import BertConfig, bert_config
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.train import checkpoint
from bertsmith.train.card import pretraining_card
from bertsmith.train.checkpoint import TrainerState
from bertsmith.train.evaluation import baseline, evaluate
from bertsmith.train.loop import Settings, train
from bertsmith.train.optim import adamw, load_state_by_name, state_by_name
from bertsmith.train.parallel import (
    Parallel,
    Place,
    choose_micro_tokens,
    explaining_memory,
    join,
)
from bertsmith.train.progress import Reporter
from bertsmith.train.schedule import Schedule
from bertsmith.train.start import CHECKPOINTS, SCHEDULE, enter, find_start

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
    """Last held-out evaluation: `mlm_loss` (nats), `mlm_accuracy`, `nsp_loss`, `nsp_accuracy`."""
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
    from_folder: Path | None = None,
    replay: Path | None = None,
    held_out: Path | None = None,
) -> PretrainResult:
    """Pre-trains a BERT and writes it to `out`. Under `torchrun`, call it in every process.

    Args:
        config: the settings.
        out: folder of the run; must not hold anything unless `resume`.
        resume: continue from the newest checkpoint in `out`; from the start where there is none.
        from_folder: continue pre-training the weights of this model folder; its shape replaces
            `config.size`.
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
    if from_folder is not None:
        load_config(from_folder)
        config = msgspec.structs.replace(config, size=str(from_folder / CONFIG))
    with join(config.precision) as place, ExitStack() as stack:
        # 1. Everything that can be wrong in what the user gave, before anything is written.
        corpus = _open(Path(config.data), place)
        shape = model_shape(config, corpus)
        if from_folder is not None:
            _check_tokenizer(Tokenizer.load(from_folder).fingerprint, from_folder, corpus)
        manifest = checksum(corpus.folder / MANIFEST)

        def decide() -> tuple[TrainerState, Path | None]:
            state, folder = find_start(
                out, config, manifest, settings=SETTINGS, free=_FREE, moved={"data"}, resume=resume
            )
            if config.micro_tokens or not state.micro_tokens:
                state.micro_tokens = config.micro_tokens or choose_micro_tokens(
                    place.device, width=shape.hidden_size, layers=shape.num_hidden_layers
                )
            return state, folder

        # Free memory, too, is measured by one process, or each would cut the batches its own way.
        state, folder = place.first_decides(decide)
        model, fresh_heads = _build_model(config, shape, folder or from_folder)
        evaluated = _evaluation_batches(
            config,
            corpus.split("heldout") if held_out is None else _held_out(held_out, corpus, place),
            corpus.tokenizer,
            state.micro_tokens,
        )
        phases = [
            stack.enter_context(batches)
            for batches in _phases(config, corpus, state.micro_tokens, state.cursors)
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
        if fresh_heads:
            reporter.note(
                f"{from_folder} has no weights for {', '.join(fresh_heads)}; they start anew."
            )
        if folder is None:
            reporter.baseline(baseline_numbers)

        # 3. Training.
        stack.enter_context(explaining_memory(place.device, state.micro_tokens))
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


def model_shape(config: PretrainConfig, corpus: Corpus) -> BertConfig:
    """The model's shape, with the run's dropout.

    Raises:
        UsageError: unknown size, numbers that do not fit, a phase longer than the positions, or a
            pair task for a model of one segment.
        FolderError: the shape is for another vocabulary than the corpus.
    """
    vocab_size = corpus.manifest.vocab_size
    shape = bert_config(config.size, vocab_size=vocab_size)
    if shape.vocab_size != vocab_size:
        raise FolderError(
            f"{config.size} is for a vocabulary of {shape.vocab_size:,} pieces, but the corpus "
            f"{config.data} was prepared with one of {vocab_size:,}; prepare the corpus with that "
            "model's tokenizer."
        )
    longest = max(phase.length for phase in config.phases)
    if longest > shape.max_position_embeddings:
        raise UsageError(
            f"--phases asks for sequences of {longest} tokens, but the model has "
            f"{shape.max_position_embeddings} positions; shorten the phase or give a config.json "
            "with more."
        )
    if config.pair_task != "none" and shape.type_vocab_size < 2:
        raise UsageError(
            f"{config.size} has type_vocab_size {shape.type_vocab_size}, but --pair-task "
            f"{config.pair_task} needs 2 segments; give a config.json with 2, or --pair-task none."
        )
    return msgspec.structs.replace(
        shape,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )


def show_batch(config: PretrainConfig, count: int) -> str:
    """The first `count` training examples of a run, decoded, with masks and pair labels marked.

    Raises:
        FolderError: the corpus is missing or damaged.
        DataError: it is too small for an example.
    """
    corpus = Corpus.open(Path(config.data), verify=False)
    [batches, *rest] = _phases(config, corpus, 0, [])
    for other in rest:
        other.close()
    with batches:
        [batch] = batches.at(0)
        return describe(batch, corpus.tokenizer, pair_task=config.pair_task, sequences=count)


def _open(folder: Path, place: Place) -> Corpus:
    """Opens a corpus; the first process reads all of it once and compares checksums for all."""
    verified: list[Corpus] = []
    place.first_decides(lambda: verified.append(Corpus.open(folder)))
    return verified[0] if verified else Corpus.open(folder, verify=False)


def _held_out(folder: Path, corpus: Corpus, place: Place) -> Split:
    other = _open(folder, place)
    _check_tokenizer(other.manifest.tokenizer_fingerprint, folder, corpus)
    return other.split("train")


def _check_tokenizer(fingerprint: str, folder: Path, corpus: Corpus) -> None:
    if fingerprint != corpus.manifest.tokenizer_fingerprint:
        raise FolderError(
            f"The tokenizer of {folder} is not the one that the corpus {corpus.folder} was "
            "prepared with; prepare the corpus again with that one."
        )


def _evaluation_batches(
    config: PretrainConfig, split: Split, tokenizer: Tokenizer, micro_tokens: int
) -> list[PretrainBatch]:
    """The same examples for every run of this corpus and pair task, so that runs compare.

    As long as those of the last phase: what the model is trained for in the end.
    """
    return heldout_batches(
        split,
        tokenizer,
        sequences=config.evaluate_sequences,
        length=config.phases[-1].length,
        pair_task=config.pair_task,
        masking=config.masking,
        micro_tokens=micro_tokens,
    )


def _tell_start(
    reporter: Reporter,
    model: BertForPretraining,
    config: PretrainConfig,
    place: Place,
    *,
    resume: bool,
    resumed_at: int,
) -> None:
    processes = f", {place.world.size} processes" if place.world.size > 1 else ""
    reporter.note(
        f"Pre-training {config.size} ({parameter_count(model):,} parameters) on "
        f"{place.device.type} in {place.precision}{processes}."
    )
    if resumed_at >= 0:
        reporter.note(f"Continuing from the checkpoint of step {resumed_at:,}.")
    elif resume:
        reporter.note("There is no checkpoint to continue from yet: starting from the beginning.")


def _build_model(
    config: PretrainConfig, shape: BertConfig, folder: Path | None
) -> tuple[BertForPretraining, list[str]]:
    """A model with fresh weights, or with those of `folder` and heads drawn anew where it has none.

    Fresh weights are a function of the seed alone. Also the names of the heads that `folder` lacks.
    """
    pair_task = config.pair_task != "none"
    torch.manual_seed(derive_seed(config.seed, "weights"))
    if folder is None:
        return BertForPretraining(shape, pair_task=pair_task), []
    loaded, fresh = load_pretraining(folder, pair_task=pair_task, fresh_heads=True)
    # Built again, because the folder's dropout is not the run's.
    model = BertForPretraining(shape, pair_task=pair_task)
    model.load_state_dict(loaded.state_dict())
    return model, fresh


def _phases(
    config: PretrainConfig, corpus: Corpus, micro_tokens: int, cursors: list[dict[str, int]]
) -> list[Batches]:
    return [
        Batches(
            corpus.split("train"),
            corpus.tokenizer,
            length=phase.length,
            batch_size=config.batch_size,
            pair_task=config.pair_task,
            mask_share=config.mask_share,
            masking=config.masking,
            short_share=config.short_share,
            seed=derive_seed(config.seed, "phase", index),
            micro_tokens=micro_tokens,
            cursor=cursors[index] if index < len(cursors) else None,
        )
        for index, phase in enumerate(config.phases)
    ]
