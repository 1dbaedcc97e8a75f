"""The runs of a comparison: pre-trainings, then fine-tunings of each.

A comparison's folder::

    plan.json            settings, written first
    timetable.json       planned times, if speeds were measured
    shapes/              configs of the three models, matched in size
    pretraining/SYSTEM/  a pre-training run and its model
    tuning/SYSTEM/TASK/  a fine-tuning job over the seeds
    minimal-pairs/       each pre-trained model's result on minimal pairs, if there are any
    compare.json         the result
    compare.html         the result as a page

Each run is an ordinary `bertsmith pretrain` or `bertsmith finetune`: an interrupted one continues,
a finished one is skipped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.comparison.budget import Budget, steps_of
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.systems import System
from bertsmith.core.errors import Stopped, UsageError, option
from bertsmith.core.runtime import PageLanguage
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
from bertsmith.pretraining.operations import mean_step, training_flops
from bertsmith.training.schedule import Phase

# Steps of each phase over which the mean is taken.
_SAMPLED = 32
_FEWEST_SECONDS = 20.0
# Paths among the pre-training settings; the folder may have been moved.
_MOVED = frozenset({"data", "size"})

Say = Callable[[str], object]
Tuned = dict[tuple[str, str], FinetuneResult]
"""(system, task) -> result of its fine-tunings."""


@dataclass(frozen=True)
class Pretraining:
    """A system's pre-training: its settings, and the mean step of each phase."""

    system: System
    config: PretrainConfig
    model_config: ModelConfig
    steps: dict[int, Step]
    """Maximum length of a phase -> its mean step."""

    @property
    def title(self) -> str:
        """The line to print when it starts."""
        what = "pre-training" if self.system.is_trained else "initial weights"
        return f"{self.system.title}: {what}"

    def flops(self, length: int) -> float:
        """Floating-point operations per step of the phase with this length."""
        return training_flops(self.model_config, self.steps[length])

    def mean_tokens(self, phases: Sequence[Phase]) -> float:
        """Tokens per step, averaged over the phases."""
        return sum(phase.share * self.steps[phase.length].tokens for phase in phases)

    def mean_flops(self, phases: Sequence[Phase]) -> float:
        """Floating-point operations per step, averaged over the phases."""
        return sum(phase.share * self.flops(phase.length) for phase in phases)

    def with_shape(self, out: Path) -> "Pretraining":
        """The same pre-training with the config file in `out` as its size."""
        size = str(model_config_file(out, self.config.model))
        return replace(self, config=msgspec.structs.replace(self.config, size=size))


def sample(
    plan: Plan, system: System, model_configs: Mapping[FamilyName, ModelConfig], corpus: Corpus
) -> Pretraining:
    """A system's pre-training with its mean steps; its length is not known yet.

    Raises:
        UsageError: the settings do not fit.
        DataError: the corpus is too small for one example.
    """
    trial = plan.pretraining(system, plan.size, steps=1)
    sampled = setup.first_steps(trial, corpus, _SAMPLED)
    steps = {phase.length: mean_step(batches) for phase, batches in sampled}
    return Pretraining(system, trial, model_configs[trial.model], steps)


def with_length(plan: Plan, todo: Pretraining, out: Path) -> Pretraining:
    """The same pre-training with as many steps or hours as the budget allows; writes nothing.

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
            f"{option('budget', budget)} is only {budget.amount * 3600:.0f} seconds, too short for "
            f"one evaluation; give at least hours={_FEWEST_SECONDS / 3600:.2g}."
        )
    size = str(model_config_file(out, trial.model))
    config = msgspec.structs.replace(trial, size=size, **{"steps": None, "hours": None} | length)
    return replace(todo, config=config)


def write_model_configs(out: Path, model_configs: Mapping[FamilyName, ModelConfig]) -> None:
    """Writes the configs as files that pre-training accepts as a size."""
    (out / "shapes").mkdir(exist_ok=True)
    for name, model_config in model_configs.items():
        write_json(model_config_file(out, name), config_keys(model_config))


def model_config_file(out: Path, model: FamilyName) -> Path:
    """Path of a family's config."""
    return out / "shapes" / f"{model}.json"


def model_folder(out: Path, system: System) -> Path:
    """Folder of a system's pre-trained model."""
    return out / "pretraining" / system.pretrained


def tuning_folder(out: Path, system: System, task: str) -> Path:
    """Folder of a system's fine-tunings on a task."""
    return out / "tuning" / system.name / task


def tuning_title(plan: Plan, system: System, task: str) -> str:
    """The line to print when the fine-tunings on a task start."""
    return f"{system.title}: {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}"


def do_pretraining(todo: Pretraining, out: Path) -> None:
    """Pre-trains a system, or saves initial weights for an untrained one, unless done before."""
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


def do_tuning(
    plan: Plan, system: System, task: str, out: Path, show: Say, language: PageLanguage
) -> FinetuneResult:
    """Fine-tunes a system on a task; `show` is called with each note on the data."""
    folder = tuning_folder(out, system, task)
    job = Job(
        source=Source(task=task, data=plan.data),
        model=str(model_folder(out, system)),
        seeds=plan.seeds,
        settings=plan.tuning(system),
    )
    resume = (folder / "job.json").is_file()
    return finetune(job, folder, resume=resume, show=show, language=language)


def one_after_another(
    plan: Plan, todo: list[Pretraining], out: Path, say: Say, language: PageLanguage
) -> Tuned:
    """Does all runs in this process: all systems on one task, then the next task.

    Raises:
        Stopped: SIGINT or SIGTERM came; everything so far was saved.
        BertsmithError: what a run raised.
    """
    tuned = {}
    pairs = [(task, system) for task in plan.tasks for system in plan.systems]
    # Runs handle signals themselves; this catches a signal between two of them.
    with stop_signal() as stop:
        for number, one in enumerate(todo, 1):
            _go_on(stop, f"before pre-training {number} of {len(todo)}")
            say(f"[{number} of {len(todo)}] {one.title}")
            do_pretraining(one, out)
        for number, (task, system) in enumerate(pairs, 1):
            _go_on(stop, f"before fine-tuning {number} of {len(pairs)}")
            say(f"[{number} of {len(pairs)}] {tuning_title(plan, system, task)}")
            # The notes on the data are the same for all systems.
            show: Say = say if system == plan.systems[0] else lambda line: None
            tuned[system.name, task] = do_tuning(plan, system, task, out, show, language)
        _go_on(stop, "before the page")
    return tuned


def _go_on(stop: StopSignal, where: str) -> None:
    if stop.number:
        raise Stopped(stop.number, where)
