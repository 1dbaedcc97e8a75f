"""How much each system may be trained, and what a step of it costs.

Floating-point operations are counted as the papers count them: two for a multiplication and its
addition in a matrix product, three times the forward pass for a training step; sums, norms and
activations are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from bertsmith.core.errors import UsageError, option
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import ModelConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import TextBatch
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


@dataclass(frozen=True)
class Step:
    """What a training step holds, on average."""

    tokens: float
    sequences: float
    word_predictions: float
    """Of all word objectives together."""
    squares: float
    """Sum of the squares of the sequences' lengths: pairs of tokens that attend."""
    distinct: float
    """Different tokens, whose characters ELMo reads once."""

    @classmethod
    def mean(cls, steps: Sequence[Sequence[TextBatch]]) -> Self:
        """Over the micro-batches of some steps."""
        batches = [batch for step in steps for batch in step]
        lengths = [length for batch in batches for length in batch.packed.lengths]
        predictions = sum(
            count for batch in batches for name, count in batch.counts.items() if name != "nsp"
        )
        return cls(
            tokens=sum(lengths) / len(steps),
            sequences=len(lengths) / len(steps),
            word_predictions=predictions / len(steps),
            squares=sum(length**2 for length in lengths) / len(steps),
            distinct=sum(len(set(batch.packed.ids_T.tolist())) for batch in batches) / len(steps),
        )


def training_flops(shape: ModelConfig, step: Step) -> float:
    """Floating-point operations of one training step."""
    match shape:
        case BertConfig():
            inner, layers = shape.intermediate_size, shape.num_hidden_layers
            forward = _transformer(shape.hidden_size, inner, layers, step)
            transform = shape.hidden_size**2
        case GptConfig():
            forward = _transformer(shape.n_embd, 4 * shape.n_embd, shape.n_layer, step)
            transform = 0
        case ElmoConfig():
            forward = _elmo(shape, step)
            transform = 0
    width = shape.projection if isinstance(shape, ElmoConfig) else shape.hidden_size
    words = 2 * step.word_predictions * (width * shape.vocab_size + transform)
    return _FORWARD_AND_BACKWARD * (forward + words)


def _transformer(width: int, inner: int, layers: int, step: Step) -> float:
    # The last layer's output and feed-forward are computed where something is predicted only.
    block = 3 * width**2 * layers
    rest = width**2 + 2 * width * inner
    rows = min(step.tokens, step.word_predictions + step.sequences)
    products = step.tokens * block + rest * ((layers - 1) * step.tokens + rows)
    return 2 * products + 4 * layers * width * step.squares


def _elmo(shape: ElmoConfig, step: Step) -> float:
    filters = sum(count for _, count in shape.filters)
    # Words are far shorter than the longest; ten characters stand for one.
    convolutions = 10 * shape.char_width * sum(wide * count for wide, count in shape.filters)
    token = convolutions + 2 * shape.highways * filters**2 + filters * shape.projection
    cell = 2 * shape.projection * 4 * shape.lstm_width + shape.lstm_width * shape.projection
    return 2 * (step.distinct * token + 2 * shape.lstm_layers * cell * step.tokens)


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
