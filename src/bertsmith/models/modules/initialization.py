"""The weights that a new model begins with."""

from torch import nn


def initialize(module: nn.Module, deviation: float, *, cut: bool = True) -> None:
    """Weights from a normal, biases 0, norms 1; draws from torch's default generator, in order.

    `cut`: the normal ends at two deviations (Google's `modeling.py`); else it has its tails, as in
    OpenAI's code.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            if cut:
                nn.init.trunc_normal_(part.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            else:
                nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
