"""Shapes of the three systems with as many parameters as each other, within 5%."""

import torch

from bertsmith.checkpoints.folder import parameter_count
from bertsmith.core.errors import UsageError, option
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig

_CLOSE = 0.05
# A small ELMo's characters: as published up to 4 of them together, which are most of a word piece.
_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128))
_ROUND = 8


def matched_shapes(size: str, *, vocab_size: int) -> dict[FamilyName, ModelConfig]:
    """The BERT of a preset, and a GPT and an ELMo of like size.

    GPT has the preset's layers and width. ELMo is half as wide a direction, so that both together
    have BERT's width, and its LSTMs take the parameters that are left.

    Raises:
        UsageError: `size` is no preset, or no ELMo or GPT comes within 5% of its BERT.
    """
    bert = BertConfig.named(size, vocab_size=vocab_size)
    wanted = count_parameters(bert)
    shapes: dict[FamilyName, ModelConfig] = {
        "bert": bert,
        "gpt": GptConfig.named(size, vocab_size=vocab_size),
        "elmo": _elmo(bert, wanted),
    }
    for name, shape in shapes.items():
        found = count_parameters(shape)
        if abs(found - wanted) > _CLOSE * wanted:
            raise UsageError(
                f"{option('size', size)} with a vocabulary of {vocab_size:,}: the {name} would "
                f"have {found:,} parameters, the BERT has {wanted:,}, which differ by more than "
                "5%; choose another size, or train a larger vocabulary."
            )
    return shapes


def count_parameters(shape: ModelConfig, *, pair_task: bool = True) -> int:
    """Of the model with its pre-training heads, nothing of it being made."""
    with torch.device("meta"):
        return parameter_count(build(shape, pieces=(), pair_task=pair_task))


def _elmo(bert: BertConfig, wanted: int) -> ElmoConfig:
    def shape(lstm_width: int) -> ElmoConfig:
        return ElmoConfig(
            vocab_size=bert.vocab_size,
            filters=_FILTERS,
            projection=bert.hidden_size // 2,
            lstm_width=lstm_width,
        )

    # Parameters rise in proportion to the width.
    narrow, wide = (count_parameters(shape(width)) for width in (_ROUND, 2 * _ROUND))
    units = round((wanted - narrow) / (wide - narrow)) + 1
    return shape(_ROUND * max(1, units))
