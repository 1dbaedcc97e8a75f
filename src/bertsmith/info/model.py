"""What a model's or a tokenizer's folder holds, from the headers of its files alone."""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, Literal

import msgspec

from bertsmith.checkpoints.headers import read_headers, weight_files
from bertsmith.core.storage import read_json
from bertsmith.models.config import FamilyName
from bertsmith.models.config_files import config_from_keys
from bertsmith.tasks.kinds.registry import read_task_config
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

# fp32 weights, gradients and AdamW's two moments, in bytes for one parameter.
TRAINING_BYTES = 16


class TokenizerInfo(msgspec.Struct, frozen=True, tag="tokenizer", tag_field="kind"):
    """A vocabulary and its cleaning rules."""

    path: str
    pieces: Literal["WordPiece", "byte pairs"]
    vocab_size: int
    lower_case: bool
    strip_accents: bool
    split_chinese: bool
    fingerprint: str


class PartScores(msgspec.Struct, frozen=True):
    """How well a fine-tuned model did on one part."""

    scores: dict[str, float | None]
    """Metric -> score; None: undefined."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% interval, of the part that decided."""
    baseline: dict[str, float | None]
    """Metric -> score of always giving the most frequent answer, of that part too."""


class ModelInfo(msgspec.Struct, frozen=True, tag="model", tag_field="kind"):
    """A model folder in the Hugging Face layout."""

    path: str
    architecture: FamilyName
    layers: int
    width: int
    """Of a token's state."""
    left_to_right: bool
    """Whether every token sees itself and those before it only."""
    heads: int
    """Of attention; 0 without."""
    feed_forward: int
    """Width inside a block; of an ELMo, its LSTMs'."""
    positions: int
    vocab_size: int
    parameters: int
    parts: dict[str, int]
    """Parameters by part of the model."""
    weight_bytes: int
    training_bytes: int
    """Weights, gradients and optimizer state in fp32; activations come on top."""
    tokenizer: TokenizerInfo | None
    tokenizer_matches: bool | None
    """Whether there are as many pieces as rows of the embedding; None without a tokenizer."""
    task_config: TaskConfig | None = None
    """What a fine-tuned model was task_config."""
    scores: dict[str, PartScores] = {}
    """Part -> how well the best run of a finished fine-tuning did."""


def has_tokenizer(folder: Path) -> bool:
    """Whether there is a tokenizer of any kind."""
    return any((folder / name).is_file() for name in ("vocab.txt", "vocab.json", "tokenizer.json"))


def tokenizer_info(folder: Path, tokenizer: Tokenizer) -> TokenizerInfo:
    """The numbers of the tokenizer that was loaded from `folder`."""
    return TokenizerInfo(
        path=str(folder),
        pieces="WordPiece" if tokenizer.merges is None else "byte pairs",
        vocab_size=len(tokenizer.vocab),
        lower_case=tokenizer.cleaning.lower_case,
        strip_accents=tokenizer.cleaning.strips_accents,
        split_chinese=tokenizer.cleaning.split_chinese,
        fingerprint=tokenizer.fingerprint,
    )


def model_info(folder: Path) -> ModelInfo:
    """The model in `folder`.

    Raises:
        FolderError: config or weights are missing or damaged.
        UsageError: it is none that is computed here.
    """
    keys = read_json(folder / "config.json", dict[str, Any])
    config = config_from_keys(keys, str(folder / "config.json"))
    headers = read_headers(folder)
    parts: Counter[str] = Counter()
    table = config.parameters
    for name, stored in headers.items():
        if name not in table.repeated and not name.endswith(table.buffers):
            part = next((part for key, part in table.parts if key in name), "other heads")
            parts[part] += prod(stored.shape)
    tokenizer = tokenizer_info(folder, Tokenizer.load(folder)) if has_tokenizer(folder) else None
    return ModelInfo(
        path=str(folder),
        architecture=config.family,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        left_to_right=config.left_to_right,
        heads=config.attention_heads,
        feed_forward=config.feed_forward_size,
        positions=config.max_position_embeddings,
        vocab_size=config.vocab_size,
        parameters=parts.total(),
        parts=dict(parts),
        weight_bytes=sum(path.stat().st_size for path in weight_files(folder)),
        training_bytes=TRAINING_BYTES * parts.total(),
        tokenizer=tokenizer,
        tokenizer_matches=None if tokenizer is None else tokenizer.vocab_size == config.vocab_size,
        task_config=read_task_config(folder / TASK_CONFIG)
        if (folder / TASK_CONFIG).is_file()
        else None,
        scores=_scores(folder),
    )


class _Tuned(msgspec.Struct):
    """Of a run of a fine-tuning, how well it did."""

    scores: dict[str, dict[str, float | None]]


class _Results(msgspec.Struct):
    """Of `results.json`, what says how well the model does."""

    deciding: str
    baseline: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    runs: list[_Tuned]
    best: int


def _scores(folder: Path) -> dict[str, PartScores]:
    """Of the model in a folder of a fine-tuning; nothing for any other model."""
    if not (folder / "results.json").is_file():
        return {}
    found = read_json(folder / "results.json", _Results)
    return {
        part: PartScores(
            scores,
            found.intervals if part == found.deciding else {},
            found.baseline if part == found.deciding else {},
        )
        for part, scores in found.runs[found.best].scores.items()
    }
