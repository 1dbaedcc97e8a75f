"""Settings of a fine-tuning, their defaults, and the grids that a sweep goes through."""

import math
from collections.abc import Collection
from itertools import product
from typing import Any, Literal

import msgspec

from bertsmith.config import Kind, Precision
from bertsmith.errors import UsageError
from bertsmith.files import describe_validation

Weights = Literal["none", "balanced"]
Long = Literal["cut", "windows"]
Combine = Literal["concat", "sum"]


class FinetuneConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what one fine-tuning run computes, fully resolved.

    Written as `finetune.json` beside the run; a resume compares it field by field.
    """

    task: str
    """A row of the table of tasks, or the kind of the user's own files."""
    kind: Kind
    model: str
    """Folder of the model that is fine-tuned."""
    batch_size: int
    """Examples per optimizer step, over all processes."""
    learning_rate: float
    epochs: int
    longest: int
    """Most tokens of an input."""
    stride: int
    """Pieces from the start of one window to the start of the next."""
    long: Long = "cut"
    """What `classify` and `regress` do with longer texts."""
    warmup: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    clip_norm: float = 1.0
    dropout: float = 0.1
    weights: Weights = "none"
    """`balanced`: every class counts as much as every other in the loss, however rare."""
    patience: int = 0
    """Epochs without a better dev score after which a run stops; 0: it never stops early."""
    features: tuple[int, ...] = ()
    """Layers of the frozen encoder that are the features (`tag` only); empty: all is fine-tuned."""
    combine: Combine = "concat"
    """How the layers become one."""
    seed: int = 0
    precision: Precision = "auto"
    micro_tokens: int = 0
    """Tokens computed at once (a memory and cache setting); 0 chooses by device."""


# Small data: bias-corrected AdamW, warm-up over a tenth and more steps than three epochs give
# (Mosbach et al. 2021: 20 epochs on RTE; Zhang et al. 2021: on few examples train for more steps).
_WISHED_STEPS = 1000
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 20
# What the paper calls base; its small relatives want larger rates (Google's README on them).
_BASE_WIDTH = 768

_Grid = tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]
# Learning rates, batch sizes and epochs.
_GRID: _Grid = ((5e-5, 4e-5, 3e-5, 2e-5), (16, 32), (2, 3, 4))
_WIDER_GRID: _Grid = ((3e-4, 1e-4, 5e-5, 3e-5), (8, 16, 32, 64, 128), (4,))

_BATCH_SIZE: dict[Kind, int] = {"classify": 16, "regress": 16, "choose": 16, "tag": 8, "answer": 16}
_LONGEST: dict[Kind, int] = {
    "classify": 512,
    "regress": 512,
    "choose": 512,
    "tag": 256,
    "answer": 384,
}
_STRIDE: dict[Kind, int] = {
    "classify": 384,
    "regress": 384,
    "choose": 384,
    "tag": 128,
    "answer": 128,
}


def finetune_config(
    *, task: str, kind: Kind, model: str, width: int, positions: int, examples: int, **flags: Any
) -> FinetuneConfig:
    """The defaults for this model and data with the user's flags over them (None keeps a default).

    Args:
        task: as `FinetuneConfig.task`.
        kind: of the task.
        model: folder of the model.
        width: of the model (D).
        positions: longest input that the model reads.
        examples: of the training part, or its windows.
        flags: values of `FinetuneConfig`'s fields.

    Raises:
        UsageError: a value is out of range.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    batch_size = given.get("batch_size", _BATCH_SIZE[kind])
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}; it must be at least 1.")
    longest = given.get("longest", min(_LONGEST[kind], positions))
    wished = math.ceil(_WISHED_STEPS * batch_size / max(examples, 1))
    defaults: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": 3e-5 if width >= _BASE_WIDTH else 1e-4,
        "epochs": min(max(wished, _FEWEST_EPOCHS), _MOST_EPOCHS),
        "longest": longest,
        # Windows of any length overlap by the same share.
        "stride": max(1, longest * _STRIDE[kind] // _LONGEST[kind]),
    }
    if given.get("features"):
        # A head of its own on features that stay as they are learns at a BiLSTM's pace.
        defaults |= {"learning_rate": 1e-3}
    values = {"task": task, "kind": kind, "model": model} | defaults | given
    try:
        config = msgspec.convert(values, FinetuneConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"A setting: {describe_validation(error, FinetuneConfig)}.") from error
    _check(config, positions)
    return config


def grid(
    config: FinetuneConfig, *, width: int, fixed: Collection[str] = ()
) -> list[FinetuneConfig]:
    """Every combination that a sweep tries; values that are `fixed` stay the config's own.

    The paper's (appendix A.3) for models of its sizes; Google's wider one (README of the small
    models: rates up to 3e-4, batches from 8 to 128, 4 epochs) for smaller ones.
    """
    choices = _GRID if width >= _BASE_WIDTH else _WIDER_GRID
    names = ("learning_rate", "batch_size", "epochs")
    axes = [
        (getattr(config, name),) if name in fixed else values
        for name, values in zip(names, choices, strict=True)
    ]
    return [
        msgspec.structs.replace(config, **dict(zip(names, point, strict=True)))
        for point in product(*axes)
    ]


def _check(config: FinetuneConfig, positions: int) -> None:
    def require(holds: bool, name: str, expected: str) -> None:
        if not holds:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(config, name)}; it must be {expected}.")

    for name in ("learning_rate", "epsilon", "clip_norm"):
        value = getattr(config, name)
        require(math.isfinite(value) and value > 0, name, "above 0")
    for name in ("epochs", "longest", "stride"):
        require(getattr(config, name) >= 1, name, "at least 1")
    for name in ("patience", "seed", "micro_tokens"):
        require(getattr(config, name) >= 0, name, "at least 0")
    for name in ("warmup", "dropout", "beta1", "beta2"):
        require(0 <= getattr(config, name) < 1, name, "at least 0 and below 1")
    require(config.weight_decay >= 0, "weight_decay", "at least 0")
    if config.longest > positions:
        raise UsageError(
            f"--longest is {config.longest}, but the model reads {positions} tokens at most; give "
            f"{positions} or less."
        )
    if config.weights == "balanced" and config.kind != "classify":
        raise UsageError(
            f"--weights balanced is for classes; task '{config.task}' has none: leave it out."
        )
    if config.features and config.kind != "tag":
        raise UsageError(
            "--features trains a BiLSTM on a frozen encoder, which is for tagging (paper, section "
            f"5.3); task '{config.task}' is not: leave it out."
        )
    if config.long == "windows" and config.kind == "choose":
        raise UsageError("--long windows is not for choices; leave it out, or shorten the texts.")
