"""Shapes of the three systems with as many parameters as each other, within 5%."""

import torch

from bertsmith.checkpoints.folder import parameter_count
from bertsmith.core.errors import UsageError, option
from bertsmith.models.config import DEFAULT_FAMILY, FamilyName, ModelConfig
from bertsmith.models.config_files import CONFIGS
from bertsmith.models.family import build

_CLOSE = 0.05


def matched_configs(size: str, *, vocab_size: int) -> dict[FamilyName, ModelConfig]:
    """The BERT of a preset, and a GPT and an ELMo of like size.

    GPT has the preset's layers and width. ELMo is half as wide a direction, so that both together
    have BERT's width, and its LSTMs take the parameters that are left.

    Raises:
        UsageError: `size` is no preset, or no ELMo or GPT comes within 5% of its BERT.
    """
    reference = CONFIGS[DEFAULT_FAMILY].named(size, vocab_size=vocab_size)
    wanted = count_parameters(reference)
    model_configs: dict[FamilyName, ModelConfig] = {
        name: reference
        if name == reference.family
        else config.matched(size, reference, count_parameters)
        for name, config in CONFIGS.items()
    }
    for name, model_config in model_configs.items():
        found = count_parameters(model_config)
        if abs(found - wanted) > _CLOSE * wanted:
            raise UsageError(
                f"{option('size', size)} with a vocabulary of {vocab_size:,}: the {name} would "
                f"have {found:,} parameters, the BERT has {wanted:,}, which differ by more than "
                "5%; choose another size, or train a larger vocabulary."
            )
    return model_configs


def count_parameters(model_config: ModelConfig, *, pair_task: bool = True) -> int:
    """Of the model with its pre-training heads, nothing of it being made."""
    with torch.device("meta"):
        return parameter_count(build(model_config, pieces=(), pair_task=pair_task))
