"""Dropout that costs little on a CPU.

PyTorch draws its CPU dropout masks one Bernoulli at a time on one core; in a small BERT that is a
tenth to a fifth of a training step. Here the CPU takes 16 raw random bits per element from SFC64
and compares them with a threshold, which is about ten times faster. Every draw is seeded from
torch's default generator, so `torch.manual_seed` decides all of it. On other devices it is
PyTorch's own dropout.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


def keep_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """A CPU mask of 0 (with probability `p`, to 1/65536) and 1 / (1 - p), of `shape`."""
    count = shape.numel()
    threshold = min(round(p * _LEVELS), _LEVELS - 1)
    seed = int(torch.randint(1 << 62, (), dtype=torch.int64))
    raw = np.random.SFC64(seed).random_raw((count + 3) // 4)
    kept = raw.view(np.uint16)[:count] >= threshold
    scale = _LEVELS / (_LEVELS - threshold)
    if dtype == torch.bfloat16:  # NumPy has none, but its bits are those of an integer.
        bits = torch.tensor(scale, dtype=dtype).view(torch.int16).numpy()
        return torch.from_numpy(np.multiply(kept.view(np.int8), bits)).view(dtype).view(shape)
    return torch.from_numpy(np.multiply(kept, np.float32(scale))).to(dtype).view(shape)


class _MaskedAdd(torch.autograd.Function):
    """`residual + hidden * mask` in one pass each way; autograd's own would take two."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, residual: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return torch.addcmul(residual, hidden, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad * mask, grad, None


class Dropout(nn.Module):
    """Sets each element to zero with probability `p` while training, scales the others up."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"p={self.p}"

    @property
    def active(self) -> bool:
        """Whether anything is dropped at all."""
        return self.training and self.p > 0

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` of any shape; the same shape comes back."""
        if not self.active:
            return hidden
        if hidden.device.type != "cpu":
            return nn.functional.dropout(hidden, self.p)
        return hidden * keep_mask(hidden.shape, self.p, hidden.dtype)

    def add(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """`residual + dropout(hidden)`, both of one shape."""
        if not self.active:
            return residual + hidden
        if hidden.device.type != "cpu":
            return residual + nn.functional.dropout(hidden, self.p)
        # Of the residual's type, because `addcmul` would convert it to that.
        mask = keep_mask(hidden.shape, self.p, residual.dtype)
        added: Tensor = _MaskedAdd.apply(hidden, residual, mask)  # type: ignore[no-untyped-call]
        return added
