"""The settings of training itself, as a job hands them to the loop and the optimizer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW's numbers; the learning rate comes from the schedule."""

    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float


@dataclass(frozen=True)
class LoopConfig:
    """How the loop steps, evaluates and saves."""

    seed: int
    max_grad_norm: float
    """Largest L2 norm of the whole gradient."""
    evaluate_every: int
    """Steps; 0: at every twentieth of the run, however many steps that is."""
    save_every: int
    """Steps; 0: every ten minutes of the run's clock."""
