"""The runs of a comparison, one after the other: pre-trainings, then fine-tunings of each.

A comparison's folder::

    plan.json            what is compared, written first
    shapes/              the shapes of the three, of like size
    pretraining/SYSTEM/  a pre-training run and its model
    tuning/SYSTEM/TASK/  a fine-tuning job over the seeds
    compare.json         everything that came out
    compare.html         the same to look at

Each run is the one that `bertsmith pretrain` and `bertsmith finetune` make, continues where it was
stopped, and is skipped where it is done.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bertsmith import pretrain, pretrain_setup
from bertsmith.comparison.budget import Budget, Step, steps_of, training_flops
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.systems import System
from bertsmith.config import PretrainConfig
from bertsmith.corpus.shards import Corpus
from bertsmith.errors import UsageError
from bertsmith.shapes import Architecture, Shape
from bertsmith.tuning.data import Source
from bertsmith.tuning.job import Job, finetune
from bertsmith.tuning.result import FinetuneResult

# Steps of each phase from which a mean step is taken.
_SAMPLED = 32
_FEWEST_SECONDS = 20.0

Say = Callable[[str], object]


@dataclass(frozen=True)
class Pretraining:
    """A system's pre-training: its settings and what a step of it is."""

    system: System
    config: PretrainConfig
    shape: Shape
    step: Step
    flops: float
    """Of a step."""


def plan_pretraining(
    plan: Plan, system: System, shapes: dict[Architecture, Shape], corpus: Corpus, out: Path
) -> Pretraining:
    """Settings, length and cost of a system's pre-training; writes nothing.

    Raises:
        UsageError: the budget is too small, or the settings do not fit.
        DataError: the corpus is too small for an example.
    """
    trial = plan.pretraining(system, plan.size, steps=1)
    shape = shapes[trial.model]
    step = Step.mixed(
        [
            (phase.share, Step.mean(batches))
            for phase, batches in pretrain_setup.first_steps(trial, corpus, _SAMPLED)
        ]
    )
    flops = training_flops(shape, step)
    size = str(shape_file(out, trial.model))
    budget = Budget.parse(plan.budget)
    if budget.unit == "hours":
        if budget.amount * 3600 < _FEWEST_SECONDS:
            raise UsageError(
                f"--budget {budget} is {budget.amount * 3600:.0f} seconds, too short for one "
                f"evaluation; give at least hours={_FEWEST_SECONDS / 3600:.2g}."
            )
        config = plan.pretraining(system, size, hours=budget.amount)
    else:
        least = trial.evaluate_sequences * step.tokens / step.sequences
        steps = steps_of(budget, step=step, flops=flops, least=least)
        config = plan.pretraining(system, size, steps=steps)
    return Pretraining(system, config, shape, step, flops)


def shape_file(out: Path, model: Architecture) -> Path:
    """Where the shape of an architecture is."""
    return out / "shapes" / f"{model}.json"


def model_folder(out: Path, system: System) -> Path:
    """Where a system's pre-trained model is."""
    return out / "pretraining" / system.pretrained


def tuning_folder(out: Path, system: System, task: str) -> Path:
    """Where a system's fine-tunings on a task are."""
    return out / "tuning" / system.name / task


def do_pretraining(todo: Pretraining, out: Path, say: Say) -> pretrain.PretrainResult | None:
    """Trains a system, or makes its fresh weights where it is not trained at all."""
    folder = model_folder(out, todo.system)
    if not todo.system.is_trained:
        if not (folder / "config.json").is_file():
            say(f"{todo.system.title}: fresh weights")
            pretrain_setup.save_untrained(todo.config, folder)
        return None
    say(f"{todo.system.title}: pre-training")
    return pretrain.run(todo.config, folder, resume=(folder / pretrain.SETTINGS).is_file())


def do_tunings(plan: Plan, out: Path, say: Say) -> Iterator[tuple[System, str, FinetuneResult]]:
    """Fine-tunes every system on every task; all systems on a task before the next task."""
    for task in plan.tasks:
        for number, system in enumerate(plan.systems):
            folder = tuning_folder(out, system, task)
            say(f"{system.title}: {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}")
            job = Job(
                source=Source(task=task, data=plan.data),
                model=str(model_folder(out, system)),
                seeds=plan.seeds,
                settings=plan.tuning(system),
            )
            # What there is to know of the data is the same for all of them.
            show = say if number == 0 else None
            yield (
                system,
                task,
                finetune(
                    job, folder, resume=(folder / "job.json").is_file(), show=show or _nothing
                ),
            )


def _nothing(line: str) -> None:
    """Says nothing."""
