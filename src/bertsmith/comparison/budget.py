"""The budget of each pre-training."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from bertsmith.core.errors import UsageError, option
from bertsmith.pretraining.config import ENDLESS_STEPS
from bertsmith.reports.language import t

Unit = Literal["tokens", "flops", "hours"]
UNITS: tuple[Unit, ...] = ("tokens", "flops", "hours")


@dataclass(frozen=True)
class Budget:
    """The budget of every pre-training."""

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `tokens=5e6`, `flops=1e14` or `hours=0.1`.

        Raises:
            UsageError: the text has another form, or the amount is not positive.
        """
        name, _, number = text.partition("=")
        unit = next((unit for unit in UNITS if unit == name.strip()), None)
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if unit is None or not 0 < amount < float("inf"):
            raise UsageError(
                f"{option('budget')} is '{text}', expected the budget of each pre-training, such "
                "as tokens=5e6, flops=1e14 or hours=0.1."
            )
        return cls(unit, amount)

    @property
    def description(self) -> str:
        """E.g. `5,000,000 tokens`, in the current language."""
        if self.unit == "hours":
            return t("{amount:g} hours", amount=self.amount)
        if self.unit == "tokens":
            return t("{amount:,.0f} tokens", amount=self.amount)
        return t("{amount:.3g} operations", amount=self.amount)

    def __str__(self) -> str:
        return f"{self.unit}={self.amount:g}"


def steps_of(budget: Budget, *, tokens: float, flops: float, least: float) -> int:
    """The number of steps that a budget in tokens or operations pays for.

    Args:
        budget: a budget in tokens or flops.
        tokens: mean tokens per step.
        flops: mean operations per step.
        least: tokens of one evaluation.

    Raises:
        UsageError: the budget is smaller than one evaluation, or absurdly large.
    """
    cost = {"tokens": tokens, "flops": flops}[budget.unit]
    if budget.amount / cost > ENDLESS_STEPS:
        raise UsageError(
            f"{option('budget', budget)} is {budget.amount / cost:.0e} steps of {tokens:.0f} "
            f"tokens and {flops:.1e} operations, which never end; give less."
        )
    steps = round(budget.amount / cost)
    if steps * tokens < least:
        needed = math.ceil(least / tokens) * cost
        rounding = 10 ** (math.floor(math.log10(needed)) - 1)
        raise UsageError(
            f"{option('budget', budget)} is only {steps} steps, fewer tokens than one evaluation "
            f"reads; give at least {budget.unit}={math.ceil(needed / rounding) * rounding:.2g}."
        )
    return steps
