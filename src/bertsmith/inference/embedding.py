"""Texts to vectors: the hidden states of chosen layers, pooled.

Which pooling is apt: `mean`, the mean over a text's tokens, for similarity and search; `cls`, the
first token, only where the model was trained to put the whole text there (the paper's `[CLS]` is
no sentence vector before fine-tuning).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.core.runtime import World
from bertsmith.inference.engine import computed
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.family import Encoder
from bertsmith.models.head_config import chosen_layers
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.features import encode_texts
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Pooling = Literal["mean", "cls"]


def embed(
    encoder: Encoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    pooling: Pooling = "mean",
    layers: Sequence[int] = (-1,),
) -> NDArray[np.float32]:
    """A vector for each text, float32 [N, D], in order.

    A text that is too long is read through windows that overlap by a quarter; its vector is their
    mean, weighted by their tokens (`mean`), or the mean of their first tokens (`cls`).

    Args:
        encoder: in evaluation mode.
        tokenizer: its own.
        texts: any.
        pooling: `mean` over all tokens, `[CLS]` and `[SEP]` counted, as sentence-transformers does;
            `cls`: the first token.
        layers: 0: the embeddings; 1, 2, ...: the layers; negative from the last, -1. Several are
            averaged.

    Raises:
        UsageError: the model has no such layer.
    """
    count = encoder.config.num_hidden_layers + 1
    chosen = chosen_layers(layers, count=count, parameter="layers")
    vectors = np.zeros((len(texts), encoder.config.hidden_size))
    if not texts:
        return vectors.astype(np.float32)
    longest = encoder.config.max_position_embeddings
    limits = Limits(longest=longest, stride=max(1, longest * 3 // 4), long="windows")
    examples = [TextExample("", str(number), text) for number, text in enumerate(texts)]
    features = encode_texts(examples, tokenizer, limits)

    def summed(batch: TaskBatch) -> Tensor:
        """The first hidden state of each input, or the sum of all, [B, D]."""
        states = list(encoder.layers(batch.packed))
        hidden_TD = torch.stack([states[layer] for layer in chosen]).float().mean(0)
        if pooling == "cls":
            return hidden_TD[batch.packed.firsts_B]
        return torch.segment_reduce(hidden_TD, "sum", lengths=batch.packed.starts.diff())

    weights = np.zeros(len(texts))
    device = next(encoder.parameters()).device
    for rows, sums_BD in computed(features, tokenizer, summed, device=device, world=World()):
        example_of = features.rows["example"][rows]
        np.add.at(vectors, example_of, sums_BD.double().cpu().numpy())
        np.add.at(weights, example_of, 1 if pooling == "cls" else features.lengths[rows])
    return (vectors / weights[:, None]).astype(np.float32)
