"""The one table between a GPT's parameter names here and in `transformers`, used both ways.

Their linear layers are `Conv1D`, whose weight lies the other way round.
"""

import torch
from torch import Tensor

from bertsmith.errors import FolderError
from bertsmith.models import keys
from bertsmith.models.keys import Row, with_bias

_LAYER = "transformer.h.{i}"

GPT: list[Row] = [
    ("gpt.embeddings.word.weight", ("transformer.tokens_embed.weight",)),
    ("gpt.embeddings.position.weight", ("transformer.positions_embed.weight",)),
    *with_bias("gpt.blocks.{i}.attention.qkv", f"{_LAYER}.attn.c_attn"),
    *with_bias("gpt.blocks.{i}.attention.output", f"{_LAYER}.attn.c_proj"),
    *with_bias("gpt.blocks.{i}.attention_norm", f"{_LAYER}.ln_1"),
    *with_bias("gpt.blocks.{i}.feed_forward.inner", f"{_LAYER}.mlp.c_fc"),
    *with_bias("gpt.blocks.{i}.feed_forward.output", f"{_LAYER}.mlp.c_proj"),
    *with_bias("gpt.blocks.{i}.feed_forward_norm", f"{_LAYER}.ln_2"),
    ("classifier.weight", ("score.weight",)),
    # `transformers` has no such head on this model; the name is that of its other models.
    *with_bias("span", "qa_outputs"),
]

_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
_TIED, _WORD = "lm_head.weight", "transformer.tokens_embed.weight"
# Masks and place numbers, which old files hold beside the parameters.
_BUFFERS = (".attn.bias", "position_ids")
_BARE = ("tokens_embed.", "positions_embed.", "h.")


def to_theirs(ours: dict[str, Tensor], *, layers: int) -> dict[str, Tensor]:
    """Our state under the names of `transformers`; every tensor is contiguous and on the CPU.

    Raises:
        KeyError: a parameter of ours stands in no row.
    """
    return _turned(keys.to_theirs(ours, layers=layers, table=GPT))


def to_ours(theirs: dict[str, Tensor], *, layers: int, source: str) -> dict[str, Tensor]:
    """The state of a folder under our names; parts that the folder lacks are absent.

    Accepts a bare encoder (names without `transformer.`), and the masks and place numbers of old
    releases, which are left out.

    Raises:
        FolderError: a parameter is left over, or the output weights differ from the embeddings.
    """
    left = {
        f"transformer.{name}" if name.startswith(_BARE) else name: value
        for name, value in theirs.items()
        if not name.endswith(_BUFFERS)
    }
    if _TIED in left and _WORD in left:
        if not torch.equal(left[_TIED], left[_WORD]):
            raise FolderError(
                f"{source}: {_TIED} differs from {_WORD}; bertsmith's GPT shares the two, as the "
                "paper's does, so this model cannot be loaded unchanged."
            )
        del left[_TIED]
    return keys.renamed(_turned(left), GPT, layers=layers, source=source, model="GPT")


def _turned(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `Conv1D` transposed, which is its own reverse."""
    return {
        name: value.mT.contiguous() if name.endswith(_CONV1D) else value
        for name, value in theirs.items()
    }
