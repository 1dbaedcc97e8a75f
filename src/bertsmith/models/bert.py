"""The BERT encoder (Devlin et al., arXiv 1810.04805, section 3) on packed input."""

from collections import deque
from collections.abc import Iterator

from torch import Tensor, nn

from bertsmith.models.attention import length_groups
from bertsmith.models.layers import Block, Embeddings
from bertsmith.models.packed import Packed
from bertsmith.shapes import BertConfig


class Bert(nn.Module):
    """Embeddings and `num_hidden_layers` Transformer encoder blocks.

    Raises:
        ValueError: from `forward`, when a sequence is longer than the position table.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, packed: Packed, rows_R: Tensor | None = None) -> Tensor:
        """Hidden states of the last layer: [T, D], or [R, D] at `rows_R`, as `layers` has them."""
        return deque(self.layers(packed, rows_R), maxlen=1).pop()

    def layers(self, packed: Packed, rows_R: Tensor | None = None) -> Iterator[Tensor]:
        """The embeddings, then the hidden states of each layer, [T, D] each.

        Most heads look at few tokens of the last layer. `rows_R` (int64 indices into T) names them:
        then it comes as [R, D], and three quarters of its products are computed for those alone.
        """
        if packed.longest > self.config.max_position_embeddings:
            raise ValueError(
                f"a sequence has {packed.longest} tokens; this model has positions for "
                f"{self.config.max_position_embeddings}"
            )
        on_cpu = packed.ids_T.device.type == "cpu"
        groups = length_groups(packed.lengths) if on_cpu else []
        hidden_TD: Tensor = self.embeddings(packed)
        yield hidden_TD
        for number, block in enumerate(self.blocks, 1):
            rows = rows_R if number == len(self.blocks) else None
            hidden_TD = block(hidden_TD, packed, groups, rows)
            yield hidden_TD


def initialize(module: nn.Module, deviation: float) -> None:
    """Weights from a normal cut at two deviations, biases 0, norms 1 (Google's `modeling.py`).

    Draws from torch's default generator, in the order of the modules.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
