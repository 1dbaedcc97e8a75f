"""The runs of a comparison: pre-trainings, then fine-tunings of each.

A comparison's folder::

    plan.json            what is compared, written first
    timetable.json       when each part should be done, where the budget was planned
    shapes/              the configs of the three, of like size
    pretraining/SYSTEM/  a pre-training run and its model
    tuning/SYSTEM/TASK/  a fine-tuning job over the seeds
    minimal-pairs/       each pre-trained model's result, where minimal pairs are scored
    compare.json         everything that came out
    compare.html         the same to look at

Each run is the one that `bertsmith pretrain` and `bertsmith finetune` make, continues where it was
stopped, and is skipped where it is done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.comparison.budget import Budget, mean_step, steps_of, training_flops
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.systems import System
from bertsmith.core.errors import Stopped, UsageError, option
from bertsmith.core.stop import StopSignal, stop_signal
from bertsmith.core.storage import write_json
from bertsmith.corpus.shards import Corpus
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.job import Job, finetune
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.models.config_files import config_keys
from bertsmith.models.operations import Step
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining import setup
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.training.schedule import Phase

# Steps of each phase from which a mean step is taken.
_SAMPLED = 32
_FEWEST_SECONDS = 20.0
# Paths of a pre-training's settings: the folder may have moved since.
_MOVED = frozenset({"data", "size"})

Say = Callable[[str], object]
Tuned = dict[tuple[str, str], FinetuneResult]
"""System and task -> its fine-tunings."""


@dataclass(frozen=True)
class Pretraining:
    """A system's pre-training: its settings, and what a step of each length is."""

    system: System
    config: PretrainConfig
    model_config: ModelConfig
    steps: dict[int, Step]
    """Longest input of a phase -> a mean step of it."""

    @property
    def title(self) -> str:
        """What is done, for people."""
        what = "pre-training" if self.system.is_trained else "fresh weights"
        return f"{self.system.title}: {what}"

    def flops(self, length: int) -> float:
        """Floating-point operations of a step of that phase."""
        return training_flops(self.model_config, self.steps[length])

    def mean_tokens(self, phases: Sequence[Phase]) -> float:
        """Tokens of a step, the mean over the phases."""
        return sum(phase.share * self.steps[phase.length].tokens for phase in phases)

    def mean_flops(self, phases: Sequence[Phase]) -> float:
        """Floating-point operations of a step, the mean over the phases."""
        return sum(phase.share * self.flops(phase.length) for phase in phases)

    def with_shape(self, out: Path) -> "Pretraining":
        """The same of the config that is written in the folder `out`."""
        size = str(model_config_file(out, self.config.model))
        return replace(self, config=msgspec.structs.replace(self.config, size=size))


def sample(
    plan: Plan, system: System, model_configs: Mapping[FamilyName, ModelConfig], corpus: Corpus
) -> Pretraining:
    """What a step of a system's pre-training is; how many there are is not known yet.

    Raises:
        UsageError: the settings do not fit.
        DataError: the corpus is too small for an example.
    """
    trial = plan.pretraining(system, plan.size, steps=1)
    sampled = setup.first_steps(trial, corpus, _SAMPLED)
    steps = {phase.length: mean_step(batches) for phase, batches in sampled}
    return Pretraining(system, trial, model_configs[trial.model], steps)


def with_length(plan: Plan, todo: Pretraining, out: Path) -> Pretraining:
    """The same with as many steps or hours as the plan's budget pays for; writes nothing.

    Raises:
        UsageError: the budget is too small.
    """
    budget, trial = Budget.parse(plan.budget), todo.config
    length: dict[str, Any] = {"hours": budget.amount}
    if budget.unit != "hours":
        last = todo.steps[plan.phases[-1].length]
        length = {
            "steps": steps_of(
                budget,
                tokens=todo.mean_tokens(plan.phases),
                flops=todo.mean_flops(plan.phases),
                least=trial.evaluate_sequences * last.tokens / last.sequences,
            )
        }
    elif budget.amount * 3600 < _FEWEST_SECONDS:
        raise UsageError(
            f"{option('budget', budget)} is {budget.amount * 3600:.0f} seconds, too short for one "
            f"evaluation; give at least hours={_FEWEST_SECONDS / 3600:.2g}."
        )
    size = str(model_config_file(out, trial.model))
    config = msgspec.structs.replace(trial, size=size, **{"steps": None, "hours": None} | length)
    return replace(todo, config=config)


def write_model_configs(out: Path, model_configs: Mapping[FamilyName, ModelConfig]) -> None:
    """Writes the configs as `--size` takes them."""
    (out / "shapes").mkdir(exist_ok=True)
    for name, model_config in model_configs.items():
        write_json(model_config_file(out, name), config_keys(model_config))


def model_config_file(out: Path, model: FamilyName) -> Path:
    """Where the config of a family is."""
    return out / "shapes" / f"{model}.json"


def model_folder(out: Path, system: System) -> Path:
    """Where a system's pre-trained model is."""
    return out / "pretraining" / system.pretrained


def tuning_folder(out: Path, system: System, task: str) -> Path:
    """Where a system's fine-tunings on a task are."""
    return out / "tuning" / system.name / task


def tuning_title(plan: Plan, system: System, task: str) -> str:
    """What is done, for people."""
    return f"{system.title}: {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}"


def do_pretraining(todo: Pretraining, out: Path) -> None:
    """Trains a system, or makes its fresh weights where it is not trained at all.

    Nothing is done where it is done.
    """
    folder = model_folder(out, todo.system)
    done = (folder / "config.json").is_file()
    if not todo.system.is_trained:
        if not done:
            setup.save_untrained(todo.config, folder)
        return
    run = pretrain.run_folder(folder)
    if done and run.begun:
        run.check_same(todo.config, free=_MOVED)
        return
    pretrain.run(todo.config, folder, resume=run.begun)


def do_tuning(plan: Plan, system: System, task: str, out: Path, show: Say) -> FinetuneResult:
    """Fine-tunes a system on a task; `show` is told what there is to know of the data."""
    folder = tuning_folder(out, system, task)
    job = Job(
        source=Source(task=task, data=plan.data),
        model=str(model_folder(out, system)),
        seeds=plan.seeds,
        settings=plan.tuning(system),
    )
    return finetune(job, folder, resume=(folder / "job.json").is_file(), show=show)


def one_after_another(plan: Plan, todo: list[Pretraining], out: Path, say: Say) -> Tuned:
    """Does all runs in this process; all systems on a task before the next task.

    Raises:
        Stopped: SIGINT or SIGTERM came; everything so far was saved.
        BertsmithError: what a run raised.
    """
    tuned = {}
    pairs = [(task, system) for task in plan.tasks for system in plan.systems]
    # A run listens by itself; this is for a signal that comes between two.
    with stop_signal() as stop:
        for number, one in enumerate(todo, 1):
            _go_on(stop, f"before pre-training {number} of {len(todo)}")
            say(f"[{number} of {len(todo)}] {one.title}")
            do_pretraining(one, out)
        for number, (task, system) in enumerate(pairs, 1):
            _go_on(stop, f"before fine-tuning {number} of {len(pairs)}")
            say(f"[{number} of {len(pairs)}] {tuning_title(plan, system, task)}")
            # What there is to know of the data is the same for all systems.
            show: Say = say if system == plan.systems[0] else lambda line: None
            tuned[system.name, task] = do_tuning(plan, system, task, out, show)
        _go_on(stop, "before the page")
    return tuned


def _go_on(stop: StopSignal, where: str) -> None:
    if stop.number:
        raise Stopped(stop.number, where)
