"""What a comparison does: which systems, on what, under which budget. Written as `plan.json`."""

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
"""Tokens that a preset of each architecture reads."""
# Twenty evaluations of a short run must not cost more than the training.
_EVALUATED = 256
# Seeds, and epochs; more than anybody means.
_MOST = 1000
_MOST_HOURS = 10**5
HOURS = 2.0
"""For everything, where nothing is said."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a comparison computes."""

    corpus: str
    """Folder written by `bertsmith prepare`; its tokenizer is everybody's."""
    tasks: tuple[str, ...]
    """Rows of the table of tasks."""
    data: str
    """Folder of the tasks' official files."""
    models: tuple[str, ...] = tuple(MODELS)
    ablations: tuple[str, ...] = ()
    hours: float | None = None
    """For everything; None: `budget` was given."""
    budget: str = ""
    """What each pre-training gets (see `Budget.parse`); empty until it is planned from `hours`."""
    seeds: int = 3
    """Fine-tunings of each system on each task."""
    minimal_pairs: str | None = None
    """A `.jsonl` file, or a folder of them, on which the pre-trained models are scored."""
    limit: int | None = None
    """Of the minimal pairs: the first so many of each paradigm; None: all."""
    size: str = "mini"
    """A preset: the BERT's, which the others are matched to."""
    batch_size: int | None = None
    """Sequences of a pre-training step; None: the recipe's."""
    phases: tuple[Phase, ...] = (Phase(1.0, 128),)
    learning_rate: float | None = None
    """Of the pre-trainings; None: the recipe's for each, by its width."""
    epochs: int = 3
    """Of the fine-tunings."""
    seed: int = 0

    @property
    def systems(self) -> list[System]:
        """What is compared."""
        return chosen(self.models, self.ablations)

    def pretraining(self, system: System, size: str, **length: Any) -> PretrainConfig:
        """A system's settings; `length` is its `steps` or its `hours`."""
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
        """The same with paths that mean the same wherever they are read."""
        paths = {
            name: str(Path(path).resolve())
            for name in ("corpus", "data", "minimal_pairs")
            if (path := getattr(self, name)) is not None
        }
        return msgspec.structs.replace(self, **paths)

    def check(self) -> "Plan":
        """Refuses what cannot be compared; returns it with its budget spelled one way.

        Raises:
            UsageError: an unknown name, or a number out of range.
        """
        for name in ("tasks", "models", "ablations"):
            names = getattr(self, name)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"{option(name)} names '{twice}' twice; name it once.")
        for task in self.tasks:
            if task not in TASKS:
                raise UsageError(
                    f"{option('tasks')}: '{task}' is none{nearest(task, TASKS)}; choose from "
                    f"{', '.join(TASKS)}, with commas between them."
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
                f"{option('phases')} asks for sequences of "
                f"{max(phase.length for phase in self.phases)} tokens, but the presets have "
                f"{POSITIONS} positions; shorten the phase."
            )
        for system in self.systems:
            self.pretraining(system, self.size, steps=1)
        if self.limit is not None and self.minimal_pairs is None:
            raise UsageError(
                f"{option('limit')} is of minimal pairs; give {option('minimal_pairs')}, or "
                "leave it out."
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"{option('limit')} is {self.limit}; it must be at least 1.")
        if self.hours is not None and self.budget:
            raise UsageError(
                f"{option('hours')} is for everything, {option('budget')} for each pre-training; "
                "give one of them."
            )
        if self.hours is not None and not 0 < self.hours <= _MOST_HOURS:
            raise UsageError(
                f"{option('hours')} is {self.hours:g}; it must be above 0 and at most "
                f"{_MOST_HOURS:,}."
            )
        if not self.budget:
            return self
        # As everybody would write it, so that a resume compares budgets and not spellings.
        return msgspec.structs.replace(self, budget=str(Budget.parse(self.budget)))
