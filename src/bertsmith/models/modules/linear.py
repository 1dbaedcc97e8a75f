"""The linear layer, the number of rows that a CPU's bf16 products want, and a task's output layer.

oneDNN compiles machine code for every new shape of a bf16 product: 1 ms forward and 6 ms backward
for a layer of MiniLM's on one core, ten times what the product itself takes there. A packed batch
has another number of tokens in every step. So on a CPU the rows of such products are filled up to
whole tiles: then few shapes occur, and their code is found again.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TILE = 32
"""Rows that the hardware multiplies at once (two registers of AMX)."""


def is_half_on_cpu(tensor: Tensor) -> bool:
    """Whether autocast computes the products of `tensor` in half precision on a CPU."""
    on_cpu = tensor.device.type == "cpu" and tensor.dtype != torch.float64
    return on_cpu and torch.is_autocast_enabled("cpu")


def whole_tiles(rows_RD: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`rows_RD` with rows of zeros after it, up to the next whole tile, as `dtype` if given."""
    rows, width = rows_RD.shape
    dtype = dtype or rows_RD.dtype
    spare = -rows % TILE
    if not spare:
        return rows_RD.to(dtype)
    filled = rows_RD.new_empty(rows + spare, width, dtype=dtype)
    filled[:rows] = rows_RD
    filled[rows:] = 0
    return filled


class _TiledLinear(torch.autograd.Function):
    """`x @ weight^T + bias` in `dtype` over whole tiles of rows.

    The conversions that autocast would do as operations of their own happen here as well, those of
    the rows together with the filling up; autograd converts the gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, x_RD: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        x, half = whole_tiles(x_RD, dtype), weight.to(dtype)
        ctx.save_for_backward(x, half)
        out = x @ half.mT if bias is None else torch.addmm(bias.to(dtype), x, half.mT)
        return out[: len(x_RD)]

    @staticmethod
    def backward(
        ctx: Any, grad_RD: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, half = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad = whole_tiles(grad_RD, half.dtype)
        return (
            (grad @ half)[: len(grad_RD)] if needs_x else None,
            grad.mT @ x if needs_weight else None,
            grad.sum(0) if needs_bias else None,
            None,
        )


def linear(x_RD: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, quick on a CPU in half precision for any number of rows.

    Args:
        x_RD: [R, D]; more dimensions may come before D.
        weight: [out, D].
        bias: [out].

    Returns:
        [R, out], after the same dimensions.
    """
    if not is_half_on_cpu(x_RD):
        return functional.linear(x_RD, weight, bias)
    flat_RD = x_RD.reshape(-1, x_RD.shape[-1])
    dtype = torch.get_autocast_dtype("cpu")
    out: Tensor = _TiledLinear.apply(flat_RD, weight, bias, dtype)  # type: ignore[no-untyped-call]
    return out.view(*x_RD.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x_RD: Tensor) -> Tensor:
        """[R, D] -> [R, out]."""
        return linear(x_RD, self.weight, self.bias)


class OutputLinear(nn.Linear):
    """The layer that gives a task's scores: computed in the weights' precision, given in fp32.

    Half precision would round them: bf16 has eight significant bits, so that a regression's answers
    between 2 and 4 would be 1/64 apart.
    """

    def forward(self, x_RD: Tensor) -> Tensor:
        """[R, D] of any precision -> [R, out]."""
        with torch.autocast(x_RD.device.type, enabled=False):
            states_RD = x_RD.to(self.weight.dtype)
            return functional.linear(states_RD, self.weight, self.bias).float()


class NumberLinear(OutputLinear):
    """The layer that gives a regression's numbers, in fp64: [R, D] -> [R, 1].

    The bias may be a million times the differences between the answers, which fp32 would round.
    """

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__(width, 1, bias=bias)

    def forward(self, x_RD: Tensor) -> Tensor:
        """[R, D] of any precision -> [R, 1]."""
        with torch.autocast(x_RD.device.type, enabled=False):
            scores_R1 = functional.linear(x_RD.to(self.weight.dtype), self.weight).double()
            return scores_R1 if self.bias is None else scores_R1 + self.bias.double()


def output_layer(width: int, outputs: int, *, number: bool, bias: bool = True) -> OutputLinear:
    """The output layer of a task, that of a regression if `number`."""
    if number:
        return NumberLinear(width, bias=bias)
    return OutputLinear(width, outputs, bias=bias)
