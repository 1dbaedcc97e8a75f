"""How much each system may be trained, and what a step of it costs.

A training step is three times its forward pass (`models.operations`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from bertsmith.core.errors import UsageError, option
from bertsmith.models.config import ModelConfig
from bertsmith.models.modules.packed import TextBatch
from bertsmith.models.operations import Step
from bertsmith.pretraining.config import ENDLESS_STEPS

Unit = Literal["tokens", "flops", "hours"]
UNITS: tuple[Unit, ...] = ("tokens", "flops", "hours")

_FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True)
class Budget:
    """What every pre-training gets."""

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`tokens=5e6`, `flops=1e14` or `hours=0.1`.

        Raises:
            UsageError: it is written otherwise, or is nothing.
        """
        name, _, number = text.partition("=")
        unit = next((unit for unit in UNITS if unit == name.strip()), None)
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if unit is None or not 0 < amount < float("inf"):
            raise UsageError(
                f"{option('budget')} is '{text}'; write what each pre-training gets: tokens=5e6, "
                "flops=1e14 or hours=0.1."
            )
        return cls(unit, amount)

    @property
    def told(self) -> str:
        """For people."""
        if self.unit == "hours":
            return f"{self.amount:g} hours"
        if self.unit == "tokens":
            return f"{self.amount:,.0f} tokens"
        return f"{self.amount:.3g} operations"

    def __str__(self) -> str:
        return f"{self.unit}={self.amount:g}"


def mean_step(steps: Sequence[Sequence[TextBatch]]) -> Step:
    """What a step holds, the mean over the micro-batches of some."""
    batches = [batch for step in steps for batch in step]
    lengths = [length for batch in batches for length in batch.packed.lengths]
    predictions = sum(
        count for batch in batches for name, count in batch.counts.items() if name != "nsp"
    )
    return Step(
        tokens=sum(lengths) / len(steps),
        sequences=len(lengths) / len(steps),
        word_predictions=predictions / len(steps),
        squares=sum(length**2 for length in lengths) / len(steps),
        distinct=sum(len(set(batch.packed.ids_T.tolist())) for batch in batches) / len(steps),
    )


def training_flops(config: ModelConfig, step: Step) -> float:
    """Floating-point operations of one training step."""
    return _FORWARD_AND_BACKWARD * config.forward_operations(step)


def steps_of(budget: Budget, *, tokens: float, flops: float, least: float) -> int:
    """Steps that a budget in tokens or operations pays for.

    Args:
        budget: of tokens or flops.
        tokens: of a step, on average.
        flops: of a step, on average.
        least: tokens of one evaluation.

    Raises:
        UsageError: it does not pay for as many tokens as one evaluation reads.
    """
    cost = {"tokens": tokens, "flops": flops}[budget.unit]
    if budget.amount / cost > ENDLESS_STEPS:
        raise UsageError(
            f"{option('budget', budget)} is {budget.amount / cost:.0e} steps, more than anybody "
            f"can wait for; a step here has {tokens:.0f} tokens and {flops:.1e} operations: give "
            "less."
        )
    steps = round(budget.amount / cost)
    if steps * tokens < least:
        needed = math.ceil(least / tokens) * cost
        rounding = 10 ** (math.floor(math.log10(needed)) - 1)
        raise UsageError(
            f"{option('budget', budget)} pays for {steps} steps, fewer tokens than one evaluation "
            f"reads; give at least {budget.unit}={math.ceil(needed / rounding) * rounding:.2g}."
        )
    return steps
