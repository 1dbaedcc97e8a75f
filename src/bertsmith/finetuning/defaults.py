"""The settings of a fine-tuning by task, model and data, checked, and the grids of a sweep."""

import math
from collections.abc import Collection
from itertools import product
from typing import Any

import msgspec

from bertsmith.core.errors import UsageError, option
from bertsmith.core.storage import describe_validation
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.pretraining.config import BASE_WIDTH, GREATEST_RATE
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.text.tokenizer.encode import greatest_overlap

# Small data: bias-corrected AdamW, warm-up over a tenth and more steps than three epochs give
# (Mosbach et al. 2021: 20 epochs on RTE; Zhang et al. 2021: on few examples train for more steps).
_WISHED_STEPS = 1000
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 20
_SHORTEST = 8
"""Tokens: a pair's three special ones and some text."""
# More than anybody means: a slip of the finger, or the wish for as many as still help.
_ENDLESS_EPOCHS = 10_000
_ENDLESS_BATCH = 1024
# The small relatives of base want larger rates (Google's README on them), the two smallest the
# largest of Google's grid: docs/log.md has what we measured.
_SMALLEST_WIDTH = 256

SWEPT = ("learning_rate", "batch_size", "epochs")
"""What a sweep varies."""
_Grid = tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]
_GRID: _Grid = ((5e-5, 4e-5, 3e-5, 2e-5), (16, 32), (2, 3, 4))
_WIDER_GRID: _Grid = ((3e-4, 1e-4, 5e-5, 3e-5), (8, 16, 32, 64, 128), (4,))
# A network of its own on states that stay as they are learns at a BiLSTM's pace.
_RATE_ON_FROZEN = 1e-3
_GRID_ON_FROZEN: _Grid = ((3e-3, 1e-3, 3e-4), (8, 16, 32), ())


def finetune_config(
    *,
    task: str,
    kind: str,
    model: str,
    width: int,
    positions: int,
    examples: int,
    frozen_encoder: bool = False,
    **settings: Any,
) -> FinetuneConfig:
    """The defaults for this model and data, the user's settings over them (None keeps a default).

    Args:
        task: as `FinetuneConfig.task`.
        kind: of the task.
        model: folder or name of the model.
        width: of the model (D).
        positions: longest input that the model reads.
        examples: of the training part, or its windows.
        frozen_encoder: whether the model stays as it is if nothing else is said.
        settings: values of `FinetuneConfig`'s fields.

    Raises:
        UsageError: a value is out of range, or means nothing for this kind of task.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    usual = kind_named(kind).usual
    batch_size = given.get("batch_size", usual.batch_size)
    if batch_size < 1:
        raise UsageError(f"{option('batch_size')} is {batch_size}; it must be at least 1.")
    max_length = given.get("max_length", min(usual.max_length, positions))
    wished = math.ceil(_WISHED_STEPS * batch_size / max(examples, 1))
    defaults: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": _usual_rate(width),
        "epochs": min(max(wished, _FEWEST_EPOCHS), _MOST_EPOCHS),
        "max_length": max_length,
        # Windows of any length overlap by the same share.
        "stride": max_length * usual.stride // usual.max_length,
    }
    if frozen_encoder:
        defaults["frozen"] = True
    if given.get("features") or given.get("frozen", defaults.get("frozen")):
        defaults["learning_rate"] = _RATE_ON_FROZEN
    values = {"task": task, "kind": kind, "model": model} | defaults | given
    try:
        config = msgspec.convert(values, FinetuneConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"{describe_validation(error, FinetuneConfig)}.") from error
    _check(config, positions)
    _check_used(config, given)
    if config.batch_size > max(examples, _ENDLESS_BATCH):
        raise UsageError(
            f"{option('batch_size')} is {config.batch_size}, but an epoch has {examples} "
            f"examples; give {max(examples, 1)} to take all of them in one step, or fewer."
        )
    return config


def _usual_rate(width: int) -> float:
    if width >= BASE_WIDTH:
        return 3e-5
    return 1e-4 if width > _SMALLEST_WIDTH else 3e-4


def grid(
    config: FinetuneConfig, *, width: int, fixed: Collection[str] = ()
) -> list[FinetuneConfig]:
    """What a sweep tries: every combination, values that are `fixed` staying the config's own.

    The paper's (appendix A.3) for models of its sizes; Google's wider one (README of the small
    models: rates up to 3e-4, batches from 8 to 128, 4 epochs) for smaller ones; larger rates and
    the config's epochs where the encoder is frozen. The config itself is among them: small data may
    want more epochs than any grid has.
    """
    choices = _GRID if width >= BASE_WIDTH else _WIDER_GRID
    if config.features or config.frozen:
        choices = _GRID_ON_FROZEN
    axes = [
        (getattr(config, name),) if name in fixed or not values else values
        for name, values in zip(SWEPT, choices, strict=True)
    ]
    points = [
        msgspec.structs.replace(config, **dict(zip(SWEPT, point, strict=True)))
        for point in product(*axes)
    ]
    return points if config in points else [config, *points]


def _check(config: FinetuneConfig, positions: int) -> None:
    def require(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{option(name)} is {getattr(config, name)}; it must be {expected}.")

    rate = config.learning_rate
    require(0 < rate <= GREATEST_RATE, "learning_rate", f"above 0 and at most {GREATEST_RATE:g}")
    for name in ("epsilon", "max_grad_norm"):
        value = getattr(config, name)
        require(math.isfinite(value) and value > 0, name, "above 0 and finite")
    require(config.epochs >= 1, "epochs", "at least 1")
    require(config.max_length >= _SHORTEST, "max_length", f"at least {_SHORTEST}")
    for name in ("steps", "patience", "seed", "micro_tokens", "stride"):
        require(getattr(config, name) >= 0, name, "at least 0")
    for name in ("warmup_ratio", "dropout", "beta1", "beta2"):
        require(0 <= getattr(config, name) < 1, name, "at least 0 and below 1")
    hours = config.hours
    lasts = math.isfinite(hours) and hours * 3600 >= 1
    require(lasts or hours == 0, "hours", "0, or at least a second (0.0003) and finite")
    decay = config.weight_decay
    require(math.isfinite(decay) and decay >= 0, "weight_decay", "at least 0 and finite")
    if config.epochs > _ENDLESS_EPOCHS:
        raise UsageError(
            f"{option('epochs')} is {config.epochs}; it must be at most {_ENDLESS_EPOCHS}: to "
            f"train for as long as it helps, give for instance {option('epochs', 100)} "
            f"{option('patience', 5)}."
        )
    if config.max_length > positions:
        raise UsageError(
            f"{option('max_length')} is {config.max_length}, but the model reads "
            f"{positions} tokens at most; give {positions} or less."
        )
    overlap = greatest_overlap(config.max_length)
    if config.stride > overlap:
        raise UsageError(
            f"{option('stride')} is {config.stride}, but windows of {config.max_length} tokens may "
            f"overlap by {overlap} at most; give {overlap} or less."
        )
    kind = kind_named(config.kind)
    if config.class_weights == "balanced" and "class_weights" not in kind.settings:
        raise UsageError(
            f"{option('class_weights', 'balanced')} is for classes; task '{config.task}' has none. "
            "Remove it."
        )
    if config.features and "features" not in kind.settings:
        raise UsageError(
            f"{option('features')} trains a BiLSTM on a frozen encoder for token classification "
            f"(paper, section 5.3), not for task '{config.task}'; remove it."
        )
    if config.features and config.bilstm:
        raise UsageError(
            f"{option('bilstm')} and {option('features')} both add a BiLSTM; give only one of them."
        )


def _check_used(config: FinetuneConfig, given: Collection[str]) -> None:
    """Refuses settings that would have no effect."""
    long_texts = kind_named(config.kind).long_texts
    if "long_texts" in given and long_texts != "choice":
        how = "truncates them" if long_texts == "truncate" else "always slides windows over them"
        raise UsageError(
            f"{option('long_texts')} does not apply to '{config.kind}', which {how}; remove it."
        )
    truncates = "truncate" in (long_texts, config.long_texts) and long_texts != "windows"
    if "stride" in given and truncates:
        windows = f"add {option('long_texts', 'windows')}, or remove it"
        raise UsageError(
            f"{option('stride')} is for sliding windows, but long texts are truncated; "
            f"{'remove it' if long_texts == 'truncate' else windows}."
        )
    if "combine" in given and not config.features:
        raise UsageError(
            f"{option('combine')} combines the layers of {option('features')}; give those too, or "
            "remove it."
        )
