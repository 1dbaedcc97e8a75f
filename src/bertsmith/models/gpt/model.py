"""GPT (Radford et al. 2018, section 3.1): a Transformer decoder that predicts the next token.

Its blocks are BERT's, with causal attention; it has no segments and no norm over the embeddings,
and the activation is the approximation of GELU by tanh. The word embeddings are the output weights.
"""

from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.language_model import LanguageModel
from bertsmith.models.modules.attention import Past
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.layers import Block, Stack
from bertsmith.models.modules.packed import LanguageBatch, Packed, TextBatch


class GptEmbeddings(nn.Module):
    """Sum of token and learned position embeddings."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.n_positions, config.n_embd)
        self.dropout = Dropout(config.embd_pdrop)

    def forward(self, packed: Packed) -> Tensor:
        """[T, D]; segments make no difference."""
        return self.at(packed.ids_T, packed.positions_T)

    def parts(self, packed: Packed) -> dict[str, Tensor]:
        """What is added, [T, D] each."""
        return {
            "token": self.word(packed.ids_T),
            "position": self.position(packed.positions_T),
        }

    def at(self, ids_T: Tensor, positions_T: Tensor) -> Tensor:
        """[T, D] for tokens at any positions."""
        embedded_TD: Tensor = self.dropout(self.word(ids_T) + self.position(positions_T))
        return embedded_TD


class Gpt(Stack):
    """Embeddings and `n_layer` causal blocks.

    Raises:
        ValueError: from `forward`, when a sequence is longer than the position table.
    """

    embeddings: GptEmbeddings

    def __init__(self, config: GptConfig) -> None:
        super().__init__(
            GptEmbeddings(config),
            (
                Block(
                    config.n_embd,
                    config.n_head,
                    inner=4 * config.n_embd,
                    activation="gelu_new" if config.afn == "gelu" else config.afn,
                    epsilon=config.layer_norm_epsilon,
                    dropout=config.resid_pdrop,
                    attention_dropout=config.attn_pdrop,
                    causal=True,
                )
                for _ in range(config.n_layer)
            ),
            longest=config.n_positions,
        )
        self.config = config

    def nothing_yet(self) -> list[Past]:
        """The start of a sequence for `extend`: room for as many tokens as there are positions."""
        config, word_VD = self.config, self.embeddings.word.weight
        heads = config.n_head
        return [
            Past(word_VD.new_empty(2, config.n_positions, heads, config.n_embd // heads))
            for _ in self.blocks
        ]

    def extend(self, ids_T: Tensor, past: list[Past]) -> Tensor:
        """Hidden states of the next T tokens of one sequence, [T, D], as `forward` has them.

        Costs T tokens, however many came before: their keys and values are in `past`, which is
        changed in place.

        Raises:
            ValueError: there are no positions left.
        """
        before = past[0].tokens
        if before + len(ids_T) > self.config.n_positions:
            raise ValueError(
                f"the sequence would have {before + len(ids_T)} tokens; this model has positions "
                f"for {self.config.n_positions}"
            )
        positions_T = torch.arange(before, before + len(ids_T), device=ids_T.device)
        hidden_TD = self.embeddings.at(ids_T, positions_T)
        for block, layer in zip(self.blocks, past, strict=True):
            assert isinstance(block, Block)
            hidden_TD = block.extend(hidden_TD, layer)
        return hidden_TD


class GptForPretraining(LanguageModel):
    """GPT with its output layer: the word embeddings, no bias (equations 1 and 2).

    Every token of a sequence but the first is predicted from those before it.
    """

    config: GptConfig

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        self.gpt = Gpt(config)
        initialize(self, config.initializer_range, cut=False)

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its config."""
        return {"architectures": ["OpenAIGPTLMHeadModel"]}

    def predictions(self, batch: TextBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """For the objective the states that predict, [R, D], and the ids to predict, [R]."""
        assert isinstance(batch, LanguageBatch)
        followed_R = batch.followed_R
        hidden_RD: Tensor = self.gpt(batch.packed, followed_R)
        return {"forward": (hidden_RD, batch.packed.ids_T[followed_R + 1])}

    @property
    def output_words(self) -> Tensor:
        """The word embeddings."""
        return self.gpt.embeddings.word.weight
