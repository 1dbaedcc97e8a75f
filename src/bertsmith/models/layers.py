"""The encoder's parts: embeddings, attention block, feed-forward (paper, section 3)."""

from torch import Tensor, nn
from torch.nn import functional

from bertsmith.models.attention import Group, attention
from bertsmith.models.dropout import Dropout
from bertsmith.models.packed import Packed
from bertsmith.shapes import Activation, BertConfig


class Embeddings(nn.Module):
    """Sum of token, segment and learned position embeddings, then LayerNorm (paper, figure 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word = nn.Embedding(config.vocab_size, width)
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


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one product."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, hidden_TD: Tensor, packed: Packed, groups: list[Group], rows_R: Tensor | None
    ) -> Tensor:
        """[T, D] -> [T, D], or [R, D] for the tokens at `rows_R`."""
        qkv_T3NH = self.qkv(hidden_TD).view(len(hidden_TD), 3, self.heads, -1)
        attended = attention(qkv_T3NH, packed, self.dropout, groups)
        projected: Tensor = self.output(attended if rows_R is None else attended[rows_R])
        return projected


class FeedForward(nn.Module):
    """Two linear layers with the activation between them."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = config.hidden_act

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        projected_TD: Tensor = self.output(activate(self.inner(hidden_TD), self.activation))
        return projected_TD


class Block(nn.Module):
    """Attention and feed-forward, each with dropout, residual and LayerNorm after the sum."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_TD: Tensor,
        packed: Packed,
        groups: list[Group],
        rows_R: Tensor | None = None,
    ) -> Tensor:
        """[T, D] -> [T, D], or [R, D] for the tokens at `rows_R`, which see all the others."""
        attended = self.attention(hidden_TD, packed, groups, rows_R)
        hidden = hidden_TD if rows_R is None else hidden_TD[rows_R]
        hidden = self.attention_norm(self.dropout.add(attended, hidden))
        normed: Tensor = self.feed_forward_norm(self.dropout.add(self.feed_forward(hidden), hidden))
        return normed


def activate(hidden: Tensor, name: Activation) -> Tensor:
    """The activation called `name` in `config.json`."""
    match name:
        case "gelu":
            return functional.gelu(hidden)
        case "gelu_new":
            return functional.gelu(hidden, approximate="tanh")
        case "relu":
            return functional.relu(hidden)
