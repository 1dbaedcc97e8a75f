"""Initial weights with which a model can look around from step 0 (recipe `modern`).

With weights drawn from one normal distribution, as the paper has them, a BERT spends its first
millions of tokens at the loss of guessing by frequency: until attention finds the neighbours of a
masked word there is nothing to learn from. The format does not ask for that. Only the values before
step 0 differ here; shapes, names and computation stay the same.

The columns of the embedding are divided: words | special tokens | segments |
positions. Then

1. *words* start from word vectors of the corpus (`word_vectors`), rows as long as drawn ones;
2. *positions* start as sinusoids. A head that rotates its queries against its keys is then a
   previous-token or a next-token head. (Learned positions come out sinusoidal, and heads that
   shift by one appear, at the end of the plateau: Yamamoto and Matsuzaki 2023.)
3. *a duplicate-token head* looks for the same word in the other segment;
4. *values and outputs* are large enough that what a head looks at arrives, and the neighbour heads
   copy it: a masked position ends up with the sum of its neighbours' vectors, which is CBOW's
   prediction (Mikolov et al. 2013). The MLM head passes it on;
5. *the output bias* starts at the logarithm of each piece's frequency.

Everything else keeps its drawn values.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.models.bert.model import Bert, BertEmbeddings
from bertsmith.models.config import ModelConfig
from bertsmith.models.family import Encoder, Pretrained, encoder_of, next_sentence_model
from bertsmith.models.gpt.model import Gpt
from bertsmith.models.modules.layers import Attention, Block, Stack

Role = Literal["previous token", "next token", "duplicate token"]
"""What a head looks for: the token before, the token after, or its word in the other segment."""

POSITION_COLUMNS = 16
"""Columns that hold positions: eight pairs of cosine and sine."""
FASTEST, SLOWEST = 2.0, 0.2
"""Radians per position of the first and the last pair, the others between them geometrically."""
_PARTS = 2.25
"""Squared length of an embedding's sum, where word and position have 1 each and the segment 1/4."""
PEAK = 12.0
"""Attention score of a neighbour head at the place that it looks for."""
COPIED = 1.0
"""How strongly a neighbour head adds what it looks at, against the token's own state of 1."""
DUPLICATE, NOTHING_FOUND = 16.0, 9.0
"""Attention scores of the duplicate-token head: at the same word and, for a word that the other
segment does not have, at that segment's special tokens."""
OTHER_SEGMENT = 12.0
"""What it adds to the score of every token of the other segment."""
PASSED_ON = 0.2
"""Diagonal of the MLM head's layer: small, so that GELU is nearly linear; the norm scales it up."""
_NARROWEST = 8
"""Width of the narrowest head that gets a role."""
FEWEST_COLUMNS = 2 * POSITION_COLUMNS
"""Width below which there is no room for columns apart, and the drawn weights are kept."""


@dataclass(frozen=True)
class Columns:
    """How the width D of the embedding is divided."""

    words: int
    """The first columns, up to this one."""
    pairs: bool
    """Whether three columns after the words are for pairs: one marks special tokens, two tell the
    segments apart."""
    positions: int
    """The first column of the positions, which are the last ones."""

    @classmethod
    def of(cls, width: int, *, pairs: bool) -> "Columns":
        """Of an embedding `width` wide."""
        positions = width - POSITION_COLUMNS
        return cls(positions - 3 * pairs, pairs, positions)


def word_columns(encoder: Encoder) -> int:
    """The rank of the word vectors that `structure_encoder` has room for; 0 if it wants none."""
    width = encoder.config.hidden_size
    if not isinstance(encoder, Stack) or width < FEWEST_COLUMNS:
        return 0
    return Columns.of(width, pairs=_has_pairs(encoder.config)).words


@torch.no_grad()
def structure(
    model: Pretrained,
    *,
    unigrams_V: Tensor,
    vectors_VR: NDArray[np.float32] | None,
    special_ids: Sequence[int],
    seed: int,
) -> None:
    """Gives a freshly drawn model its structured initial weights, in place.

    Args:
        model: as `architectures.build` made it.
        unigrams_V: int64 [V], how often each piece occurs.
        vectors_VR: word vectors of rank `word_columns`; None keeps the drawn words.
        special_ids: of `[CLS]` and `[SEP]`.
        seed: of the projection with which the head for pairs compares words.
    """
    structure_encoder(
        encoder_of(model),
        vectors_VR=vectors_VR,
        special_ids=special_ids,
        seed=seed,
        paired=next_sentence_model(model) is not None,
    )
    counts_V = unigrams_V.to(torch.float32) + 0.5
    log_frequency_V = (counts_V / counts_V.mean()).log()
    if model.output_bias is not None:
        model.output_bias.copy_(log_frequency_V)
    if model.transform_layer is not None and model.config.hidden_size >= FEWEST_COLUMNS:
        model.transform_layer.weight.copy_(PASSED_ON * torch.eye(model.config.hidden_size))


@torch.no_grad()
def structure_encoder(
    encoder: Encoder,
    *,
    vectors_VR: NDArray[np.float32] | None,
    special_ids: Sequence[int],
    seed: int,
    paired: bool,
) -> None:
    """As `structure`, of an encoder alone: a BERT or a GPT; an ELMo has nothing to look with.

    Args:
        encoder: freshly drawn.
        vectors_VR: as `structure` takes them.
        special_ids: likewise.
        seed: likewise.
        paired: whether inputs are pairs. What the duplicate-token head finds must then reach
            `[CLS]`, for which a layer above it is needed; so where the first layer has too few
            heads for all roles (`tiny` has two), it comes first instead of last.
    """
    if not isinstance(encoder, Stack) or encoder.config.hidden_size < FEWEST_COLUMNS:
        return
    causal = encoder.config.left_to_right
    pairs = _has_pairs(encoder.config)
    columns = Columns.of(encoder.config.hidden_size, pairs=pairs)
    _set_embeddings(encoder, columns, vectors_VR, list(special_ids))
    blocks = [block for block in encoder.blocks if isinstance(block, Block)]
    for block in blocks:
        deviation = encoder.config.hidden_size**-0.5
        _values(block.attention).normal_(0, deviation)
        block.attention.output.weight.normal_(0, deviation)
    generator = torch.Generator().manual_seed(seed)
    places = _places(len(blocks), blocks[0].attention.heads)
    roles = _roles(causal=causal, pairs=pairs)
    if paired and blocks[0].attention.heads < len(roles):
        roles.sort(key=lambda role: role != "duplicate token")
    for role, (layer, head) in zip(roles, places, strict=False):
        attention = blocks[layer].attention
        if len(_head(attention, head, 0)) < _NARROWEST:
            continue
        if role == "duplicate token":
            _look_for_duplicate(attention, head, columns, generator)
        else:
            shift = -1 if role == "previous token" else 1
            _look_beside(attention, head, columns, shift=shift, length=_position_length(encoder))
            _copy(attention, head, columns)


def _has_pairs(config: ModelConfig) -> bool:
    return config.reads_pairs and not config.left_to_right


def _roles(*, causal: bool, pairs: bool) -> list[Role]:
    if causal:
        return ["previous token"]
    neighbours: list[Role] = ["previous token", "next token"]
    return [*neighbours, "duplicate token"] if pairs else neighbours


def _places(layers: int, heads: int) -> Iterator[tuple[int, int]]:
    """Layer and head of each role in turn: the first layer's heads, then the second's."""
    return ((layer, head) for layer in range(layers) for head in range(heads))


# --- the embedding ------------------------------------------------------------------------------


def _set_embeddings(
    encoder: Bert | Gpt,
    columns: Columns,
    vectors_VR: NDArray[np.float32] | None,
    special_ids: list[int],
) -> None:
    word_VD, position_LD = encoder.embeddings.word.weight, encoder.embeddings.position.weight
    row_length = encoder.config.initializer_range * math.sqrt(columns.words)
    word_VD[:, columns.words :] = 0
    if vectors_VR is not None:
        found_VR = torch.as_tensor(vectors_VR, dtype=torch.float32)
        length_V1 = found_VR.norm(dim=1, keepdim=True)
        words_VR = word_VD[:, : columns.words]
        scaled_VR = found_VR * (row_length / length_V1.clamp_min(1e-12))
        words_VR.copy_(torch.where(length_V1 > 1e-6, scaled_VR, words_VR))
    angles_LF = torch.arange(len(position_LD))[:, None] * _frequencies()
    position_LD.zero_()
    position_LD[:, columns.positions :] = torch.cat([angles_LF.cos(), angles_LF.sin()], 1) * (
        row_length / math.sqrt(POSITION_COLUMNS / 2)
    )
    if isinstance(encoder.embeddings, BertEmbeddings):
        segment_SD = encoder.embeddings.segment.weight
        segment_SD.zero_()
        if columns.pairs:
            segment_SD[:2, columns.words + 1 : columns.positions] = row_length / 2 * torch.eye(2)
            word_VD[special_ids, columns.words] = row_length / 2


def _frequencies() -> Tensor:
    """Radians per position, [F]."""
    return torch.logspace(math.log10(FASTEST), math.log10(SLOWEST), POSITION_COLUMNS // 2)


def _position_length(encoder: Bert | Gpt) -> float:
    """Length of the position part of what the first layer reads."""
    # BERT's norm makes each column's square 1 in the mean.
    if isinstance(encoder.embeddings, BertEmbeddings):
        return math.sqrt(encoder.config.hidden_size / _PARTS)
    return float(encoder.embeddings.position.weight[0].norm())


# --- the heads ----------------------------------------------------------------------------------


def _head(attention: Attention, head: int, kind: int) -> Tensor:
    """A head's rows of the queries (0), keys (1) or values (2), [H, D]."""
    weight = attention.qkv.weight
    return weight.view(3, attention.heads, -1, weight.shape[1])[kind, head]


def _values(attention: Attention) -> Tensor:
    return attention.qkv.weight.view(3, -1, attention.qkv.weight.shape[1])[2]


def _look_beside(
    attention: Attention, head: int, columns: Columns, *, shift: int, length: float
) -> None:
    """Queries turned by `shift` positions: they are most like the keys that many places on."""
    query_HD, key_HD = _head(attention, head, 0), _head(attention, head, 1)
    turn_F = shift * _frequencies()
    cos_FF, sin_FF = torch.diag(turn_F.cos()), torch.diag(turn_F.sin())
    turned = torch.cat([torch.cat([cos_FF, -sin_FF], 1), torch.cat([sin_FF, cos_FF], 1)])
    # A narrow head compares the fastest pairs only: cosines are the first half, sines the second.
    pairs = min(POSITION_COLUMNS, len(query_HD)) // 2
    used = [*range(pairs), *range(POSITION_COLUMNS // 2, POSITION_COLUMNS // 2 + pairs)]
    length *= math.sqrt(2 * pairs / POSITION_COLUMNS)
    scale = math.sqrt(PEAK * math.sqrt(len(query_HD))) / length
    for weight_HD, block in ((query_HD, turned), (key_HD, torch.eye(POSITION_COLUMNS))):
        weight_HD.zero_()
        weight_HD[: len(used), columns.positions :] = scale * block[used]


def _look_for_duplicate(
    attention: Attention, head: int, columns: Columns, generator: torch.Generator
) -> None:
    """Compares a random projection of the words, and prefers the other segment.

    A word that the other segment lacks makes it look at a special token there, and it says so: it
    adds the column that marks those. Its mean over a text is how much of it the other has not.
    """
    query_HD, key_HD, value_HD = (_head(attention, head, kind) for kind in range(3))
    width = len(query_HD)
    room = width - 3
    part = math.sqrt(query_HD.shape[1] / _PARTS)
    word = math.sqrt(DUPLICATE * math.sqrt(width)) / part
    segment = math.sqrt(OTHER_SEGMENT * math.sqrt(width)) / (part / 2)
    special = math.sqrt(NOTHING_FOUND * math.sqrt(width))
    projection = torch.randn(room, columns.words, generator=generator) * room**-0.5
    crossed = torch.eye(2).flip(0)
    for weight_HD, segments in ((query_HD, torch.eye(2)), (key_HD, crossed)):
        weight_HD.zero_()
        weight_HD[:room, : columns.words] = word * projection
        weight_HD[room : room + 2, columns.words + 1 : columns.positions] = segment * segments
    attention.qkv.bias[head * width + width - 1] = special
    key_HD[width - 1, columns.words] = special / (part / 2)
    value_HD[0] = 0
    value_HD[0, columns.words] = 1
    output_DH = attention.output.weight[:, head * width : (head + 1) * width]
    output_DH[columns.words] = 0
    output_DH[:, 0] = 0
    output_DH[columns.words, 0] = COPIED


def _copy(attention: Attention, head: int, columns: Columns) -> None:
    """The head adds the strongest word columns of what it looks at to the same columns."""
    value_HD = _head(attention, head, 2)
    width = len(value_HD)
    output_DH = attention.output.weight[:, head * width : (head + 1) * width]
    copied = min(width, columns.words)
    value_HD.zero_()
    output_DH.zero_()
    value_HD[:copied, :copied] = torch.eye(copied)
    output_DH[:copied, :copied] = COPIED * torch.eye(copied)
