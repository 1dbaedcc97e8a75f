"""Configs of the three models with the same number of parameters, within 5%."""

import torch

from bertsmith.checkpoints.folder import parameter_count
from bertsmith.core.errors import UsageError, option
from bertsmith.models.config import DEFAULT_FAMILY, FamilyName, ModelConfig
from bertsmith.models.config_files import CONFIGS
from bertsmith.models.family import build

_CLOSE = 0.05


def matched_configs(size: str, *, vocab_size: int) -> dict[FamilyName, ModelConfig]:
    """The BERT of a preset, and a GPT and an ELMo of the same size.

    GPT has the preset's layers and width. Each direction of ELMo has half BERT's width, and its
    LSTMs use the remaining parameters.

    Raises:
        UsageError: `size` is not a preset, or no ELMo or GPT comes within 5% of its BERT.
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
                f"{option('size', size)} with a vocabulary of {vocab_size:,}: {name} would have "
                f"{found:,} parameters and bert {wanted:,}, which differ by more than 5%; choose "
                "another size, or train a larger vocabulary."
            )
    return model_configs


def count_parameters(model_config: ModelConfig, *, pair_task: bool = True) -> int:
    """Parameters of a model with its pre-training heads, counted without allocating it."""
    with torch.device("meta"):
        return parameter_count(build(model_config, pieces=(), pair_task=pair_task))
