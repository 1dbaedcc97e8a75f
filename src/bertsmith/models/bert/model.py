"""The BERT encoder (Devlin et al., arXiv 1810.04805, section 3) on packed input."""

from torch import Tensor, nn

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.embedding import WordEmbedding
from bertsmith.models.modules.layers import Block, Stack
from bertsmith.models.modules.packed import Packed


class BertEmbeddings(nn.Module):
    """Sum of token, segment and learned position embeddings, then LayerNorm (paper, figure 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word = WordEmbedding(config.vocab_size, width)
        self.position = nn.Embedding(config.max_position_embeddings, width)
        self.segment = nn.Embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, packed: Packed) -> Tensor:
        """[T, D]."""
        summed_TD = self.word(packed.ids_T)
        summed_TD = summed_TD + self.segment(packed.segments_T)
        summed_TD = summed_TD + self.position(packed.positions_T)
        embedded_TD: Tensor = self.dropout(self.norm(summed_TD))
        return embedded_TD

    def parts(self, packed: Packed) -> dict[str, Tensor]:
        """What is added, [T, D] each."""
        return {
            "token": self.word(packed.ids_T),
            "segment": self.segment(packed.segments_T),
            "position": self.position(packed.positions_T),
        }


class Bert(Stack):
    """Embeddings and `num_hidden_layers` Transformer encoder blocks.

    Raises:
        ValueError: from `forward`, when a sequence is longer than the position table.
    """

    embeddings: BertEmbeddings

    def __init__(self, config: BertConfig) -> None:
        super().__init__(
            BertEmbeddings(config),
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
