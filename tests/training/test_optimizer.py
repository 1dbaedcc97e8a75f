"""Optimizer: the schedule's numbers, what decays, AdamW's formula, state by name."""

import pytest
import torch
from torch import nn

from bertsmith.core.errors import FolderError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.optimizer import (
    FORGET_EVERY,
    adamw,
    clip,
    forget_faint,
    load_state_by_name,
    parameter_groups,
    set_learning_rate,
    state_by_name,
)
from bertsmith.training.schedule import linear


def optimizer_of(model: nn.Module, weight_decay: float = 0.1) -> torch.optim.AdamW:
    return adamw(
        model, OptimizerConfig(weight_decay=weight_decay, beta1=0.9, beta2=0.98, epsilon=1e-6)
    )


@pytest.mark.parametrize(
    ("progress", "warmup_ratio", "factor"),
    [
        (0.0, 0.1, 0.0),
        (0.05, 0.1, 0.5),
        (0.1, 0.1, 1.0),
        (0.55, 0.1, 0.5),
        (1.0, 0.1, 0.0),
        (0.0, 0.0, 1.0),
        (0.25, 0.0, 0.75),
    ],
)
def test_schedule_rises_and_falls_in_straight_lines(
    progress: float, warmup_ratio: float, factor: float
) -> None:
    assert linear(progress, warmup_ratio) == pytest.approx(factor)


def test_biases_and_norms_do_not_decay() -> None:
    shape = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    model = BertForPretraining(shape)
    decaying, still = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying_names = {names[id(p)] for p in decaying["params"]}  # type: ignore[attr-defined]
    still_names = {names[id(p)] for p in still["params"]}  # type: ignore[attr-defined]
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    assert decaying_names | still_names == set(names.values())
    assert all("bias" in name or "norm" in name for name in still_names)
    assert not any("bias" in name or "norm" in name for name in decaying_names)
    # 3 embeddings, 4 matrices of the block, MLM transform, pooler, classifier
    assert len(decaying_names) == 10


def test_adamw_is_bias_corrected_with_decoupled_decay() -> None:
    model = nn.Linear(2, 1, bias=False)
    weight = torch.tensor([[0.5, -0.25]])
    with torch.no_grad():
        model.weight.copy_(weight)
    optimizer = optimizer_of(model)
    set_learning_rate(optimizer, 0.01)
    mean, square = torch.zeros(1, 2), torch.zeros(1, 2)
    for step, gradient in enumerate(([[1.0, -2.0]], [[0.5, 3.0]]), 1):
        model.weight.grad = torch.tensor(gradient)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * torch.tensor(gradient)
        square = 0.98 * square + 0.02 * torch.tensor(gradient) ** 2
        corrected = (mean / (1 - 0.9**step)) / ((square / (1 - 0.98**step)).sqrt() + 1e-6)
        weight = weight - 0.01 * 0.1 * weight - 0.01 * corrected
        torch.testing.assert_close(model.weight.detach(), weight)


def test_clip_scales_only_what_is_too_long() -> None:
    gradients = [torch.tensor([3.0]), torch.tensor([[4.0]])]
    clip(gradients, 5.0, longest=5.0)
    assert [float(gradient) for gradient in gradients] == [3.0, 4.0]
    clip(gradients, 5.0, longest=1.0)
    assert [float(gradient) for gradient in gradients] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("forgets", [True, False])
def test_moments_of_what_is_not_met_again_do_not_become_subnormal(forgets: bool) -> None:
    model = nn.Embedding(3, 4)
    optimizer = optimizer_of(model)
    set_learning_rate(optimizer, 1e-3)
    least = torch.finfo(torch.float32).tiny
    met = torch.tensor([[1.0], [1e-3], [1e-12]]).expand(3, 4)
    subnormal = 0
    for step in range(1, 1500):
        model.weight.grad = met.clone() if step == 1 else torch.zeros(3, 4)
        optimizer.step()
        if forgets and step % FORGET_EVERY == 0:
            forget_faint(optimizer)
        for name in ("exp_avg", "exp_avg_sq"):
            value = optimizer.state[model.weight][name]
            subnormal += int(((value != 0) & (value.abs() < least)).sum())
    assert (subnormal == 0) == forgets


def test_what_is_forgotten_moves_no_weight() -> None:
    weights = []
    for forgets in (True, False):
        torch.manual_seed(2)
        model = nn.Embedding(3, 4)
        optimizer = optimizer_of(model)
        set_learning_rate(optimizer, 1e-2)
        for step in range(1, 900):
            model.weight.grad = torch.zeros(3, 4)
            model.weight.grad[step % 700 == 1] = 1.0
            optimizer.step()
            if forgets and step % FORGET_EVERY == 0:
                forget_faint(optimizer)
        weights.append(model.weight.detach())
    assert torch.equal(*weights)


def test_state_by_name_comes_back_to_the_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = optimizer_of(model)
    set_learning_rate(optimizer, 0.1)
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    saved = {name: value.clone() for name, value in state_by_name(model, optimizer).items()}
    assert sorted(saved)[:3] == ["0.bias.exp_avg", "0.bias.exp_avg_sq", "0.bias.step"]
    assert len(saved) == 4 * 3
    other = optimizer_of(model)
    load_state_by_name(model, other, saved, source="x")
    again = state_by_name(model, other)
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.step()
    one = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter, value in zip(model.parameters(), before, strict=True):
        parameter.data.copy_(value)
    set_learning_rate(other, 0.1)
    other.step()
    assert all(torch.equal(a, b) for a, b in zip(one, model.parameters(), strict=True))


def test_state_of_another_model_is_refused() -> None:
    model = nn.Linear(3, 4)
    with pytest.raises(FolderError, match=r"t\.safetensors holds other\.exp_avg .*no such"):
        load_state_by_name(
            model, optimizer_of(model), {"other.exp_avg": torch.zeros(3)}, source="t.safetensors"
        )
    with pytest.raises(FolderError, match=r"weight\.exp_avg of shape \(3,\).*\(4, 3\)"):
        load_state_by_name(
            model, optimizer_of(model), {"weight.exp_avg": torch.zeros(3)}, source="t"
        )
