"""Contents and cost of a training step: three forward passes (`models.operations`)."""

from collections.abc import Sequence

from bertsmith.models.config import ModelConfig
from bertsmith.models.modules.packed import TextBatch
from bertsmith.models.operations import Step

_FORWARD_AND_BACKWARD = 3


def mean_step(steps: Sequence[Sequence[TextBatch]]) -> Step:
    """Mean contents of a step, over the micro-batches of some steps."""
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
