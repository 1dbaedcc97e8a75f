"""Structured initial weights: a model that attends to neighbours from step 0 (recipe `modern`).

With normally distributed weights, as in the paper, a BERT spends its first millions of tokens at
the unigram loss, because it learns nothing until attention finds the neighbours of a masked word.
Only the initial values differ here; shapes, names and computation stay the same.

The columns of the embedding are divided: words | special tokens | segments | positions. Then

1. *words* start from word vectors of the corpus (`word_vectors`), with the norm of random rows;
2. *positions* start as sinusoids. A head that rotates its queries against its keys is then a
   previous-token or a next-token head. (In ordinary training, positions become sinusoidal and such
   heads appear at the end of the plateau: Yamamoto and Matsuzaki 2023.)
3. *a duplicate-token head* attends to the same word in the other segment;
4. *values and outputs* are larger, and the neighbour heads copy what they attend to: a masked
   position receives the sum of its neighbours' vectors, which is CBOW's prediction (Mikolov et al.
   2013). The MLM head passes it on;
5. *the output bias* starts at the log frequency of each piece.

All other weights keep their random values.
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
"""The target of a head: the previous token, the next one, or the same word in the other segment."""

POSITION_COLUMNS = 16
"""Columns for positions: eight pairs of cosine and sine."""
FASTEST, SLOWEST = 2.0, 0.2
"""Radians per position of the first and the last pair; the others follow a geometric series."""
_PARTS = 2.25
"""Squared norm of the summed embedding: 1 for word and position each, 1/4 for the segment."""
PEAK = 12.0
"""Attention score of a neighbour head at its target."""
COPIED = 1.0
"""Weight of the copied vector of a neighbour head; the token's own state has weight 1."""
DUPLICATE, NOTHING_FOUND = 16.0, 9.0
"""Attention scores of the duplicate-token head: at the same word, and at the special tokens of the
other segment if that has no such word."""
OTHER_SEGMENT = 12.0
"""Added to its score of every token of the other segment."""
PASSED_ON = 0.2
"""Diagonal of the MLM head's layer: small enough for a nearly linear GELU; the norm rescales it."""
_NARROWEST = 8
"""Minimum width of a head with a role."""
FEWEST_COLUMNS = 2 * POSITION_COLUMNS
"""Minimum width; narrower models keep their random weights."""


@dataclass(frozen=True)
class Columns:
    """The division of the embedding's columns."""

    words: int
    """End of the word columns, which come first."""
    pairs: bool
    """Whether three columns for pairs follow: one marks special tokens, two the segments."""
    positions: int
    """Start of the position columns, which come last."""

    @classmethod
    def of(cls, width: int, *, pairs: bool) -> "Columns":
        """The division of an embedding of `width` columns."""
        positions = width - POSITION_COLUMNS
        return cls(positions - 3 * pairs, pairs, positions)


def word_columns(encoder: Encoder) -> int:
    """The rank of the word vectors for `structure_encoder`; 0 if it uses none."""
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
    """Gives a randomly initialized model structured weights, in place.

    Args:
        model: a model by `family.build`.
        unigrams_V: int64 [V], count of each piece.
        vectors_VR: word vectors of rank `word_columns`; None keeps random word embeddings.
        special_ids: ids of `[CLS]` and `[SEP]`.
        seed: seed of the projection with which the duplicate-token head compares words.
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
    """Like `structure`, for an encoder alone. It changes a BERT or a GPT; an ELMo has no heads.

    Args:
        encoder: a randomly initialized encoder.
        vectors_VR: as in `structure`.
        special_ids: as in `structure`.
        seed: as in `structure`.
        paired: whether inputs are pairs. The result of the duplicate-token head must then reach
            `[CLS]` through a later layer. If the first layer has too few heads for all roles
            (`tiny` has two), this head therefore comes first instead of last.
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
    """(layer, head) of each role in turn: the heads of the first layer, then of the second."""
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
    """Norm of the position part of the first layer's input."""
    # BERT's layer norm makes the mean square of a column 1.
    if isinstance(encoder.embeddings, BertEmbeddings):
        return math.sqrt(encoder.config.hidden_size / _PARTS)
    return float(encoder.embeddings.position.weight[0].norm())


# --- the heads ----------------------------------------------------------------------------------


def _head(attention: Attention, head: int, kind: int) -> Tensor:
    """The rows of a head in the queries (0), keys (1) or values (2), [H, D]."""
    weight = attention.qkv.weight
    return weight.view(3, attention.heads, -1, weight.shape[1])[kind, head]


def _values(attention: Attention) -> Tensor:
    return attention.qkv.weight.view(3, -1, attention.qkv.weight.shape[1])[2]


def _look_beside(
    attention: Attention, head: int, columns: Columns, *, shift: int, length: float
) -> None:
    """Rotates queries by `shift` positions, so that they match the keys at that distance."""
    query_HD, key_HD = _head(attention, head, 0), _head(attention, head, 1)
    turn_F = shift * _frequencies()
    cos_FF, sin_FF = torch.diag(turn_F.cos()), torch.diag(turn_F.sin())
    turned = torch.cat([torch.cat([cos_FF, -sin_FF], 1), torch.cat([sin_FF, cos_FF], 1)])
    # A narrow head compares only the fastest pairs; cosines are the first half, sines the second.
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
    """Compares random projections of the words, and prefers the other segment.

    If the other segment lacks the word, the head attends to a special token there and adds the
    column that marks special tokens. The mean of this column over a text is the share of its words
    that the other text lacks.
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
    """Copies the strongest word columns of the attended token."""
    value_HD = _head(attention, head, 2)
    width = len(value_HD)
    output_DH = attention.output.weight[:, head * width : (head + 1) * width]
    copied = min(width, columns.words)
    value_HD.zero_()
    output_DH.zero_()
    value_HD[:copied, :copied] = torch.eye(copied)
    output_DH[:copied, :copied] = COPIED * torch.eye(copied)
