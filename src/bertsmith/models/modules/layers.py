"""The encoders' parts: attention, feed-forward, and the stack they make (section 3).

BERT and GPT are the same blocks, normalised after each sum; what differs is an argument.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertsmith.models.config import Activation
from bertsmith.models.modules.attention import Group, Past, attend_to_past, attention, length_groups
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.linear import Linear, is_half_on_cpu, whole_tiles
from bertsmith.models.modules.packed import Packed


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one product."""

    def __init__(self, width: int, heads: int, *, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = Linear(width, 3 * width)
        self.output = Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, hidden_TD: Tensor, packed: Packed, groups: list[Group], rows_R: Tensor | None
    ) -> Tensor:
        """[T, D] -> [T, D], or [R, D] for the tokens at `rows_R`."""
        qkv_T3NH = self._qkv(hidden_TD)
        attended = attention(qkv_T3NH, packed, self.dropout, groups, causal=self.causal)
        projected: Tensor = self.output(attended if rows_R is None else attended[rows_R])
        return projected

    def extend(self, hidden_TD: Tensor, past: Past) -> Tensor:
        """As `forward`, for the next T tokens of one sequence."""
        extended_TD: Tensor = self.output(attend_to_past(self._qkv(hidden_TD), past))
        return extended_TD

    def weights(self, hidden_LD: Tensor) -> Tensor:
        """The probabilities with which each token of one sequence takes from each, [N, L, L]."""
        queries_LNH, keys_LNH, _ = self._qkv(hidden_LD).unbind(1)
        scores_NLL = torch.einsum("lnh,mnh->nlm", queries_LNH, keys_LNH)
        scores_NLL = scores_NLL * queries_LNH.shape[-1] ** -0.5
        if self.causal:
            later_LL = torch.ones(scores_NLL.shape[1:], dtype=torch.bool).triu(1)
            scores_NLL = scores_NLL.masked_fill(later_LL.to(scores_NLL.device), -torch.inf)
        weights_NLL: Tensor = scores_NLL.softmax(-1)
        return weights_NLL

    def _qkv(self, hidden_TD: Tensor) -> Tensor:
        qkv_T3NH: Tensor = self.qkv(hidden_TD).view(len(hidden_TD), 3, self.heads, -1)
        return qkv_T3NH


class FeedForward(nn.Module):
    """Two linear layers with the activation between them."""

    def __init__(self, width: int, inner: int, *, activation: Activation) -> None:
        super().__init__()
        self.inner = Linear(width, inner)
        self.output = Linear(inner, width)
        self.activation = activation

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        projected_TD: Tensor = self.output(activate(self.inner(hidden_TD), self.activation))
        return projected_TD


class Block(nn.Module):
    """Attention and feed-forward, each with dropout, residual and LayerNorm after the sum."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        inner: int,
        activation: Activation,
        epsilon: float,
        dropout: float,
        attention_dropout: float,
        causal: bool,
    ) -> None:
        """Of `width` D, with `heads` N and a feed-forward `inner` wide; `epsilon` of the norms.

        `causal`: every token sees itself and those before it only.
        """
        super().__init__()
        self.attention = Attention(width, heads, dropout=attention_dropout, causal=causal)
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed_forward = FeedForward(width, inner, activation=activation)
        self.feed_forward_norm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        hidden_TD: Tensor,
        packed: Packed,
        groups: list[Group],
        rows_R: Tensor | None = None,
    ) -> Tensor:
        """[T, D] -> [T, D], or [R, D] for the tokens at `rows_R`, which see all that they may."""
        attended = self.attention(hidden_TD, packed, groups, rows_R)
        return self._after(attended, hidden_TD if rows_R is None else hidden_TD[rows_R])

    def extend(self, hidden_TD: Tensor, past: Past) -> Tensor:
        """[T, D] -> [T, D] for the next T tokens of one sequence, whose others are in `past`."""
        return self._after(self.attention.extend(hidden_TD, past), hidden_TD)

    def _after(self, attended: Tensor, hidden: Tensor) -> Tensor:
        hidden = self.attention_norm(self.dropout.add(attended, hidden))
        normed: Tensor = self.feed_forward_norm(self.dropout.add(self.feed_forward(hidden), hidden))
        return normed


class Stack(nn.Module):
    """Embeddings and blocks: an encoder, and the one way to call it.

    Raises:
        ValueError: from `forward` and `layers`, when a sequence is longer than the position table.
    """

    def __init__(self, embeddings: nn.Module, blocks: Iterable[Block], *, longest: int) -> None:
        """`longest`: positions that there are."""
        super().__init__()
        self.embeddings = embeddings
        self.blocks = nn.ModuleList(blocks)
        self.longest = longest

    def forward(self, packed: Packed, rows_R: Tensor | None = None) -> Tensor:
        """Hidden states of the last layer: [T, D], or [R, D] at `rows_R`, as `layers` has them."""
        return deque(self.layers(packed, rows_R), maxlen=1).pop()

    def layers(self, packed: Packed, rows_R: Tensor | None = None) -> Iterator[Tensor]:
        """The embeddings, then the hidden states of each layer, [T, D] each.

        Most heads look at few tokens of the last layer. `rows_R` (int64 indices into T) names them:
        then it comes as [R, D], and three quarters of its products are computed for those alone.
        """
        if packed.longest > self.longest:
            raise ValueError(
                f"a sequence has {packed.longest} tokens; this model has positions for "
                f"{self.longest}"
            )
        on_cpu = packed.ids_T.device.type == "cpu"
        groups = length_groups(packed.lengths) if on_cpu else []
        hidden_TD: Tensor = self.embeddings(packed)
        yield hidden_TD
        tokens = len(hidden_TD)
        if is_half_on_cpu(hidden_TD):  # Once, so that no layer need do it.
            hidden_TD = whole_tiles(hidden_TD)
        for number, block in enumerate(self.blocks, 1):
            rows = rows_R if number == len(self.blocks) else None
            hidden_TD = block(hidden_TD, packed, groups, rows)
            yield hidden_TD if rows is not None else hidden_TD[:tokens]

    def attention_weights(self, packed: Packed) -> list[Tensor]:
        """Of each layer the attention inside the batch's one sequence, [N, L, L]."""
        states = list(self.layers(packed))[:-1]
        return [
            block.attention.weights(hidden_LD)  # type: ignore[operator, union-attr]
            for block, hidden_LD in zip(self.blocks, states, strict=True)
        ]


def activate(hidden: Tensor, name: Activation) -> Tensor:
    """The activation called `name` in `config.json`."""
    match name:
        case "gelu" | "gelu_python":
            return functional.gelu(hidden)
        case "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh":
            return functional.gelu(hidden, approximate="tanh")
        case "relu":
            return functional.relu(hidden)
        case "silu" | "swish":
            return functional.silu(hidden)
        case "tanh":
            return torch.tanh(hidden)
