"""Losses and scores over the vocabulary, without holding all logits at once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bertsmith.models.modules.linear import is_half_on_cpu, whole_tiles

# Rows whose logits are passed over at once: on a CPU while they are in the cache, and enough of
# them for the table of words to be read seldom.
_STRIP = 128
# Bytes of the logits' gradients that are held. On a CPU they stay below the size from which glibc
# gets new memory from the system for each (`runtime.keep_freed_memory`).
_HELD = {"cpu": 24 * 2**20, "cuda": 512 * 2**20}


def vocabulary_scores(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> tuple[float, int]:
    """Sum of -log softmax(logits)[label] in nats, and how often the label scored highest.

    `logits` maps [S, D] to [S, V]; it is called with slices, so that [P, V] is never held whole.
    `vocabulary` is V.
    """
    loss, right = 0.0, 0
    for logits_SV, labels_S in _slices(hidden_PD, labels_P, logits, vocabulary=vocabulary):
        loss += float(functional.cross_entropy(logits_SV, labels_S, reduction="sum"))
        right += int((logits_SV.argmax(-1) == labels_S).sum())
    return loss, right


def label_log_probabilities(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> Tensor:
    """log softmax(logits)[label] of each row in nats, fp32 [P]; as `vocabulary_scores` computes."""
    found = [
        -functional.cross_entropy(logits_SV, labels_S, reduction="none")
        for logits_SV, labels_S in _slices(hidden_PD, labels_P, logits, vocabulary=vocabulary)
    ]
    return torch.cat(found)


def _slices(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits in fp32 [S, V] and labels [S], few enough at a time to stay in the cache."""
    step, _ = _strip_and_block(hidden_PD, vocabulary)
    for hidden_SD, labels_S in zip(
        torch.split(hidden_PD, step), torch.split(labels_P, step), strict=True
    ):
        yield logits(hidden_SD).float(), labels_S


def projected_cross_entropy(
    hidden_PD: Tensor,
    word_VD: Tensor,
    bias_V: Tensor | None,
    labels_P: Tensor,
    shares_P: Tensor | None = None,
) -> Tensor:
    """Sum over P of share * -log softmax(hidden @ word^T + bias)[label], in nats.

    None stands for no bias, and for shares of 1. The gradients are formed strip by strip while the
    logits are still in the cache, so that nothing passes over them again in the backward pass, and
    a large [P, V] matrix is never held whole. The loss of one prediction ends at 87 nats, where
    fp32 has no smaller probability.
    """
    if shares_P is None:
        shares_P = hidden_PD.new_ones(len(labels_P), dtype=torch.float32)
    loss: Tensor = _ProjectedCrossEntropy.apply(hidden_PD, word_VD, bias_V, labels_P, shares_P)  # type: ignore[no-untyped-call]
    return loss


def _strip_and_block(hidden_PD: Tensor, vocabulary: int) -> tuple[int, int]:
    """Rows whose logits are passed over at once, and rows of which gradients are held."""
    device = hidden_PD.device.type
    block = _HELD.get(device, _HELD["cuda"]) // (vocabulary * hidden_PD.dtype.itemsize)
    block = max(block // _STRIP, 1) * _STRIP
    return (_STRIP, block) if device == "cpu" else (block, block)


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_PD: Tensor,
        word_VD: Tensor,
        bias_V: Tensor | None,
        labels_P: Tensor,
        shares_P: Tensor,
    ) -> Tensor:
        device = hidden_PD.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else hidden_PD.dtype
        )
        word = word_VD.to(dtype)
        if is_half_on_cpu(hidden_PD):  # The rows that are filled in have no share in the loss.
            hidden = whole_tiles(hidden_PD, dtype)
            spare = len(hidden) - len(hidden_PD)
            labels_P, shares_P = (functional.pad(row, (0, spare)) for row in (labels_P, shares_P))
        else:
            hidden = hidden_PD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        needs_grad = any(ctx.needs_input_grad[:3])
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_word = torch.zeros_like(word_VD) if needs_grad else None
        grad_bias = torch.zeros_like(bias_V) if needs_grad and bias_V is not None else None
        total = hidden_PD.new_zeros((), dtype=torch.float32)
        strip, block = _strip_and_block(hidden, len(word))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), block):
                end = min(start + block, len(hidden))
                grads = hidden.new_empty(end - start, len(word))
                for first in range(start, end, strip):
                    rows = slice(first, min(first + strip, end))
                    grad = grads[first - start : rows.stop - start]
                    labels, shares = labels_P[rows, None], shares_P[rows, None]
                    logits = functional.linear(hidden[rows], word, bias)
                    torch.softmax(logits, 1, out=grad)  # In half precision too it adds up in fp32.
                    right = grad.gather(1, labels)
                    # The smallest number ends a loss at 87 nats; beyond, its gradient is right.
                    likely = right.float().clamp(min=torch.finfo(torch.float32).tiny)
                    total -= (likely.log() * shares).sum()
                    grad.scatter_(1, labels, right - 1).mul_(shares.to(dtype))
                    if grad_hidden is not None:
                        torch.mm(grad, word, out=grad_hidden[rows])
                if grad_word is not None:
                    grad_word += grads.mT @ hidden[start:end]
                if grad_bias is not None:
                    grad_bias += grads.sum(0)
        if grad_hidden is not None:
            ctx.save_for_backward(grad_hidden, grad_word, grad_bias)
            ctx.dtype, ctx.rows = hidden_PD.dtype, len(hidden_PD)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        grad_hidden, grad_word, grad_bias = ctx.saved_tensors
        scaled_bias = None if grad_bias is None else grad_bias * grad
        scaled_hidden = (grad_hidden[: ctx.rows] * grad).to(ctx.dtype)
        return scaled_hidden, grad_word * grad, scaled_bias, None, None
