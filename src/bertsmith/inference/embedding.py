"""Texts to vectors: the hidden states of chosen layers, pooled.

A folder of sentence-transformers says itself how its vectors are made, and is followed. For any
other model: `mean`, the mean over a text's tokens, is for similarity and search; `cls`, the first
token, only for a model that was trained to put the whole text there (the paper's `[CLS]` is no
sentence vector before fine-tuning).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bertsmith.checkpoints.sentence_modules import (
    Pooling,
    SentenceModel,
    read_sentence_model,
)
from bertsmith.core.errors import UsageError, nearest, option
from bertsmith.inference.backends.backend import Backend
from bertsmith.inference.engine import computed
from bertsmith.inference.sentence_vectors import modules_after_pooling, pool
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import ModelConfig
from bertsmith.models.head_config import chosen_layers
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.features import encode_texts
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How a text becomes a vector."""

    pooling: tuple[Pooling, ...] = ("mean",)
    """Several are put side by side. Over all tokens, `[CLS]` and `[SEP]` counted."""
    layers: Sequence[int] = (-1,)
    """To average: 0 the embeddings, 1, 2, ... the layers; negative from the last, -1."""
    max_length: int | None = None
    """Tokens after which a text is cut off. None: what a model cannot read at once is read through
    windows that overlap by a quarter, whose vectors are averaged, weighted by their tokens where
    the pooling is `mean`."""
    lower_case: bool = False
    """Whether texts are lower-cased before the tokenizer sees them."""
    prompt: str = ""
    """What is put before each text."""
    include_prompt: bool = True
    """Whether the tokens of the prompt count when pooling."""
    following: nn.Sequential = field(default_factory=nn.Sequential)
    """What is done to the pooled vectors."""

    def __str__(self) -> str:
        """For people: `pooling mean, then Dense, Normalize; texts end after 256 tokens`."""
        after = ", ".join(type(module).__name__ for module in self.following)
        parts = [f"pooling {' + '.join(self.pooling)}{f', then {after}' if after else ''}"]
        if self.prompt:
            parts.append(f"prompt {self.prompt!r}")
        if self.max_length is not None:
            parts.append(f"texts are cut after {self.max_length} tokens")
        return "; ".join(parts)


def choose(
    folder: Path,
    config: ModelConfig,
    pooling: Pooling | None,
    layers: Sequence[int] | None,
    prompt: str | None,
    default: Embedding | None = None,
) -> Embedding:
    """How a model makes its vectors.

    A folder of sentence-transformers is followed: its pooling, the modules behind it, its limit of
    tokens and its prompts. With `pooling` or `layers`, and for any other model, the model's own
    states are pooled.

    Args:
        folder: of the model.
        config: of the model.
        pooling: None: as the folder says, else `mean`.
        layers: None: as the folder says, else the last.
        prompt: name of a prompt of the folder, empty for none; None: the folder's default.
        default: of an export: the pooling and layers that it was made for.

    Raises:
        UsageError: the model has no such prompt, cannot be pooled so, or a module of the folder is
            not supported.
        FolderError: a file of a module is missing or damaged.
    """
    if pooling is None and layers is None:
        model = read_sentence_model(folder)
        if model is not None:
            return _as_the_folder_says(model, config, prompt)
    if prompt:
        raise UsageError(
            f"{option('prompt', prompt)} needs a folder of sentence-transformers with prompts, "
            "pooled as it says; put the words before the texts instead."
        )
    if pooling == "cls" and (config.left_to_right or config.objective != "masked"):
        reader = "this model" if config.left_to_right else f"one half of {config.title}"
        raise UsageError(
            f"{option('pooling', 'cls')}: {reader} reads from left to right, so its first token "
            f"knows nothing of the text; choose mean."
        )
    default = default or Embedding()
    return Embedding(
        pooling=default.pooling if pooling is None else (pooling,),
        layers=default.layers if layers is None else layers,
    )


def _as_the_folder_says(model: SentenceModel, config: ModelConfig, prompt: str | None) -> Embedding:
    name = model.default_prompt if prompt is None else prompt
    if name and name not in model.prompts:
        known = ", ".join(model.prompts) or "it has none"
        raise UsageError(
            f"{option('prompt', name)} is not a prompt of {model.folder}"
            f"{nearest(name, model.prompts)}; expected one of its names: {known}."
        )
    longest = config.max_position_embeddings
    return Embedding(
        pooling=model.pooling,
        max_length=longest if model.max_length is None else min(longest, model.max_length),
        lower_case=model.lower_case,
        prompt=model.prompts[name] if name else "",
        include_prompt=model.include_prompt,
        following=modules_after_pooling(model, config.hidden_size * len(model.pooling)),
    )


def embed(
    backend: Backend,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    how: Embedding,
    normalize: bool = False,
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """A vector for each text, float32 [N, D], in order.

    Args:
        backend: of the model.
        tokenizer: its own.
        texts: any.
        how: from states to a vector.
        normalize: whether each vector is scaled to length 1.
        batch_size: most windows at once; None: as many as the device computes well.

    Raises:
        UsageError: the model has no such layer or was exported without it, or the prompt leaves no
            room for text.
    """
    config, device = backend.config, backend.place.device
    count = config.num_hidden_layers + 1
    chosen = tuple(chosen_layers(how.layers, count=count, parameter="layers"))
    following = how.following.to(device)
    width = config.hidden_size * len(how.pooling)
    with torch.inference_mode():
        vectors = np.zeros((len(texts), following(torch.zeros(1, width, device=device)).shape[1]))
    if not texts:
        return vectors.astype(np.float32)
    max_length = how.max_length or config.max_position_embeddings
    limits = Limits(
        max_length=max_length,
        stride=max_length // 4,
        long_texts="windows" if how.max_length is None else "truncate",
    )
    skipped = _prompt_length(tokenizer, how, max_length)
    examples = [
        TextExample("", str(number), _prepared(how.prompt + text, how))
        for number, text in enumerate(texts)
    ]
    features = encode_texts(examples, tokenizer, limits)

    @torch.inference_mode()
    def pooled(chosen_backend: Backend, batch: TaskBatch) -> Tensor:
        """The vector of each window, [B, D]."""
        hidden_TD = chosen_backend.states(batch.packed, chosen)
        starts = batch.packed.starts.long().to(device)
        with backend.place.autocast():
            parts = [pool(hidden_TD, starts, mode, skipped=skipped) for mode in how.pooling]
            together: Tensor = following(torch.cat(parts, dim=-1))
        return together

    weights = np.zeros(len(texts))
    batches = computed(
        backend, features, tokenizer, pooled, world=backend.place.world, batch_size=batch_size
    )
    for rows, vectors_BD in batches:
        example_of = features.rows["example"][rows]
        counted = features.lengths[rows] if how.pooling == ("mean",) else np.ones(len(rows))
        weighted_BD = vectors_BD.double().cpu().numpy() * counted[:, None]
        np.add.at(vectors, example_of, weighted_BD)
        np.add.at(weights, example_of, counted)
    vectors /= weights[:, None]
    if normalize:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return vectors.astype(np.float32)


def _prepared(text: str, how: Embedding) -> str:
    # By character, as tokenizers does: Python would also see where a word ends.
    return "".join(map(str.lower, text)) if how.lower_case else text


def _prompt_length(tokenizer: Tokenizer, how: Embedding, longest: int) -> int:
    """Tokens at the beginning of each text that do not count when pooling."""
    if not how.prompt:
        return 0
    pieces = len(tokenizer.encode(_prepared(how.prompt, how)).ids)
    if pieces > longest - 2:
        raise UsageError(
            f"The prompt {how.prompt!r:.60} has {pieces} tokens, but a text of {longest} has room "
            f"for {longest - 2}; choose another {option('prompt')}."
        )
    return 0 if how.include_prompt else pieces + 1
