"""Self-attention over packed sequences; the only place that knows how to run it.

Everything else in a model sees one row of tokens. Here every token must meet the tokens of its own
sequence and no others (causal: those up to itself), and the fastest way depends on where it runs:

- CPU: consecutive sequences of equal length form a group without a copy (batches come sorted by
  length), and each group is one dense attention. Up to `_DENSE_LENGTH` tokens, or with dropout,
  the scores are formed outright: for such lengths that beats the tiled kernel, whose backward
  recomputes them, and the tiled kernel has no dropout. Beyond, it is PyTorch's tiled kernel.
  Short sequences of a few each of many lengths, as labelled texts are, would make many small
  groups, whose calls cost more than their arithmetic: such sequences are padded to one group, here
  and nowhere else.
- CUDA in half precision: PyTorch's variable-length kernel, on the packed row as it is.
- elsewhere (CUDA in fp32, with attention dropout or an odd head width): padded to the longest,
  with a mask. This is also the reference that the tests hold the others against.

Beside them stands `attend_to_past`, for a text that is being written token by token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from bertsmith.models.dropout import Dropout, keep_mask
from bertsmith.models.packed import Packed

_DENSE_LENGTH = 256
# Runs of fewer equally long sequences than this, and no longer than this, are padded to a group in
# which the shortest fills at least this share. A step of 32 sentences of MiniLM took 1.4 times as
# long with a group for each of their 19 lengths as with one (docs/log.md).
_FEW, _SHORT, _FILLED = 4, 128, 0.4


@dataclass(frozen=True)
class Group:
    """Consecutive sequences, rows `start : start + tokens` of T, computed as `[B, length]`."""

    start: int
    sequences: int
    length: int
    tokens: int
    real_BL: Tensor | None = None
    """Which of the padded places are tokens; None where all are."""

    @property
    def rows(self) -> slice:
        """The group's place in T."""
        return slice(self.start, self.start + self.tokens)


def length_groups(lengths: Sequence[int]) -> list[Group]:
    """Runs of equal length, in order, the small ones of short sequences joined."""
    runs = [(length, sum(1 for _ in run)) for length, run in groupby(lengths)]
    joined: list[list[int]] = []
    for length, count in runs:
        few = count < _FEW and length <= _SHORT
        if few and joined and _joins(joined[-1], length):
            joined[-1] += [length] * count
        else:
            joined.append([length] * count)
    groups = []
    start = 0
    for members in joined:
        longest, tokens = max(members), sum(members)
        real_BL = None
        if tokens < longest * len(members):
            real_BL = torch.arange(longest) < torch.tensor(members)[:, None]
        groups.append(Group(start, len(members), longest, tokens, real_BL))
        start += tokens
    return groups


def _joins(members: list[int], length: int) -> bool:
    """Whether a small run goes into the group before it, which must be of small runs too."""
    if min(members) == max(members) and len(members) >= _FEW:
        return False
    longest, shortest = max(*members, length), min(*members, length)
    return longest <= _SHORT and shortest >= _FILLED * longest


def attention(
    qkv_T3NH: Tensor,
    packed: Packed,
    dropout: Dropout,
    groups: list[Group],
    *,
    causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention inside each sequence (paper, section 3; Vaswani et al. 3.2.1).

    Args:
        qkv_T3NH: queries, keys and values of every packed token, [T, 3, N, H].
        packed: says where sequences start.
        dropout: applied to the attention probabilities.
        groups: `length_groups(packed.lengths)`, needed on the CPU only; one list serves
            every layer.
        causal: whether a token sees only itself and those before it (Radford et al. 2018).

    Returns:
        [T, N * H].
    """
    device = qkv_T3NH.device.type
    if device == "cpu":
        return _by_group(qkv_T3NH, groups, dropout, causal)
    width = qkv_T3NH.shape[-1]
    has_kernel = qkv_T3NH.dtype != torch.float32 and width % 8 == 0 and width <= 256
    if device == "cuda" and has_kernel and not dropout.active:
        return _variable_length(qkv_T3NH, packed, causal)
    return padded(qkv_T3NH, packed, dropout, causal=causal)


def _by_group(qkv_T3NH: Tensor, groups: list[Group], dropout: Dropout, causal: bool) -> Tensor:
    heads, width = qkv_T3NH.shape[2:]
    parts = []
    for group in groups:
        qkv = qkv_T3NH[group.rows]
        p = dropout.p if dropout.active else 0.0
        dense = dropout.active or group.length <= _DENSE_LENGTH or group.real_BL is not None
        bias = _bias(group, qkv, causal=causal) if dense else None
        if group.real_BL is not None:
            places = group.real_BL.flatten().nonzero()[:, 0]
            blank = qkv.new_zeros(group.real_BL.numel(), *qkv.shape[1:])
            qkv = blank.index_copy(0, places, qkv)
            qkv = qkv.view(group.sequences, group.length, 3, heads, width)
            out = _Dense.apply(qkv, p, bias)  # type: ignore[no-untyped-call]
            parts.append(out.reshape(-1, heads * width)[places])
            continue
        qkv = qkv.view(group.sequences, group.length, 3, heads, width)
        if dense:
            out = _Dense.apply(qkv, p, bias)  # type: ignore[no-untyped-call]
        else:
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)
        parts.append(out.reshape(-1, heads * width))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _bias(group: Group, qkv: Tensor, *, causal: bool) -> Tensor | None:
    """What is added to the scores: -inf where a token must not look; None where it may anywhere.

    Padding comes after the tokens of its sequence, where a causal token does not look anyway.
    """
    if causal:
        return qkv.new_full((group.length, group.length), -torch.inf).triu_(1)
    if group.real_BL is None:
        return None
    blank = qkv.new_zeros(group.real_BL.shape).masked_fill_(~group.real_BL, -torch.inf)
    return blank.repeat_interleave(qkv.shape[2], 0)[:, None, :]


class _Dense(torch.autograd.Function):
    """Attention of equally long sequences with the score matrix formed: [B,L,3,N,H] -> [B,L,N,H].

    Written out so that queries, keys and values are laid out for the matrix products by a single
    copy and their gradients come back by a single copy. `bias`, of any shape that the scores
    [B * N, L, L] can be written over, starts the product that forms them, so it costs no pass.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, p: float, bias: Tensor | None) -> Tensor:
        sequences, length, _, heads, width = qkv.shape
        flat = qkv.permute(2, 0, 3, 1, 4).reshape(3, sequences * heads, length, width)
        q, k, v = flat.unbind(0)
        scale = width**-0.5
        if bias is None:
            scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.mT, beta=0, alpha=scale)
        else:
            scores = torch.baddbmm(bias, q, k.mT, alpha=scale)
        probabilities = torch.softmax(scores, -1)
        if p > 0:
            mask = keep_mask(probabilities.shape, p, probabilities.dtype)
            dropped = probabilities * mask
            ctx.save_for_backward(flat, probabilities, mask, dropped)
        else:
            dropped = probabilities
            ctx.save_for_backward(flat, probabilities)
        ctx.shape = qkv.shape
        out = torch.bmm(dropped, v).view(sequences, heads, length, width)
        return out.transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        flat, probabilities, *dropout = ctx.saved_tensors
        mask, dropped = dropout or (None, probabilities)
        q, k, v = flat.unbind(0)
        sequences, length, _, heads, width = ctx.shape
        scale = width**-0.5
        grad_out = grad.transpose(1, 2).reshape(sequences * heads, length, width)
        grad_flat = torch.empty_like(flat)
        torch.bmm(dropped.mT, grad_out, out=grad_flat[2])
        grad_probabilities = torch.bmm(grad_out, v.mT)
        if mask is not None:
            grad_probabilities.mul_(mask)
        grad_scores = torch._softmax_backward_data(
            grad_probabilities, probabilities, -1, probabilities.dtype
        )
        empty = q.new_empty(1, 1, 1)
        torch.baddbmm(empty, grad_scores, k, beta=0, alpha=scale, out=grad_flat[0])
        torch.baddbmm(empty, grad_scores.mT, q, beta=0, alpha=scale, out=grad_flat[1])
        grad_qkv = grad_flat.view(3, sequences, heads, length, width).permute(1, 3, 0, 2, 4)
        return grad_qkv.contiguous(), None, None


def _variable_length(qkv_T3NH: Tensor, packed: Packed, causal: bool) -> Tensor:
    q, k, v = qkv_T3NH.unbind(1)
    starts, longest = packed.starts, packed.longest
    # The argument came with torch 2.11; BERT needs no more than the kernel itself.
    window: dict[str, Any] = {"window_size": (-1, 0)} if causal else {}
    out = varlen_attn(q, k, v, starts, starts, longest, longest, **window)
    assert isinstance(out, Tensor)  # a tuple comes only with `return_aux`
    return out.flatten(1)


def padded(qkv_T3NH: Tensor, packed: Packed, dropout: Dropout, *, causal: bool = False) -> Tensor:
    """The reference: every sequence padded to the longest, padding masked out. [T, N * H]."""
    lengths = packed.starts.diff()
    sequences, longest = len(lengths), packed.longest
    real_BL = torch.arange(longest, device=lengths.device) < lengths[:, None]
    first_B = torch.arange(sequences, device=lengths.device) * longest
    # Told the size, CUDA need not wait for `lengths`, and a compiled block stays in one piece.
    size = len(packed.positions_T)
    places_T = first_B.repeat_interleave(lengths, output_size=size) + packed.positions_T
    blank = qkv_T3NH.new_zeros(sequences * longest, *qkv_T3NH.shape[1:])
    qkv = blank.index_copy(0, places_T, qkv_T3NH).view(sequences, longest, *qkv_T3NH.shape[1:])
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    seen = real_BL[:, None, None, :]
    if causal:
        seen = seen & real_BL.new_ones(longest, longest).tril()
    out = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, dropout_p=dropout.p if dropout.active else 0.0
    )
    return out.transpose(1, 2).flatten(0, 1)[places_T].flatten(1)


@dataclass
class Past:
    """Keys and values of the tokens of one sequence so far, in one layer."""

    kv_2SNH: Tensor
    """Room for S tokens, on the model's device."""
    tokens: int = 0
    """Of the S, those that are there."""


def attend_to_past(qkv_T3NH: Tensor, past: Past) -> Tensor:
    """Causal attention of T new tokens to those of `past` and to each other.

    Args:
        qkv_T3NH: of the new tokens, which follow those of `past`, [T, 3, N, H].
        past: with room for T more; they are put into it.

    Returns:
        [T, N * H]: what `attention` gives for the last T tokens of the whole sequence.
    """
    before, new = past.tokens, len(qkv_T3NH)
    past.tokens = before + new
    past.kv_2SNH[:, before : past.tokens] = qkv_T3NH[:, 1:].transpose(0, 1)
    q_NTH = qkv_T3NH[:, 0].transpose(0, 1)
    k_NSH, v_NSH = past.kv_2SNH[:, : past.tokens].transpose(1, 2)
    seen_TS = torch.ones(new, past.tokens, dtype=torch.bool, device=q_NTH.device).tril(before)
    out_NTH = functional.scaled_dot_product_attention(
        q_NTH[None], k_NSH[None], v_NSH[None], attn_mask=seen_TS
    )[0]
    return out_NTH.transpose(0, 1).flatten(1)
