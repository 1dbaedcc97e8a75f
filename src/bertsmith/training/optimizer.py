"""AdamW as BERT uses it, the size of the gradient, and the optimizer's state by parameter name."""

import torch
from torch import Tensor, nn

from bertsmith.core.errors import FolderError
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.parallel.sharding import is_whole, part_of, whole


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and embeddings decay; biases and LayerNorm weights, the only vectors, do not.

    Google's `optimization.py` names the same parameters by pattern; the shape says it without one.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Bias-corrected AdamW in one fused pass (on a CPU 9 times as fast as the pass per operation).

    The learning rate starts at 0; the loop sets it before every step.
    """
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """L2 norm of all of them together, a scalar; of sharded ones over all processes."""
    return whole(torch.nn.utils.get_total_norm(gradients))


def clip(gradients: list[Tensor], norm: float, *, longest: float) -> None:
    """Scales the gradients so that their total L2 norm, already measured as `norm`, is `longest`.

    Nothing is touched when it is no longer than that, which saves a pass over them.
    """
    if norm > longest:
        torch._foreach_mul_(gradients, longest / norm)


FAINT = 1e-34
"""Smaller values do not move a weight: they are added to an epsilon of 1e-6 or divided by it."""
FORGET_EVERY = 64
"""Steps. Means decay by 0.9 in each, and from `FAINT` not into the subnormal numbers meanwhile."""


def forget_faint(optimizer: torch.optim.Optimizer) -> None:
    """Sets moments below `FAINT` to 0.

    The mean gradient of a word that is in few batches decays in every step. After some 700 it would
    be a subnormal number, and stay one, as 0.9 of four quanta is rounded to four; with such numbers
    a CPU takes six times as long for the step.
    """
    for moments in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name].mul_(moments[name].abs() >= FAINT)


def state_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as `<parameter name>.<moment>`, for `load_state_by_name`."""
    return {
        f"{name}.{moment}": value.detach()
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_by_name(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], *, source: str
) -> None:
    """Puts back what `state_by_name` took, on the device of each parameter.

    Raises:
        FolderError: a tensor belongs to no parameter of the model or has another shape.
    """
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, moment = key.rpartition(".")
        parameter = parameters.get(name)
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            expected = "no such parameter" if parameter is None else str(tuple(parameter.shape))
            raise FolderError(
                f"{source} holds {key} of shape {tuple(value.shape)}, but the model has "
                f"{expected}; the folder mixes files of two runs or is from an earlier version. "
                "Restore it from a good copy, or restart the run."
            )
        here = value.to(parameter.device, copy=True) if is_whole(value) else value
        optimizer.state[parameter][moment] = part_of(here, parameter)
