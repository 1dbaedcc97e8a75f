"""What the pre-training models of all families have in common: losses and scores of predictions."""

from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.models.config import ModelConfig, Objective
from bertsmith.models.modules.linear import linear
from bertsmith.models.modules.packed import TextBatch
from bertsmith.models.modules.vocabulary import projected_cross_entropy, vocabulary_scores

Predictions = dict[str, tuple[Tensor, Tensor]]
"""For each objective the states that predict, [R, D], and the ids to predict, [R]."""


class LanguageModel(nn.Module):
    """An encoder with the output weights that predict words from its states.

    A family's class gives `predictions`, `output_words` and, where it has them, `transform` and
    `output_bias`.
    """

    config: ModelConfig

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its config."""
        raise NotImplementedError

    def predictions(self, batch: TextBatch) -> Predictions:
        """For each objective the states that predict, [R, D], and the ids to predict, [R]."""
        raise NotImplementedError

    @property
    def output_words(self) -> Tensor:
        """The output weights, [V, D]."""
        raise NotImplementedError

    @property
    def output_bias(self) -> Tensor | None:
        """Of each word, [V]."""
        return None

    def transform(self, hidden_RD: Tensor) -> Tensor:
        """What comes between the states and the output weights, [R, D] -> [R, D]."""
        return hidden_RD

    @property
    def transform_layer(self) -> nn.Linear | None:
        """The layer in `transform`, if there is one."""
        return None

    @property
    def objective(self) -> Objective:
        """What it predicts: masked words, or every word from one side or from each."""
        return "forward" if self.config.left_to_right else self.config.objective

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """Scores over the vocabulary, [R, V]."""
        return linear(self.transform(hidden_RD), self.output_words, self.output_bias)

    def losses(self, batch: TextBatch) -> dict[str, Tensor]:
        """Sums of negative log-likelihoods in nats, by the keys of `batch.counts`."""
        return self.word_losses(self.predictions(batch))

    @torch.no_grad()
    def evaluate(self, batch: TextBatch) -> dict[str, tuple[float, int]]:
        """For each objective: sum of the losses in nats and how many predictions were right."""
        return self.word_scores(self.predictions(batch))

    def word_losses(self, predictions: Predictions) -> dict[str, Tensor]:
        """The losses of predicted words."""
        return {
            name: projected_cross_entropy(
                self.transform(hidden_RD), self.output_words, self.output_bias, labels_R
            )
            for name, (hidden_RD, labels_R) in predictions.items()
        }

    def word_scores(self, predictions: Predictions) -> dict[str, tuple[float, int]]:
        """Losses and number of right predictions of words."""
        vocabulary = self.config.vocab_size
        return {
            name: vocabulary_scores(hidden_RD, labels_R, self.logits, vocabulary=vocabulary)
            for name, (hidden_RD, labels_R) in predictions.items()
        }
