"""The ceiling of training: how fast this hardware does the products of a feed-forward layer."""

from collections.abc import Callable
from time import perf_counter

import torch

_ROWS = {"cpu": 4096, "cuda": 65536}
_ROUNDS = 4


def matrix_rate(
    device: torch.device, dtype: torch.dtype, *, width: int, inner: int, rows: int | None = None
) -> float:
    """Operations per second of the product, forward and backward, alone; the best of four rounds.

    Args:
        device: where.
        dtype: of the operands.
        width: of a token's state.
        inner: of the layer.
        rows: tokens; None: as many as a step computes at once.
    """
    rows = rows or _ROWS[device.type]
    x_TD = torch.randn(rows, width, device=device, dtype=dtype)
    weight = torch.randn(inner, width, device=device, dtype=dtype)
    grad = torch.randn(rows, inner, device=device, dtype=dtype)

    def products() -> None:
        torch.mm(x_TD, weight.mT)
        torch.mm(grad, weight)
        torch.mm(grad.mT, x_TD)

    seconds = min(timed(products, device) for _ in range(_ROUNDS))
    return 6 * rows * width * inner / seconds


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that an action takes, until the device has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - began
