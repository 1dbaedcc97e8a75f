"""Self-attention over packed sequences; the only place that knows how to run it.

Everything else in a model sees one row of tokens. Here every token must meet the tokens of its own
sequence and no others (causal: those up to itself), and the fastest way depends on where it runs:

- CPU: consecutive sequences of like length form a group (batches come sorted by length), and each
  group is one dense attention. Up to `_DENSE_LENGTH` tokens, or with dropout, the scores are formed
  outright: for such lengths that beats the tiled kernel, whose backward recomputes them, and the
  tiled kernel has no dropout. Beyond, it is PyTorch's tiled kernel.
  Groups of unlike or short odd lengths are padded, here and nowhere else. (A group for each length,
  as labelled texts have them, would make many small calls, which cost more than their arithmetic.)
- CUDA in half precision: PyTorch's variable-length kernel, on the packed row as it is.
- elsewhere (CUDA in fp32, with attention dropout or an odd head width): padded to the longest,
  with a mask. This is also the reference that the tests hold the others against.

Beside them stands `attend_to_past`, for a text that is being written token by token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from bertsmith.models.modules.dropout import Dropout, keep_mask
from bertsmith.models.modules.packed import Packed

_DENSE_LENGTH = 256
# Short groups, and those of unlike lengths, are padded to whole vectors of fp32: a softmax over 13
# takes ten times as long as one over 16, and then few shapes occur (see `linear.py`).
_STEP = 16
# Groups of fewer sequences than this, and no longer than this, are joined to one in which the
# shortest fills at least this share. A step of 32 sentences of MiniLM took 1.4 times as long with a
# group for each of their 19 lengths as with one (docs/log.md).
_FEW, _SHORT, _FILLED = 4, 128, 0.4


@dataclass(frozen=True)
class Group:
    """Consecutive sequences, together `tokens` of T, computed as `[B, length]`."""

    sequences: int
    length: int
    tokens: int
    real_BL: Tensor | None = None
    """Which padded places are tokens; None if all are."""
    _rows: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def rows(self, kinds: int, heads: int) -> tuple[Tensor, Tensor]:
        """How rows [tokens, K, N] and padded rows [K, B, N, L] are made of each other.

        A single `index_select` of whole rows takes a third of the time of padding, permuting and
        copying, and every layer has the same indices.

        Returns:
            For each padded row the number of a row (in padding, of the last token before it), and
            for each row the number of its padded row.
        """
        if (kinds, heads) not in self._rows:
            assert self.real_BL is not None
            sequence_T, place_T = self.real_BL.nonzero(as_tuple=True)
            token_BL = self.real_BL.flatten().cumsum(0).view(self.real_BL.shape) - 1
            kind_K, head_N = torch.arange(kinds), torch.arange(heads)
            padded_KBNL = token_BL[:, None] * kinds + kind_K[:, None, None, None]
            padded_KBNL = padded_KBNL * heads + head_N[:, None]
            rows_TKN = kind_K[:, None] * self.sequences + sequence_T[:, None, None]
            rows_TKN = (rows_TKN * heads + head_N) * self.length + place_T[:, None, None]
            self._rows[kinds, heads] = padded_KBNL.flatten(), rows_TKN.flatten()
        return self._rows[kinds, heads]


def length_groups(lengths: Sequence[int]) -> list[Group]:
    """Runs of like length, in order, the small ones of short sequences joined."""
    joined: list[list[int]] = []
    for _, run in groupby(lengths, key=_whole):
        members = list(run)
        small = len(members) < _FEW and members[0] <= _SHORT
        if small and joined and _joins(joined[-1], members):
            joined[-1] += members
        else:
            joined.append(members)
    groups = []
    for members in joined:
        length, tokens = max(members), sum(members)
        is_whole = length % _STEP == 0 or length > _SHORT
        if is_whole and tokens == length * len(members):
            groups.append(Group(len(members), length, tokens))
            continue
        length = _whole(length)
        real_BL = torch.arange(length) < torch.tensor(members)[:, None]
        groups.append(Group(len(members), length, tokens, real_BL))
    return groups


def _whole(length: int) -> int:
    """`length`, up to the next whole step."""
    return -(-length // _STEP) * _STEP


def _joins(members: list[int], run: list[int]) -> bool:
    """Whether a small run goes into the group before it, which must be of small runs too."""
    if len(members) >= _FEW and _whole(min(members)) == _whole(max(members)):
        return False
    longest, shortest = max(*members, *run), min(*members, *run)
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
        qkv_T3NH: queries, keys and values of every packed token, [T, 3, N, H]; on a CPU rows may
            follow that are of no token.
        packed: says where sequences start.
        dropout: applied to the attention probabilities.
        groups: `length_groups(packed.lengths)`, needed on the CPU only; one list serves
            every layer.
        causal: whether a token sees only itself and those before it (Radford et al. 2018).

    Returns:
        [T, N * H]; of the rows that follow, any numbers.
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
    p = dropout.p if dropout.active else 0.0
    width = qkv_T3NH.shape[-1]
    sizes = [group.tokens for group in groups]
    spare = len(qkv_T3NH) - sum(sizes)
    *pieces, beyond = torch.split(qkv_T3NH, [*sizes, spare])
    parts = []
    for group, qkv in zip(groups, pieces, strict=True):
        if p > 0 or group.length <= _DENSE_LENGTH:
            out = _Dense.apply(qkv, group, p, causal)  # type: ignore[no-untyped-call]
        else:
            flat = _LaidOut.apply(qkv, group)  # type: ignore[no-untyped-call]
            q, k, v = flat.view(3, group.sequences, -1, group.length, width)
            seen = None if causal or group.real_BL is None else group.real_BL[:, None, None]
            out = functional.scaled_dot_product_attention(q, k, v, seen, is_causal=causal)
            out = _Tokens.apply(out.flatten(0, 1)[None], group)[:, 0]  # type: ignore[no-untyped-call]
        parts.append(out)
    if spare:
        parts.append(beyond[:, 2])  # Any numbers: nobody looks at them.
    return (torch.cat(parts) if len(parts) > 1 else parts[0]).flatten(1)


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
    """Attention of a group with the score matrix formed: [tokens, 3, N, H] -> [tokens, N, H].

    Written out so that queries, keys and values are laid out for the matrix products by a single
    copy and their gradients come back by a single copy. The bias, of any shape that the scores
    [B * N, L, L] can be written over, starts the product that forms them, so it costs no pass.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, group: Group, p: float, causal: bool) -> Tensor:
        flat = _laid_out(qkv, group)
        q, k, v = flat.unbind(0)
        scale = q.shape[-1] ** -0.5
        bias = _bias(group, qkv, causal=causal)
        if bias is None:
            scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.mT, beta=0, alpha=scale)
        else:
            scores = torch.baddbmm(bias, q, k.mT, alpha=scale)
        # A softmax over 16 numbers takes four times as long in half precision.
        is_slow = scores.dtype.itemsize == 2 and group.length <= _STEP
        exact = torch.float32 if is_slow else scores.dtype
        probabilities = torch.softmax(scores, -1, dtype=exact)
        dropped = probabilities.to(flat.dtype)
        mask = None
        if p > 0:
            mask = keep_mask(dropped.shape, p, dropped.dtype)
            dropped = dropped * mask
        ctx.save_for_backward(flat, probabilities, dropped, mask)
        ctx.group = group
        return _tokens(torch.bmm(dropped, v)[None], group)[:, 0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        flat, probabilities, dropped, mask = ctx.saved_tensors
        group = ctx.group
        q, k, v = flat.unbind(0)
        scale = q.shape[-1] ** -0.5
        [grad_out] = _laid_out(grad[:, None], group, blank=True)
        grad_flat = torch.empty_like(flat)
        torch.bmm(dropped.mT, grad_out, out=grad_flat[2])
        grad_probabilities = torch.bmm(grad_out, v.mT)
        if mask is not None:
            grad_probabilities.mul_(mask)
        exact = probabilities.dtype
        grad_scores = torch._softmax_backward_data(
            grad_probabilities.to(exact), probabilities, -1, exact
        ).to(flat.dtype)
        empty = q.new_empty(1, 1, 1)
        torch.baddbmm(empty, grad_scores, k, beta=0, alpha=scale, out=grad_flat[0])
        torch.baddbmm(empty, grad_scores.mT, q, beta=0, alpha=scale, out=grad_flat[1])
        return _tokens(grad_flat, group), None, None, None


class _LaidOut(torch.autograd.Function):
    """`_laid_out` where autograd goes on from it; attention gives padding no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _laid_out(rows, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _tokens(grad, ctx.group), None


class _Tokens(torch.autograd.Function):
    """`_tokens` where autograd goes on from it."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _tokens(flat, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _laid_out(grad, ctx.group, blank=True), None


def _laid_out(rows: Tensor, group: Group, *, blank: bool = False) -> Tensor:
    """[tokens, K, N, H] -> [K, B * N, L, H].

    In padding are numbers of the same sequence, which are finite where its own are, so that nothing
    comes of them where they meet a probability of 0; zeros if it is to be `blank`.
    """
    _, kinds, heads, width = rows.shape
    real_BL = group.real_BL
    if real_BL is None:
        by_sequence = rows.view(group.sequences, group.length, kinds, heads, width)
        return by_sequence.permute(2, 0, 3, 1, 4).reshape(kinds, -1, group.length, width)
    padded_rows, _ = group.rows(kinds, heads)
    flat = rows.reshape(-1, width).index_select(0, padded_rows)
    flat = flat.view(kinds, group.sequences, heads, group.length, width)
    if blank:
        flat.mul_(real_BL[:, None, :, None])
    return flat.flatten(1, 2)


def _tokens(flat: Tensor, group: Group) -> Tensor:
    """[K, B * N, L, H] -> [tokens, K, N, H], without the padding."""
    kinds, _, _, width = flat.shape
    by_sequence = flat.view(kinds, group.sequences, -1, group.length, width)
    if group.real_BL is None:
        return by_sequence.permute(1, 3, 0, 2, 4).reshape(group.tokens, kinds, -1, width)
    _, rows = group.rows(kinds, by_sequence.shape[2])
    return flat.reshape(-1, width).index_select(0, rows).view(group.tokens, kinds, -1, width)


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
