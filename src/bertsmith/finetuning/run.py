"""One fine-tuning run: an origin, labelled examples and settings to a scored model folder.

The folder, while and after a run::

    finetune.json      the settings; their presence means that a run lives here
    metrics.jsonl      every step, the dev scores after every epoch
    schedule.jsonl     what a run with a time limit made of its hours
    checkpoints/       the newest; removed when the run is over
    best/              the model folder of the epoch that was best on dev
    predictions.jsonl  its answers to the dev examples, in order
    best.json          which epoch that was, written after the two; removed when the run is over
    result.json        what the run came to, written last
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bertsmith.checkpoints.folder import load_task, save_model
from bertsmith.core.errors import FolderError
from bertsmith.core.runtime import derive_seed
from bertsmith.core.storage import atomic_file, read_json, remove_leftovers, write_json
from bertsmith.finetuning.config import FinetuneConfig, limits_of
from bertsmith.finetuning.data import TaskData
from bertsmith.finetuning.model import build_model, class_weights
from bertsmith.finetuning.model_card import task_card
from bertsmith.finetuning.origin import Origin
from bertsmith.inference.batches import TaskBatches
from bertsmith.inference.engine import Scorer
from bertsmith.tasks.decode import Prediction
from bertsmith.tasks.scoring import Scores, decisive, is_constant, score, tune_threshold
from bertsmith.tasks.task_config import TAUGHT, Taught
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.loop import Settings, train
from bertsmith.training.optimizer import adamw, load_state_by_name, state_by_name
from bertsmith.training.parallel import Parallel, Place, choose_micro_tokens, explaining_memory
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule
from bertsmith.training.start import (
    CHECKPOINTS,
    SCHEDULE,
    check_same_settings,
    enter,
    find_start,
    note_place,
)

SETTINGS = "finetune.json"
RESULT = "result.json"
PREDICTIONS = "predictions.jsonl"
BEST = "best"
_BEST_EVALUATION = "best.json"


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
    """No better on dev than always giving the most frequent answer, or (`regress`) hardly anything
    but one number."""
    best_epoch: float
    steps: int
    seconds: float
    examples_per_second: float
    """Of the training steps alone."""
    fingerprint: str
    """SHA-256 of the examples, of the weights that it began with and of the tokenizer."""
    threshold: float | None = None
    """`answer` with questions that have none: see `tasks.decode`."""


class _Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evaluation whose weights are in `best/` (`best.json`).

    It lies beside them and not in the checkpoint, which is older or newer: where an epoch that is
    done again comes out otherwise (on a GPU, or with other micro-batches), the weights, their
    answers and what is said of them are still of one epoch.
    """

    step: int
    main: float
    """Mean of the deciding metrics."""


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
        Stopped: SIGINT or SIGTERM ended it; a checkpoint was written.
        SystemFault: the disk is full, memory ran out, ...
    """
    tokenizer = origin.tokenizer
    fingerprint = f"{data.fingerprint} {origin.fingerprint} {tokenizer.fingerprint}"
    if (out / RESULT).is_file():
        return _read_result(out, config, fingerprint)
    with ExitStack() as stack:
        # 1. Where the run stands.

        def decide() -> tuple[TrainerState, Path | None, _Best | None]:
            state, folder = find_start(
                out,
                config,
                fingerprint,
                settings=SETTINGS,
                free={"micro_tokens"},
                moved={"model"},
                resume=True,
            )
            state.micro_tokens = (
                config.micro_tokens
                or state.micro_tokens
                or choose_micro_tokens(place.device, bytes_per_token=origin.shape.bytes_per_token)
            )
            # An untrained head has nothing to show.
            state.evaluated_at = max(state.evaluated_at, 0)
            has_best = folder is not None and (out / _BEST_EVALUATION).is_file()
            return state, folder, read_json(out / _BEST_EVALUATION, _Best) if has_best else None

        state, folder, best = place.first_decides(decide)
        model, fresh = build_model(config, data, origin, folder)
        opened: list[Reporter] = []

        def open_folder() -> None:
            stack.enter_context(enter(out, config, settings=SETTINGS))
            resume_step = state.step if folder else -1
            opened.append(
                Reporter(out, resume_step=resume_step, title=title, evaluated=data.deciding)
            )

        place.first_decides(open_folder)
        reporter = stack.enter_context(opened[0] if opened else Reporter(None))
        if moved_place := note_place(state, place):
            reporter.note(moved_place)
        if fresh and folder is None:
            reporter.note(f"{config.model} has no weights for {', '.join(fresh)}; it starts anew.")

        # 2. What the loop needs.
        shorter = "start anew with shorter inputs (--longest) or a smaller model"
        stack.enter_context(explaining_memory(place.device, state.micro_tokens, remedy=shorter))
        model.class_weights = class_weights(config, data, place)
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
        batches = TaskBatches(
            data.train,
            tokenizer,
            batch_size=config.batch_size,
            seed=derive_seed(config.seed, "batches"),
            micro_tokens=state.micro_tokens,
        )
        per_epoch = batches.steps_per_epoch
        steps = config.epochs * per_epoch
        schedule = Schedule(
            steps=min(steps, config.steps or steps),
            hours=config.hours or None,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            phases=(Phase(1.0, config.longest),),
            log=out / SCHEDULE if place.world.first else None,
        )
        stack.callback(schedule.close)
        scorer = Scorer(model, tokenizer, place)
        examples, features = data.evaluated[data.deciding]

        def write_model(target: Path, taught: Taught, scores: Mapping[str, Scores]) -> None:
            """What is left in `taught` to do with a regression's outputs is not folded in."""
            card = task_card(config, data.task, model, scores, offset=taught.offset)
            save_model(target, model, tokenizer, card=card)
            write_json(target / TAUGHT, taught)

        def write_best(taught: Taught, scores: Scores) -> None:
            with data.standard.folded(model.number_layer) as left:
                taught = msgspec.structs.replace(taught, scale=left.scale, offset=left.offset)
                write_model(out / BEST, taught, {data.deciding: scores})

        def evaluate() -> dict[str, float]:
            nonlocal best
            taught = _taught(config, data)
            predictions = scorer.predict(examples, taught, features)
            taught, predictions = tune_threshold(data.task, taught, examples, predictions)
            scores = score(data.task, examples, predictions, data.labels)
            main = decisive(data.task, scores)
            if best is None or main > best.main:
                best = _Best(state.step, main)
                if place.world.first:
                    write_best(taught, scores)
                    write_predictions(out / PREDICTIONS, predictions)
                    write_json(out / _BEST_EVALUATION, best)
            return {name: value for name, value in scores.items() if value is not None}

        def save() -> None:
            if place.world.first:
                schedule.sync()
                checkpoint.save(
                    out / CHECKPOINTS,
                    state,
                    state_by_name(model, optimizer),
                    write_model=lambda target: write_model(target, _taught(config, data), {}),
                    keep=1,
                )

        # 3. Training.
        train(
            parallel,
            optimizer,
            [batches],
            schedule=schedule,
            state=state,
            settings=Settings(
                seed=config.seed,
                clip_norm=config.clip_norm,
                evaluate_every=per_epoch,
                save_every=0,
            ),
            reporter=reporter,
            evaluate=evaluate,
            save=save,
            enough=lambda: _enough(config, state, best, per_epoch),
        )

        # 4. The best epoch on every part, and the result. (The first process has written the model
        #    when the others are told so.)
        best, taught, answers = place.first_decides(
            lambda: (
                read_json(out / _BEST_EVALUATION, _Best),
                read_json(out / BEST / TAUGHT, Taught),
                read_predictions(out),
            )
        )
        scores = {data.deciding: score(data.task, examples, answers, data.labels)}
        constant = is_constant(data.task, examples, answers)
        others = {part: rows for part, rows in data.evaluated.items() if part != data.deciding}
        if others:
            scorer = Scorer(load_task(out / BEST).to(place.device), tokenizer, place)
        for part, (rows, made) in others.items():
            answers = scorer.predict(rows, taught, made)
            scores[part] = score(data.task, rows, answers, data.labels)
        main = decisive(data.task, scores[data.deciding])
        result = RunResult(
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
            seconds=schedule.elapsed,
            examples_per_second=(
                state.step / per_epoch * data.train_examples / state.busy if state.busy else 0.0
            ),
            fingerprint=fingerprint,
            threshold=taught.threshold,
        )
        if place.world.first:
            write_json(out / RESULT, result)
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
            (out / _BEST_EVALUATION).unlink(missing_ok=True)
            remove_leftovers(out)
        return result


def _read_result(out: Path, config: FinetuneConfig, fingerprint: str) -> RunResult:
    """The result of a run that is over, if it is a run of these settings on this data."""
    check_same_settings(out / SETTINGS, config, free={"micro_tokens", "model"})
    result = read_json(out / RESULT, RunResult)
    if result.fingerprint != fingerprint:
        raise FolderError(
            f"The examples or the model have changed since {out} was trained; restore them, or "
            "fine-tune in another folder."
        )
    # The folder may have moved since.
    return msgspec.structs.replace(result, out=str(out))


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """One JSON object a line, in the examples' order."""
    with atomic_file(path) as file:
        file.writelines(msgspec.json.encode(prediction) + b"\n" for prediction in predictions)


def read_predictions(out: Path) -> list[Prediction]:
    """What the best epoch of the run in `out` said of the deciding part, in the examples' order."""
    lines = (out / PREDICTIONS).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Prediction) for line in lines]


def _taught(config: FinetuneConfig, data: TaskData) -> Taught:
    return Taught(
        task=config.task,
        kind=config.kind,
        labels=data.labels,
        limits=limits_of(config),
        threshold=0.0 if data.task.may_be_impossible else None,
        columns=data.columns,
        scale=data.standard.scale,
        offset=data.standard.offset,
        bounds=data.task.bounds,
    )


def _enough(
    config: FinetuneConfig, state: TrainerState, best: _Best | None, per_epoch: int
) -> bool:
    if not config.patience or best is None:
        return False
    return (state.evaluated_at - best.step) / per_epoch >= config.patience
