"""The projected LSTM: its formulas step by step, its gradients, and how sequences are ordered."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from bertsmith.models.modules.lstm import ProjectedLstm, steps_of
from bertsmith.models.modules.packed import Packed, pack

LENGTHS = [2, 5, 1, 5, 3]


def batch(lengths: list[int] = LENGTHS) -> Packed:
    return pack([[7] * length for length in lengths])


def new_layer(clip: float) -> ProjectedLstm:
    torch.manual_seed(0)
    layer = ProjectedLstm(3, width=4, projection=2, cell_clip=clip, projection_clip=clip / 3)
    with torch.no_grad():
        for parameter in layer.double().parameters():
            parameter.normal_(std=1.2)
    return layer


def rows(lengths: list[int] = LENGTHS, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), 3, generator=generator, dtype=torch.float64)


def written_out(layer: ProjectedLstm, inputs_LI: Tensor, *, backward: bool) -> Tensor:
    """One sequence, one step after the other."""
    state, cell = torch.zeros(2).double(), torch.zeros(4).double()
    states = []
    for row in inputs_LI.flip(0) if backward else inputs_LI:
        gates = layer.input_weight @ row + layer.state_weight @ state + layer.bias
        i, j, f, o = gates.split(4)
        cell = torch.sigmoid(f + 1) * cell + torch.sigmoid(i) * torch.tanh(j)
        cell = cell.clamp(-layer.cell_clip, layer.cell_clip)
        state = layer.projection @ (torch.sigmoid(o) * torch.tanh(cell))
        state = state.clamp(-layer.projection_clip, layer.projection_clip)
        states.append(state)
    return torch.stack(states[::-1] if backward else states)


# Where nothing is clipped, and where both limits are met.
CLIPS = {"inactive": 50.0, "active": 0.6}


def test_clipping_is_met_in_these_tests():
    layers = {name: new_layer(clip) for name, clip in CLIPS.items()}
    found = {
        name: layer(rows(), steps_of(batch(), backward=False)) for name, layer in layers.items()
    }
    limited = {
        name: (found[name].abs() == layer.projection_clip).double().mean().item()
        for name, layer in layers.items()
    }
    assert limited["inactive"] == 0
    assert 0.2 < limited["active"] < 0.9
    layers["active"].cell_clip = 50.0
    other = layers["active"](rows(), steps_of(batch(), backward=False))
    assert not torch.allclose(other, found["active"])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_states_and_gradients_are_those_of_the_formulas(clip, backward):
    layer, packed = new_layer(clip), batch()
    weights_TP = rows(seed=2)[:, :2]
    inputs, theirs = (rows().requires_grad_() for _ in range(2))
    states_TP = layer(inputs, steps_of(packed, backward=backward))
    (states_TP * weights_TP).sum().backward()
    gradients = [inputs.grad, *(parameter.grad.clone() for parameter in layer.parameters())]

    layer.zero_grad()
    expected_TP = torch.cat(
        [written_out(layer, part, backward=backward) for part in theirs.split(LENGTHS)]
    )
    torch.testing.assert_close(states_TP, expected_TP, rtol=1e-12, atol=1e-12)
    (expected_TP * weights_TP).sum().backward()
    expected = [theirs.grad, *(parameter.grad for parameter in layer.parameters())]
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_gradients_are_those_of_small_differences(clip, backward):
    layer, steps = new_layer(clip), steps_of(batch([2, 3, 1]), backward=backward)
    names = [name for name, _ in layer.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]

    def states(inputs_TI: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (inputs_TI, steps))

    assert torch.autograd.gradcheck(states, (rows([2, 3, 1]).requires_grad_(), *values))


def test_a_second_backward_pass_gives_the_same():
    layer, inputs = new_layer(0.6), rows().requires_grad_()
    total = layer(inputs, steps_of(batch(), backward=False)).sum()
    one = torch.autograd.grad(total, [inputs, *layer.parameters()], retain_graph=True)
    other = torch.autograd.grad(total, [inputs, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("backward", [False, True])
def test_order_and_neighbours_change_no_state(backward):
    layer = new_layer(0.6)
    whole = layer(rows(), steps_of(batch(), backward=backward)).split(LENGTHS)
    parts = rows().split(LENGTHS)
    for chosen in ([3, 0, 4, 1, 2], [1], [2], [0, 4]):
        packed = batch([LENGTHS[number] for number in chosen])
        inputs = torch.cat([parts[number] for number in chosen])
        found = layer(inputs, steps_of(packed, backward=backward))
        expected = torch.cat([whole[number] for number in chosen])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_steps_go_over_the_longest_sequence_first():
    forward = steps_of(batch([1, 3, 2]), backward=False)
    assert forward.running == [3, 2, 1]
    assert forward.order_S.tolist() == [1, 4, 0, 2, 5, 3]
    assert forward.places_T.tolist() == [2, 0, 3, 5, 1, 4]
    assert forward.before.tolist() == [0, 1, 3]
    backward = steps_of(batch([1, 3, 2]), backward=True)
    assert backward.running == [3, 2, 1]
    assert backward.order_S.tolist() == [3, 5, 0, 2, 4, 1]
    assert backward.before.tolist() == [0, 1, 3]


def test_the_recurrence_stays_in_its_weights_type_under_autocast():
    layer, steps = new_layer(3.0).float(), steps_of(batch(), backward=False)
    inputs = rows().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(inputs, steps)
    assert found.dtype == torch.float32
    assert torch.equal(found, layer(inputs, steps))


def test_initial_weights_are_glorots_over_input_and_state_together():
    torch.manual_seed(0)
    layer = ProjectedLstm(30, width=64, projection=20, cell_clip=3.0, projection_clip=3.0)
    bound = (6 / (30 + 20 + 4 * 64)) ** 0.5
    for weight in (layer.input_weight, layer.state_weight):
        assert 0.98 * bound < weight.abs().max() <= bound
    assert 0.98 < layer.projection.abs().max() / (6 / (64 + 20)) ** 0.5 <= 1
    assert layer.bias.abs().max() == 0
