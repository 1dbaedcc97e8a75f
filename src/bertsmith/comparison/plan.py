"""The settings of a comparison: systems, data and budget. Written as `plan.json`."""

from pathlib import Path
from typing import Any

import msgspec

from bertsmith.comparison.budget import Budget
from bertsmith.comparison.systems import MODELS, System, chosen
from bertsmith.core.errors import UsageError, nearest, option
from bertsmith.models.config import SIZES
from bertsmith.pretraining.config import PretrainConfig, pretrain_config
from bertsmith.tasks.datasets.registry import TASKS
from bertsmith.training.schedule import Phase

POSITIONS = 512
"""Maximum input length of the presets, in tokens."""
# Small, so that twenty evaluations of a short run cost less than its training.
_EVALUATED = 256
# Upper limits that catch typing errors.
_MOST = 1000
_MOST_HOURS = 10**5
HOURS = 2.0
"""Default time for the whole comparison."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings that decide what a comparison computes."""

    corpus: str
    """Folder written by `bertsmith prepare`; all systems use its tokenizer."""
    tasks: tuple[str, ...]
    """Names of official tasks."""
    data: str
    """Folder of the tasks' official files."""
    models: tuple[str, ...] = tuple(MODELS)
    ablations: tuple[str, ...] = ()
    hours: float | None = None
    """Time for the whole comparison; None if `budget` is given."""
    budget: str = ""
    """Budget of each pre-training (see `Budget.parse`); empty until it is planned from `hours`."""
    seeds: int = 3
    """Fine-tunings of each system on each task."""
    minimal_pairs: str | None = None
    """A `.jsonl` file of minimal pairs, or a folder of such files, to score the models on."""
    limit: int | None = None
    """Maximum number of minimal pairs per paradigm; None: all."""
    size: str = "mini"
    """Preset of the BERT; the other models are matched to it."""
    batch_size: int | None = None
    """Sequences per pre-training step; None: the recipe's."""
    phases: tuple[Phase, ...] = (Phase(1.0, 128),)
    learning_rate: float | None = None
    """Peak learning rate of the pre-trainings; None: the recipe's for each width."""
    epochs: int = 3
    """Epochs of each fine-tuning."""
    seed: int = 0

    @property
    def systems(self) -> list[System]:
        """The compared systems."""
        return chosen(self.models, self.ablations)

    def pretraining(self, system: System, size: str, **length: Any) -> PretrainConfig:
        """The settings of a system's pre-training; `length` is `steps` or `hours`."""
        shared = {
            "batch_size": self.batch_size,
            "phases": self.phases,
            "learning_rate": self.learning_rate,
        }
        return pretrain_config(
            "modern",
            data=self.corpus,
            size=size,
            evaluate_sequences=_EVALUATED,
            seed=self.seed,
            **shared | system.pretraining,
            **length,
        )

    def tuning(self, system: System) -> dict[str, Any]:
        """The settings of a system's fine-tunings."""
        return {"epochs": self.epochs, "seed": self.seed, **system.tuning}

    def resolved(self) -> "Plan":
        """The plan with absolute paths."""
        paths = {
            name: str(Path(path).resolve())
            for name in ("corpus", "data", "minimal_pairs")
            if (path := getattr(self, name)) is not None
        }
        return msgspec.structs.replace(self, **paths)

    def check(self) -> "Plan":
        """Checks the plan; returns it with its budget in a canonical spelling.

        Raises:
            UsageError: a name is unknown, or a number is out of range.
        """
        for name in ("tasks", "models", "ablations"):
            names = getattr(self, name)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"{option(name)} names '{twice}' twice; name it once.")
        for task in self.tasks:
            if task not in TASKS:
                raise UsageError(
                    f"{option('tasks')}: unknown task '{task}'{nearest(task, TASKS)}; choose from "
                    f"{', '.join(TASKS)}, separated by commas."
                )
        if not self.tasks:
            raise UsageError(f"{option('tasks')} is empty; name at least one, e.g. mrpc,rte.")
        for name in ("seeds", "epochs"):
            value = getattr(self, name)
            if value < 1:
                raise UsageError(f"{option(name)} is {value}; it must be at least 1.")
            if value > _MOST:
                raise UsageError(f"{option(name)} is {value}; it must be at most {_MOST:,}.")
        if self.size not in SIZES:
            raise UsageError(
                f"{option('size', self.size)}: not a preset{nearest(self.size, SIZES)}; choose "
                f"one of {', '.join(SIZES)}."
            )
        if max(phase.length for phase in self.phases) > POSITIONS:
            raise UsageError(
                f"{option('phases')} has sequences of "
                f"{max(phase.length for phase in self.phases)} tokens, but the presets have only "
                f"{POSITIONS} positions; shorten the phase."
            )
        for system in self.systems:
            self.pretraining(system, self.size, steps=1)
        if self.limit is not None and self.minimal_pairs is None:
            raise UsageError(
                f"{option('limit')} works only with {option('minimal_pairs')}; add it, or remove "
                f"{option('limit')}."
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"{option('limit')} is {self.limit}; it must be at least 1.")
        if self.hours is not None and self.budget:
            raise UsageError(
                f"{option('hours')} limits the whole comparison, {option('budget')} each "
                "pre-training; give only one of them."
            )
        if self.hours is not None and not 0 < self.hours <= _MOST_HOURS:
            raise UsageError(
                f"{option('hours')} is {self.hours:g}; it must be above 0 and at most "
                f"{_MOST_HOURS:,}."
            )
        if not self.budget:
            return self
        # A resume then compares budgets, not spellings.
        return msgspec.structs.replace(self, budget=str(Budget.parse(self.budget)))
