"""Flags of the optimizer and the machine, shared by `pretrain` and `finetune`."""

from dataclasses import dataclass

from bertsmith.cli.command import Command
from bertsmith.cli.options import flag
from bertsmith.core.runtime import Precision


@dataclass(kw_only=True)
class TrainingOptions(Command):
    """The flags; one that is None was left out."""

    batch_size: int | None = flag(
        "Examples per optimizer step, over all processes.", group="Training", default=None
    )
    learning_rate: float | None = flag("Peak learning rate.", group="Training", default=None)
    warmup_ratio: float | None = flag(
        "Fraction of the run over which the learning rate rises.", group="Training", default=None
    )
    weight_decay: float | None = flag("AdamW's weight decay.", group="Training", default=None)
    dropout: float | None = flag(
        "Dropout probability, everywhere the paper has it.", group="Training", default=None
    )
    seed: int | None = flag("Random seed.", group="Training", default=None)
    precision: Precision | None = flag(
        "auto: bf16 where the hardware has it.", group="Training", default=None
    )
    micro_tokens: int | None = flag(
        "Maximum tokens per micro-batch; 0: chosen by device.", group="Training", default=None
    )
    shard: bool = flag(
        "Shard weights and optimizer state over the processes of torchrun (FSDP2).",
        group="Training",
        default=False,
    )
    resume: bool = flag("Continue an interrupted run.", group="Output", default=False)
