"""One direction of a projected LSTM layer over packed sequences (Sak et al. 2014), as ELMo has it.

The gates see the input and the projected state of the step before; the cell and the projection are
clipped (bilm-tf, TensorFlow's `LSTMCell`):

    i, j, f, o = W_input x_t + W_state m_{t-1} + b
    c_t = clip(sigmoid(f + 1) c_{t-1} + sigmoid(i) tanh(j))
    m_t = clip(W_projection (sigmoid(o) tanh(c_t)))

Written out with its backward pass, because PyTorch's own LSTM clips nothing. What no step waits for
is one large product: the inputs before the first step, the gradients of all weights after the last.
The steps in between go over the sequences that are still running, the longest first, in place.

Shapes beside those of `packed.py`: P projection (an output's width), I an input's width, W cells;
S is T in the order of the steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.models.modules.packed import Packed

_FORGET_BIAS = 1.0
"""Added to the forget gate beside its parameter (TensorFlow's `forget_bias`)."""

_hardtanh_backward = torch.ops.aten.hardtanh_backward
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


@dataclass(frozen=True)
class Steps:
    """In which order one direction goes over the tokens of a batch."""

    order_S: Tensor
    """int64: indices into T; the tokens of a step follow each other, the longest sequence first."""
    places_T: Tensor
    """int64: indices into S, the reverse of `order_S`."""
    before: Tensor
    """int64 [T - B]: indices into S of the step before, of every token but those of the first."""
    running: list[int]
    """Number of sequences with a token in each step, descending."""


def steps_of(packed: Packed, *, backward: bool) -> Steps:
    """The steps from the first token of each sequence on, or from the last one back."""
    lengths_B = packed.starts.diff().to(torch.int64)
    rank_B = torch.empty_like(lengths_B)
    by_length = torch.argsort(lengths_B, descending=True, stable=True)
    rank_B[by_length] = torch.arange(packed.sequences, device=rank_B.device)
    row_T = torch.repeat_interleave(lengths_B, output_size=packed.ids_T.numel())
    step_T = packed.positions_T
    if backward:
        step_T = lengths_B[row_T] - 1 - step_T
    order_S = torch.argsort(step_T * packed.sequences + rank_B[row_T])
    running_L = torch.bincount(step_T)
    places_T = torch.empty_like(order_S)
    places_T[order_S] = torch.arange(len(order_S), device=order_S.device)
    # Within a step a token stands as far from the step's beginning as the one before it did.
    back_S = torch.repeat_interleave(running_L[:-1], running_L[1:])
    before = torch.arange(len(back_S), device=order_S.device) + packed.sequences - back_S
    return Steps(order_S, places_T, before, running_L.tolist())


class ProjectedLstm(nn.Module):
    """One direction of one layer; its parameters have the gates in the order i, j, f, o."""

    def __init__(
        self,
        inputs: int,
        *,
        width: int,
        projection: int,
        cell_clip: float,
        projection_clip: float,
    ) -> None:
        """Weights as TensorFlow draws them by default (Glorot's uniform), biases 0.

        Draws from torch's default generator.
        """
        super().__init__()
        self.cell_clip, self.projection_clip = cell_clip, projection_clip
        self.input_weight = nn.Parameter(torch.empty(4 * width, inputs))
        self.state_weight = nn.Parameter(torch.empty(4 * width, projection))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        self.projection = nn.Parameter(torch.empty(projection, width))
        # Input and state are one matrix there, and its sides count.
        bound = (6 / (inputs + projection + 4 * width)) ** 0.5
        nn.init.uniform_(self.input_weight, -bound, bound)
        nn.init.uniform_(self.state_weight, -bound, bound)
        nn.init.xavier_uniform_(self.projection)

    def forward(self, inputs_TI: Tensor, steps: Steps) -> Tensor:
        """[T, I] -> [T, P], in the weights' type, whatever autocast says."""
        with torch.autocast(inputs_TI.device.type, enabled=False):
            hidden_TP: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
                inputs_TI.to(self.bias.dtype),
                self.input_weight,
                self.state_weight,
                self.bias,
                self.projection,
                steps,
                self.cell_clip,
                self.projection_clip,
            )
        return hidden_TP


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs_TI: Tensor,
        input_weight: Tensor,
        state_weight: Tensor,
        bias: Tensor,
        projection: Tensor,
        steps: Steps,
        cell_clip: float,
        projection_clip: float,
    ) -> Tensor:
        width = projection.shape[1]
        inputs_SI = inputs_TI[steps.order_S]
        offset = torch.zeros_like(bias)
        offset[2 * width : 3 * width] = _FORGET_BIAS
        gates = torch.addmm(bias + offset, inputs_SI, input_weight.mT)
        cells = gates.new_empty(len(gates), width)
        squashed, outputs = torch.empty_like(cells), torch.empty_like(cells)
        states = gates.new_empty(len(gates), len(projection))
        start = 0
        for number, count in enumerate(steps.running):
            rows = slice(start, start + count)
            step, cell = gates[rows], cells[rows]
            if number:
                earlier = slice(start - steps.running[number - 1], None)
                step.addmm_(states[earlier][:count], state_weight.mT)
            add, new = step[:, :width].sigmoid_(), step[:, width : 2 * width].tanh_()
            keep_and_show = step[:, 2 * width :].sigmoid_()
            torch.mul(add, new, out=cell)
            if number:
                cell.addcmul_(keep_and_show[:, :width], cells[earlier][:count])
            cell.clamp_(-cell_clip, cell_clip)
            torch.tanh(cell, out=squashed[rows])
            torch.mul(keep_and_show[:, width:], squashed[rows], out=outputs[rows])
            torch.mm(outputs[rows], projection.mT, out=states[rows])
            states[rows].clamp_(-projection_clip, projection_clip)
            start += count
        weights = input_weight, state_weight, projection
        ctx.save_for_backward(*weights, inputs_SI, gates, cells, squashed, outputs, states)
        ctx.steps = steps
        ctx.clips = cell_clip, projection_clip
        return states[steps.places_T]

    @staticmethod
    def backward(ctx: Any, grad_TP: Tensor) -> tuple[Tensor | None, ...]:
        input_weight, state_weight, projection = ctx.saved_tensors[:3]
        inputs_SI, gates, cells, squashed, outputs, states = ctx.saved_tensors[3:]
        steps = ctx.steps
        cell_clip, projection_clip = ctx.clips
        width = projection.shape[1]
        grad_states = grad_TP[steps.order_S]
        grad_gates = torch.empty_like(gates)
        # Of the step that comes later: what it hands back to the cells of this one.
        grad_later = gates.new_empty(0, width)
        end = len(gates)
        for number in range(len(steps.running) - 1, -1, -1):
            count = steps.running[number]
            rows = slice(end - count, end)
            add, new, keep, show = gates[rows].chunk(4, 1)
            to_add, to_new, to_keep, to_show = grad_gates[rows].chunk(4, 1)
            later = len(grad_later)
            grad_state = grad_states[rows]
            if later:
                grad_state[:later].addmm_(grad_gates[end : end + later], state_weight)
            # A value that stands at the limit was clipped, and nothing goes back through it.
            grad_state.copy_(
                _hardtanh_backward(grad_state, states[rows], -projection_clip, projection_clip)
            )
            grad_output = grad_state @ projection
            squash = squashed[rows]
            _sigmoid_backward(grad_output * squash, show, grad_input=to_show)
            grad_output *= show
            grad_cell = _tanh_backward(grad_output, squash, grad_input=torch.empty_like(squash))
            grad_cell[:later] += grad_later
            grad_cell = _hardtanh_backward(grad_cell, cells[rows], -cell_clip, cell_clip)
            _sigmoid_backward(grad_cell * new, add, grad_input=to_add)
            _tanh_backward(grad_cell * add, new, grad_input=to_new)
            if number:
                earlier = slice(end - count - steps.running[number - 1], None)
                _sigmoid_backward(grad_cell * cells[earlier][:count], keep, grad_input=to_keep)
            else:
                to_keep.zero_()
            grad_later = grad_cell.mul_(keep)
            end -= count
        first = steps.running[0]
        return (
            (grad_gates @ input_weight)[steps.places_T] if ctx.needs_input_grad[0] else None,
            grad_gates.mT @ inputs_SI,
            grad_gates[first:].mT @ states[steps.before],
            grad_gates.sum(0),
            grad_states.mT @ outputs,
            None,
            None,
            None,
        )
