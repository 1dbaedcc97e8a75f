"""The loop that trains everything: one step, in view, from learning rate to checkpoint.

It knows neither BERT nor text. A model gives sums of losses for a micro-batch; batches say how many
predictions each sum holds; the loss of a step is sum over count, over all micro-batches and
processes, so neither the split into micro-batches nor the number of processes changes it.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bertsmith.core.errors import DivergedError, Stopped, UsageError, option
from bertsmith.core.runtime import derive_seed, keep_freed_memory, return_freed_memory
from bertsmith.core.stop import StopSignal, stop_signal
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.config import LoopConfig
from bertsmith.training.optimizer import (
    FORGET_EVERY,
    clip,
    forget_faint,
    gradient_norm,
    set_learning_rate,
)
from bertsmith.training.parallel.model import Batch, Parallel
from bertsmith.training.parallel.place import Place
from bertsmith.training.progress import Rate, Reporter
from bertsmith.training.schedule import Moment, Schedule

_RETURN_MEMORY_SECONDS = 5.0
"""Between returns of freed memory: every page used again must then be allocated again. The return
follows a step, when memory use is lowest."""
EVALUATION_SHARE = 1 / 30
"""Largest share of a timed run that evaluations take, unless `evaluate_every` is set."""
EVALUATIONS = 20
"""Number of evaluations unless `evaluate_every` is set, besides the one at the start."""
_SAVE_SECONDS = 600.0
"""Time between checkpoints unless `save_every` is set: the most that a power cut costs."""


class Batches(Protocol):
    """The data of one phase."""

    def at(self, step: int, rank: int, world: int) -> Sequence[Batch]:
        """The micro-batches of process `rank` of `world` at `step`, counted from the phase's start.

        At least one for every process; a pure function of its arguments.
        """


def train(
    parallel: Parallel[Any],
    optimizer: torch.optim.Optimizer,
    phases: Sequence[Batches],
    *,
    schedule: Schedule,
    state: TrainerState,
    config: LoopConfig,
    reporter: Reporter,
    evaluate: Callable[[], dict[str, float]],
    save: Callable[[], object],
    enough: Callable[[], bool] = lambda: False,
    rate: Rate | None = None,
) -> None:
    """Trains from `state.step` until the schedule ends; updates `state` in place.

    Args:
        parallel: the model on its device.
        optimizer: over the model's parameters.
        phases: the data of each phase of the schedule.
        schedule: progress, learning rate and phase of each step; the first process's decides.
        state: progress of the run; changed in place.
        config: seed, clipping, and how often to evaluate and to save.
        reporter: receives losses and rates.
        evaluate: held-out numbers of the model; called by every process.
        save: writes a checkpoint of `state`; called by every process.
        enough: whether to stop early, given `state`; the same for every process.
        rate: measures the speed.

    Raises:
        DivergedError: a loss or the gradient is not finite; the weights are as before the step.
        Stopped: SIGINT, SIGTERM or SIGHUP came; a checkpoint was written.
        UsageError: a process got no micro-batch.
    """
    place, rate, returned = parallel.place, rate or Rate(), time.monotonic()
    saved_at, saved_elapsed = state.step, state.elapsed
    schedule.set_clock(state.elapsed)
    keep_freed_memory()
    parallel.model.train()
    with stop_signal() as stop:
        while True:
            # 1. What this step is, by the first process, and whether any received a signal.
            moment, signaled = agree(schedule, state.step, stop, place)
            state.begin(moment)

            # 2. Evaluate and save, before the step: a checkpoint has its step's evaluation.
            by_clock = schedule.budget is not None
            due = evaluation_due(state, moment, config.evaluate_every, by_clock=by_clock)
            if due and (moment.over or not signaled):
                _evaluate(evaluate, parallel, state, moment)
                reporter.evaluation(state.step, state.evaluation)
            over = moment.over or enough()
            due = checkpoint_due(moment, config.save_every, elapsed=saved_elapsed)
            if state.step > saved_at and (due or over or signaled):
                save()
                saved_at, saved_elapsed = state.step, moment.elapsed
            if signaled and not over:
                raise Stopped(signaled, f"at step {state.step:,}")
            if over:
                return

            # 3. The step itself, on this process's micro-batches.
            began = time.monotonic()
            in_phase = state.step - state.phase_starts[moment.phase]
            batches = phases[moment.phase].at(in_phase, place.world.rank, place.world.size)
            numbers, tokens = take_step(parallel, optimizer, batches, moment, config)
            state.step += 1
            state.tokens += tokens
            if state.step % FORGET_EVERY == 0:
                forget_faint(optimizer)
            if time.monotonic() - returned > _RETURN_MEMORY_SECONDS:
                return_freed_memory()
                returned = time.monotonic()

            # 4. Report.
            seconds = time.monotonic() - began
            state.busy += seconds
            rate.add(tokens, seconds)
            numbers |= {"tokens": state.tokens} | rate.numbers(moment.phase, batches)
            reporter.train(state.step, moment.progress, numbers | {"elapsed": schedule.elapsed})


def take_step(
    parallel: Parallel[Any],
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    moment: Moment,
    config: LoopConfig,
) -> tuple[dict[str, float], int]:
    """One optimizer step on this process's micro-batches.

    Returns:
        The numbers to report (losses, gradient norm, ...), and the tokens of all processes.

    Raises:
        DivergedError: a loss or the gradient is not finite; the weights are as before the step.
        UsageError: a process got no micro-batch.
    """
    # a. Count predictions over all micro-batches and processes.
    place = parallel.place
    names, counts, tokens = count(batches, place)
    parallel.settle(batches[0])

    # b. Forward and backward. Dropout is seeded by the step and micro-batch, so no random state is
    #    ever saved. DDP averages over processes where we want the sum.
    set_learning_rate(optimizer, moment.learning_rate)
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(len(names), device=place.device)
    for micro, batch in enumerate(batches):
        place.seed(derive_seed(config.seed, "dropout", moment.step, micro, place.world.rank))
        with parallel.exchange(last=micro == len(batches) - 1):
            losses = parallel.losses(batch.to(place.device))
            row = torch.stack([losses[name].float() for name in names])
            torch.autograd.backward((row / counts).sum() * place.world.size)
        sums += row.detach()

    # c. Loss and gradient must be finite, or the weights stay as they are. Reading the numbers is
    #    the only time in a step that one process waits for its device; several also wait for each
    #    other in `agree` and `count`, which a process cannot know alone.
    gradients = [p.grad for p in parallel.model.parameters() if p.grad is not None]
    norm_tensor = gradient_norm(gradients)
    means = place.total_tensor(sums) / counts
    *values, norm = torch.cat([means, norm_tensor.reshape(1)]).tolist()
    check_finite(dict(zip(names, values, strict=True)), norm, moment)

    # d. Clip and step.
    clip(gradients, norm, longest=config.max_grad_norm)
    optimizer.step()
    numbers = {
        "loss": sum(values),
        **dict(zip(names, values, strict=True)),
        "learning_rate": moment.learning_rate,
        "gradient_norm": norm,
        "length": moment.length,
    }
    return numbers, tokens


def _evaluate(
    evaluate: Callable[[], dict[str, float]],
    parallel: Parallel[Any],
    state: TrainerState,
    moment: Moment,
) -> None:
    """Evaluates into `state`, with time and duration, which determine the next evaluation."""
    began = time.monotonic()
    with parallel.gathered():
        state.evaluation = evaluate()
    parallel.model.train()
    state.evaluated_at = state.step
    state.evaluated_progress = moment.progress
    state.evaluation_seconds = time.monotonic() - began
    state.evaluation_ended = moment.elapsed + state.evaluation_seconds


def evaluation_due(
    state: TrainerState, moment: Moment, every: int, *, by_clock: bool = False
) -> bool:
    """Whether to evaluate before this step: every so many steps or, with 0, by progress.

    A function of the schedule and of the last evaluation, both of which a resume restores. In a
    timed run, evaluations by progress take at most a thirtieth of the time.
    """
    if state.evaluated_at == moment.step:
        return False
    if moment.over:
        return True
    if every:
        return moment.step % every == 0
    pause = state.evaluation_seconds * (1 / EVALUATION_SHARE - 1)
    if by_clock and moment.elapsed - state.evaluation_ended < pause:
        return False
    return int(moment.progress * EVALUATIONS) > int(state.evaluated_progress * EVALUATIONS)


def checkpoint_due(moment: Moment, every: int, *, elapsed: float) -> bool:
    """Whether to save before this step: every so many steps or, with 0, every ten minutes.

    `elapsed` is the run's clock at the last checkpoint, in seconds.
    """
    if every:
        return moment.step % every == 0
    return moment.elapsed - elapsed >= _SAVE_SECONDS


def agree(schedule: Schedule, step: int, stop: StopSignal, place: Place) -> tuple[Moment, int]:
    """The first process's moment, and the largest signal any process has been sent (or 0)."""
    if place.world.size == 1:
        return schedule.at(step), stop.number
    row = [0.0] * 6
    if place.world.first:
        moment = schedule.at(step)
        row = [
            moment.progress,
            moment.learning_rate,
            float(moment.phase),
            float(moment.length),
            moment.elapsed,
            float(moment.over),
        ]
    # The others add zeros, which changes no bit.
    asked = [0.0] * place.world.size
    asked[place.world.rank] = float(stop.number)
    agreed = place.total(row + asked)
    progress, learning_rate, phase, length, elapsed, over = agreed[:6]
    moment = Moment(
        step, progress, learning_rate, int(phase), int(length), elapsed, over=bool(over)
    )
    return moment, int(max(agreed[6:]))


def count(batches: Sequence[Batch], place: Place) -> tuple[list[str], Tensor, int]:
    """Names of the objectives, predictions of each over all processes (float32), and tokens.

    Raises:
        UsageError: a process got no micro-batch.
    """
    names = sorted(batches[0].counts) if batches else []
    empty, *totals = place.total(
        [float(not batches), float(sum(batch.tokens for batch in batches))]
    )
    if empty:
        raise UsageError(
            f"{int(empty)} of {place.world.size} processes have no work in a step; start fewer "
            f"processes or raise {option('batch_size')}."
        )
    counts = place.total([float(sum(batch.counts[name] for batch in batches)) for name in names])
    row = torch.tensor([max(value, 1.0) for value in counts], device=place.device)
    return names, row, int(totals[0])


def check_finite(losses: dict[str, float], norm: float, moment: Moment) -> None:
    """Stops the training at a loss or gradient that is not finite.

    Raises:
        DivergedError: a loss or the gradient's norm is infinite or not a number.
    """
    numbers = losses | {"gradient norm": norm}
    bad = {name: value for name, value in numbers.items() if not math.isfinite(value)}
    if bad:
        shown = ", ".join(f"{name} {value}" for name, value in bad.items())
        raise DivergedError(
            f"Training diverged at step {moment.step + 1:,}: {shown}; the weights are unchanged "
            f"by this step. Lower {option('learning_rate')} (here {moment.learning_rate:g}) or "
            f"raise {option('warmup_ratio')}, and start again."
        )
