"""What conversion knows of a checkpoint before it reads its weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bertsmith.checkpoints.weights import Weights
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.config import fits_vocabulary
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint that was recognised and opened; the weights are read by `load`."""

    layout: str
    """Description of the recognized layout."""
    weights: Weights
    """By today's names, in the shapes of a model folder."""
    keys: dict[str, Any]
    """For `config.json`."""
    load: Callable[[], dict[str, Tensor]]
    """The weights in fp32 on the CPU, checked, by today's names."""
    tokenizer: Path
    """Folder of its tokenizer."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Name in the file -> why it is left out."""
    notes: tuple[str, ...] = ()
    carried: dict[str, Path] = field(default_factory=dict)
    """Place in the new folder -> a file that is copied there unchanged."""
    written: dict[str, bytes] = field(default_factory=dict)
    """Place in the new folder -> what is written there."""


def check_tokenizer(folder: Path, rows: int, config: Path) -> Tokenizer:
    """The tokenizer of a checkpoint with so many rows of word embeddings.

    Raises:
        FolderError: there is none, it is damaged, or its vocabulary is another model's.
    """
    tokenizer = Tokenizer.load(folder)
    if not fits_vocabulary(rows, len(tokenizer)):
        raise FolderError(
            f"{folder}: the vocabulary has {len(tokenizer):,} pieces, but {config} says "
            f"vocab_size {rows:,}; one of the two is from another model."
        )
    return tokenizer


def one_of(found: list[Path], folder: Path, what: str) -> Path:
    """The only file of a kind in a folder.

    Raises:
        FolderError: there is none.
        UsageError: there are several.
    """
    if not found:
        raise FolderError(f"{folder} holds no {what}; put it beside the weights.")
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found)[:5])
        raise UsageError(
            f"{folder} holds {len(found)} files that could be its {what}: {names}. Keep one, or "
            "give the path of the one to use."
        )
    return found[0]


def bert_architecture(names: set[str]) -> str:
    """What `transformers` calls a BERT with these parameters."""
    words, pairs = "cls.predictions.transform.dense.weight", "cls.seq_relationship.weight"
    by_head = {
        "qa_outputs.weight": "BertForQuestionAnswering",
        "classifier.weight": "BertForSequenceClassification",
        words: "BertForPreTraining" if pairs in names else "BertForMaskedLM",
        pairs: "BertForNextSentencePrediction",
    }
    return next((called for name, called in by_head.items() if name in names), "BertModel")
