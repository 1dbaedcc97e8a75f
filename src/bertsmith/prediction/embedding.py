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

from bertsmith.errors import UsageError
from bertsmith.models.bert import Bert
from bertsmith.tasks.features import Limits, build
from bertsmith.tasks.task import TextExample
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.tuning.batches import evaluation_batches

Pooling = Literal["mean", "cls"]

_TOKENS_AT_ONCE = 4096


def embed(
    encoder: Bert,
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
    if not layers or any(not -count <= layer < count for layer in layers):
        raise UsageError(
            f"--layers {','.join(map(str, layers))}: the model has layers 0 (embeddings) to "
            f"{count - 1}, or -{count} to -1 counted from the last; name at least one."
        )
    chosen = [layer % count for layer in layers]
    vectors = np.zeros((len(texts), encoder.config.hidden_size))
    if not texts:
        return vectors.astype(np.float32)
    longest = encoder.config.max_position_embeddings
    limits = Limits(longest=longest, stride=max(1, longest * 3 // 4), long="windows")
    examples = [TextExample("", str(number), text) for number, text in enumerate(texts)]
    features = build("regress", examples, tokenizer, limits)
    weights = np.zeros(len(texts))
    for rows, batch in evaluation_batches(features, tokenizer, micro_tokens=_TOKENS_AT_ONCE):
        packed = batch.packed.to(next(encoder.parameters()).device)
        with torch.inference_mode():
            states = list(encoder.layers(packed))
            hidden_TD = torch.stack([states[layer] for layer in chosen]).mean(0)
        starts = packed.starts[:-1].to(torch.int64)
        lengths = packed.starts.diff()
        if pooling == "cls":
            sums_BD, counts = hidden_TD[starts], torch.ones_like(lengths)
        else:
            sums_BD, counts = torch.segment_reduce(hidden_TD, "sum", lengths=lengths), lengths
        example_of = features.rows["example"][rows]
        np.add.at(vectors, example_of, sums_BD.double().cpu().numpy())
        np.add.at(weights, example_of, counts.cpu().numpy())
    return (vectors / weights[:, None]).astype(np.float32)
