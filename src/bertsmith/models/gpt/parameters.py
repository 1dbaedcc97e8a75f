"""The one table between a GPT's parameter names here and in `transformers`, used both ways.

Their linear layers are `Conv1D`, whose weight lies the other way round.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from bertsmith.models.bert import parameters
from bertsmith.models.bert.parameters import Row, with_bias

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
REPEATED = {"lm_head.weight": "transformer.tokens_embed.weight"}
# Masks and place numbers, which old files hold beside the parameters.
_BUFFERS = (".attn.bias", "position_ids")
_BARE = ("tokens_embed.", "positions_embed.", "h.")
_ANCHOR = re.compile(r"(.*?)(?:transformer\.)?tokens_embed\.weight")


def to_theirs(ours: dict[str, Tensor], *, layers: int) -> dict[str, Tensor]:
    """Our state under the names of `transformers`; every tensor is contiguous and on the CPU.

    Raises:
        KeyError: a parameter of ours stands in no row.
    """
    return _turned(parameters.to_theirs(ours, layers=layers, table=GPT))


def to_ours(theirs: dict[str, Tensor], *, layers: int, source: str) -> dict[str, Tensor]:
    """The state of a folder under our names; parts that the folder lacks are absent.

    Accepts the names that `names_in_file` does.

    Raises:
        FolderError: a parameter is left over, or the output weights differ from the embeddings.
    """
    names = names_in_file(theirs, source)
    left = {name: theirs[called] for name, called in names.items()}
    left = parameters.without_repeated(left, REPEATED, names, source=source, model="GPT")
    return parameters.renamed(_turned(left), GPT, layers=layers, source=source, model="GPT")


def names_in_file(names: Iterable[str], source: str) -> dict[str, str]:
    """As `keys.names_in_file`, of a GPT.

    A bare encoder's names have no `transformer.`; masks and place numbers are left out.

    Raises:
        FolderError: there are several encoders, or two names for one parameter.
    """
    found: dict[str, str] = {}
    for name, called in parameters.unwrapped(names, _ANCHOR, source).items():
        name = f"transformer.{name}" if name.startswith(_BARE) else name
        if name in found:
            raise parameters.twice(source, found[name], called)
        if not name.endswith(_BUFFERS):
            found[name] = called
    return parameters.with_originals(found, REPEATED)


def _turned(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `Conv1D` transposed, which is its own reverse."""
    return {
        name: value.mT.contiguous() if name.endswith(_CONV1D) else value
        for name, value in theirs.items()
    }
