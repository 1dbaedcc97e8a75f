"""What a model or tokenizer folder holds, read from the headers of its files alone."""

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

# Bytes per parameter: fp32 weights, gradients and AdamW's two moments.
TRAINING_BYTES = 16


class TokenizerInfo(msgspec.Struct, frozen=True, tag="tokenizer", tag_field="kind"):
    """A vocabulary and its text cleaning rules."""

    path: str
    pieces: Literal["WordPiece", "byte pairs"]
    vocab_size: int
    lower_case: bool
    strip_accents: bool
    split_chinese: bool
    fingerprint: str


class PartScores(msgspec.Struct, frozen=True):
    """Scores of a fine-tuned model on one split."""

    scores: dict[str, float | None]
    """Metric -> score; None if undefined."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% confidence interval; only for the split that selected the best run."""
    baseline: dict[str, float | None]
    """Metric -> score of the majority baseline; only for the same split."""


class ModelInfo(msgspec.Struct, frozen=True, tag="model", tag_field="kind"):
    """A model folder in the Hugging Face layout."""

    path: str
    architecture: FamilyName
    layers: int
    width: int
    """Hidden size."""
    left_to_right: bool
    """Whether each token attends only to itself and to earlier tokens."""
    heads: int
    """Attention heads; 0 for a model without attention."""
    feed_forward: int
    """Inner width of the feed-forward layers; for ELMo, of its LSTMs."""
    positions: int
    vocab_size: int
    parameters: int
    parts: dict[str, int]
    """Part of the model -> number of parameters."""
    weight_bytes: int
    training_bytes: int
    """Weights, gradients and optimizer state in fp32, without activations."""
    tokenizer: TokenizerInfo | None
    tokenizer_matches: bool | None
    """Whether the vocabulary is as large as the embedding table; None without a tokenizer."""
    task_config: TaskConfig | None = None
    """The task of a fine-tuned model."""
    scores: dict[str, PartScores] = {}
    """Split -> scores of the best run of a finished fine-tuning."""


def has_tokenizer(folder: Path) -> bool:
    """Whether `folder` holds a tokenizer of any kind."""
    return any((folder / name).is_file() for name in ("vocab.txt", "vocab.json", "tokenizer.json"))


def tokenizer_info(folder: Path, tokenizer: Tokenizer) -> TokenizerInfo:
    """Describes `tokenizer`, which was loaded from `folder`."""
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
    """Describes the model in `folder`.

    Raises:
        FolderError: config or weights are missing or damaged.
        UsageError: the architecture is not supported.
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


class _Run(msgspec.Struct):
    """The fields of one fine-tuning run that are shown."""

    scores: dict[str, dict[str, float | None]]


class _Results(msgspec.Struct):
    """The fields of `results.json` that are shown."""

    deciding: str
    baseline: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    runs: list[_Run]
    best: int


def _scores(folder: Path) -> dict[str, PartScores]:
    """Split -> scores of a fine-tuned model; empty for any other model."""
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
