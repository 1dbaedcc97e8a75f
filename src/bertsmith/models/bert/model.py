"""The BERT encoder (Devlin et al., arXiv 1810.04805, section 3) on packed input."""

from torch import nn

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.modules.layers import Block, Embeddings, Stack


class Bert(Stack):
    """Embeddings and `num_hidden_layers` Transformer encoder blocks.

    Raises:
        ValueError: from `forward`, when a sequence is longer than the position table.
    """

    embeddings: Embeddings

    def __init__(self, config: BertConfig) -> None:
        super().__init__(
            Embeddings(config),
            (
                Block(
                    config.hidden_size,
                    config.num_attention_heads,
                    inner=config.intermediate_size,
                    activation=config.hidden_act,
                    epsilon=config.layer_norm_eps,
                    dropout=config.hidden_dropout_prob,
                    attention_dropout=config.attention_probs_dropout_prob,
                    causal=config.is_decoder,
                )
                for _ in range(config.num_hidden_layers)
            ),
            longest=config.max_position_embeddings,
        )
        self.config = config


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
