"""The pre-training heads: masked language model and next sentence (paper, section 3.1)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.model import Bert
from bertsmith.models.language_model import LanguageModel
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.layers import activate
from bertsmith.models.modules.linear import Linear
from bertsmith.models.modules.packed import LanguageBatch, Packed, PretrainBatch, TextBatch


class Pooler(nn.Module):
    """The first token's hidden state through a linear layer and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, first_BD: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        return torch.tanh(self.dense(first_BD))


class MlmHead(nn.Module):
    """Transform, LayerNorm, and the word embeddings as output weights, with a bias per piece."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias_V = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = config.hidden_act

    def transform(self, hidden_PD: Tensor) -> Tensor:
        """[P, D] -> [P, D], ready for the product with the word embeddings."""
        transformed_PD: Tensor = self.norm(activate(self.dense(hidden_PD), self.activation))
        return transformed_PD


class BertForPretraining(LanguageModel):
    """BERT with the MLM head and, when there is a pair task, pooler and two-way classifier.

    The last layer is computed for the first tokens and the masked ones only, and the vocabulary
    projection for the masked ones.
    """

    config: BertConfig

    def __init__(self, config: BertConfig, *, pair_task: bool = True) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.mlm = MlmHead(config)
        self.pooler = Pooler(config) if pair_task else None
        self.next_sentence = Linear(config.hidden_size, 2) if pair_task else None
        initialize(self, config.initializer_range)

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its config."""
        if self.config.is_decoder:
            return {"architectures": ["BertLMHeadModel"]}
        name = "BertForMaskedLM" if self.next_sentence is None else "BertForPreTraining"
        return {"architectures": [name]}

    def losses(self, batch: TextBatch) -> dict[str, Tensor]:
        """Sums of negative log-likelihoods in nats, by the keys of `batch.counts`."""
        first_BD, predictions = self._read(batch)
        losses = self.word_losses(predictions)
        if isinstance(batch, PretrainBatch) and batch.next_B is not None:
            scores_BC = self.pair_logits(first_BD)
            losses["nsp"] = functional.cross_entropy(
                scores_BC.float(), batch.next_B, reduction="sum"
            )
        return losses

    @torch.no_grad()
    def evaluate(self, batch: TextBatch) -> dict[str, tuple[float, int]]:
        """For each objective: sum of the losses in nats and how many predictions were right."""
        first_BD, predictions = self._read(batch)
        scores = self.word_scores(predictions)
        if isinstance(batch, PretrainBatch) and batch.next_B is not None:
            scores_BC = self.pair_logits(first_BD).float()
            pair_loss = float(functional.cross_entropy(scores_BC, batch.next_B, reduction="sum"))
            scores["nsp"] = (pair_loss, int((scores_BC.argmax(-1) == batch.next_B).sum()))
        return scores

    def predictions(self, batch: TextBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """For the word objective the states that predict, [P, D], and the ids to predict, [P]."""
        name, predicted_P, labels_P = _predicted(batch)
        return {name: (self.bert(batch.packed, predicted_P), labels_P)}

    def _read(self, batch: TextBatch) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The first tokens' states, as `hidden` has them, and `predictions`."""
        name, predicted_P, labels_P = _predicted(batch)
        first_BD, hidden_PD = self.hidden(batch.packed, predicted_P)
        return first_BD, {name: (hidden_PD, labels_P)}

    def hidden(self, packed: Packed, rows_P: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of the last layer at the first tokens, [B, D], and at `rows_P`, [P, D].

        Without a pair task nothing looks at the first tokens, and there are none: [0, D].
        """
        firsts_B = packed.firsts_B if self.pooler is not None else rows_P[:0]
        hidden_RD: Tensor = self.bert(packed, torch.cat([firsts_B, rows_P]))
        return hidden_RD[: len(firsts_B)], hidden_RD[len(firsts_B) :]

    def transform(self, hidden_PD: Tensor) -> Tensor:
        """The MLM head's layer, [P, D] -> [P, D]."""
        return self.mlm.transform(hidden_PD)

    @property
    def transform_layer(self) -> nn.Linear:
        """The MLM head's layer."""
        return self.mlm.dense

    @property
    def output_words(self) -> Tensor:
        """The word embeddings."""
        return self.bert.embeddings.word.weight

    @property
    def output_bias(self) -> Tensor:
        """The MLM head's."""
        return self.mlm.bias_V

    def pair_logits(self, first_BD: Tensor) -> Tensor:
        """Scores [B, 2] from the first tokens' hidden states.

        Column 0 says that B follows A, column 1 that it does not.

        Raises:
            ValueError: the model was built without a pair task.
        """
        if self.pooler is None or self.next_sentence is None:
            raise ValueError("this model was trained without a next-sentence head")
        scores_BC: Tensor = self.next_sentence(self.pooler(first_BD))
        return scores_BC


class BertForNextSentence(nn.Module):
    """BERT with pooler and two-way classifier alone (`BertForNextSentencePrediction`)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.pooler = Pooler(config)
        self.next_sentence = Linear(config.hidden_size, 2)
        initialize(self, config.initializer_range)

    def pair_logits(self, first_BD: Tensor) -> Tensor:
        """Scores [B, 2], as `BertForPretraining.pair_logits`."""
        scores_BC: Tensor = self.next_sentence(self.pooler(first_BD))
        return scores_BC


def _predicted(batch: TextBatch) -> tuple[str, Tensor, Tensor]:
    """Name of the word objective, which rows of T predict, and what is right there."""
    if isinstance(batch, LanguageBatch):
        followed_R = batch.followed_R
        return "forward", followed_R, batch.packed.ids_T[followed_R + 1]
    return "mlm", batch.masked_P, batch.labels_P
