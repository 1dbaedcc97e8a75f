"""What a fine-tuning starts from: a pre-trained model, or a size and the training texts alone.

Either is an `Origin`: a config, a tokenizer, and weights for the network that each run builds.
Those of a pre-trained model are the same for every run; without one, a run's seed decides them.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bertsmith.checkpoints.folder import load_config, load_encoder
from bertsmith.checkpoints.headers import weights_checksum
from bertsmith.checkpoints.sources import resolve
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.inference.engine import check_vocabulary
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import ModelConfig
from bertsmith.models.family import TaskModel, encoder_of
from bertsmith.pretraining.config import InitialWeights
from bertsmith.pretraining.initial_weights import structure_encoder, word_columns
from bertsmith.pretraining.word_vectors import word_vectors
from bertsmith.tasks.examples import Example
from bertsmith.tasks.features import Features
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.text.tokenizer.train import learn_tokenizer
from bertsmith.training.parallel.place import Place

VOCAB_SIZE = 8000
"""Pieces wanted of a vocabulary that is trained on the training texts; small data has fewer."""
_COUNTED_AT_ONCE = 1 << 20
"""Pieces whose neighbours are counted at once: bounds the memory."""


class Untrained(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A BERT without pre-training, for labels without further text."""

    size: str
    """A preset, or the path of a `config.json`."""
    tokenizer: str | None = None
    """Folder of a tokenizer or a model, or a model's name; None: a WordPiece vocabulary is trained
    on the training texts."""
    vocab_size: int | None = None
    """Most pieces of that vocabulary; None: `VOCAB_SIZE`."""
    initial_weights: InitialWeights = "structured"


def model_or_size(
    model: str | os.PathLike[str] | None,
    size: str | None,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    vocab_size: int | None = None,
    initial_weights: InitialWeights | None = None,
) -> str | Untrained:
    """What a job starts from: the name of a pre-trained model, or a size and what belongs to it.

    Raises:
        UsageError: both or neither are given, or something that belongs to a size with a model.
    """
    if (model is None) == (size is None):
        what = "leave one of them out" if model is not None else "give one of them"
        raise UsageError(
            f"{option('model')} names a pre-trained model, {option('size')} a BERT without "
            f"pre-training; {what}."
        )
    if size is None:
        own = {
            "tokenizer": tokenizer,
            "vocab_size": vocab_size,
            "initial_weights": initial_weights,
        }
        for name, value in own.items():
            if value is not None:
                raise UsageError(
                    f"{option(name)} is for {option('size')}, and {option('model', model)} has its "
                    f"own: leave {option(name)} out."
                )
        assert model is not None
        return os.fspath(model)
    if tokenizer is not None and vocab_size is not None:
        raise UsageError(
            f"{option('vocab_size')} is for a vocabulary that is trained here, but "
            f"{option('tokenizer', tokenizer)} has one; leave one of the two out."
        )
    return Untrained(
        size=size,
        tokenizer=None if tokenizer is None else os.fspath(tokenizer),
        vocab_size=vocab_size,
        initial_weights=initial_weights or "structured",
    )


class Origin(ABC):
    """What every run of a job starts from."""

    name: str
    """As the user calls it."""
    model_config: ModelConfig
    tokenizer: Tokenizer
    """With all special tokens, which may be more than the config has."""
    initial_weights: InitialWeights | None
    """None: a pre-trained model's."""

    notes: Sequence[str] = ()
    """What is worth knowing of it before the training, a line each."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of what decides the weights besides seed, examples and tokenizer.

        Raises:
            FolderError: the model has no weights.
            SystemFault: they cannot be read.
        """

    @abstractmethod
    def check(self, model: TaskModel) -> None:
        """Finds what would make `fill` fail.

        Raises:
            FolderError: the weights are missing, damaged or of another shape than `model`.
        """

    @abstractmethod
    def fill(self, model: TaskModel, *, examples: Features, seed: int) -> list[str]:
        """Gives a freshly drawn model its initial weights, in place.

        Args:
            model: of the origin's config.
            examples: of the training part.
            seed: of the run.

        Returns:
            The names of the parts that keep their fresh weights because the origin lacks them.
        """


@dataclass(frozen=True)
class PretrainedModel(Origin):
    """The folder of a model."""

    name: str
    folder: Path
    model_config: ModelConfig
    tokenizer: Tokenizer
    initial_weights = None

    @classmethod
    def open(cls, name: str, folder: Path | None = None) -> "PretrainedModel":
        """Finds the model and reads its config and its tokenizer.

        Args:
            name: as `checkpoints.sources.resolve` takes it.
            folder: what it gave for this name; None: it is asked here.

        Raises:
            UsageError: nothing has that name, or it is something that is not computed here.
            FolderError: the folder is damaged, or its files do not belong together.
            SystemFault: the hub cannot be reached.
        """
        folder = resolve(name) if folder is None else folder
        with _called(folder, name):
            model_config, tokenizer = load_config(folder), Tokenizer.load(folder, backend="auto")
            check_vocabulary(str(folder), tokenizer, model_config.vocab_size)
        return cls(name, folder, model_config, tokenizer.with_special())

    @property
    def fingerprint(self) -> str:
        """Of the weights."""
        return weights_checksum(self.folder)

    def check(self, model: TaskModel) -> None:
        """Reads the weights."""
        with _called(self.folder, self.name):
            load_encoder(self.folder, model)

    def fill(self, model: TaskModel, *, examples: Features, seed: int) -> list[str]:
        """Reads the weights."""
        return load_encoder(self.folder, model)


@contextmanager
def _called(folder: Path, name: str) -> Iterator[None]:
    """Lets errors call the model as the user does, not by the place where a package has it."""
    try:
        yield
    except (UsageError, FolderError) as error:
        if Path(name).exists():
            raise
        raise type(error)(error.message.replace(str(folder), name)) from error


class UntrainedModel(Origin):
    """A BERT that is not pre-trained: every run draws its weights by its seed.

    The word vectors that the structured weights start from are counted once, over the training
    texts; nothing else is read or written.
    """

    def __init__(self, wish: Untrained, examples: Sequence[Example], place: Place) -> None:
        """Makes the vocabulary, by which the config is complete.

        Args:
            wish: what was asked for.
            examples: of the training part.
            place: of this process; the first one trains the vocabulary.

        Raises:
            UsageError: unknown size, numbers that do not fit together, a vocabulary too small for
                the texts or of another size than the config's.
            FolderError: a damaged `config.json` or tokenizer.
            DataError: there are no words to train a vocabulary on.
        """
        size = VOCAB_SIZE if wish.vocab_size is None else wish.vocab_size
        # A wrong size is found before the minutes that the vocabulary of many texts takes.
        BertConfig.named(wish.size, vocab_size=max(size, 1))
        self.name, self.initial_weights = wish.size, wish.initial_weights
        self.tokenizer = place.first_decides(lambda: _tokenizer(wish, examples, size))
        self.model_config = _model_config(wish.size, self.tokenizer)
        origin = "trained on the training texts" if wish.tokenizer is None else wish.tokenizer
        pieces = f"{len(self.tokenizer):,} pieces ({origin})"
        self.notes = [f"model: a BERT ({wish.size}) without pre-training, vocabulary of {pieces}"]
        self._vectors_VR: NDArray[np.float32] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the config without the vocabulary, and of how its weights are drawn."""
        model_config = msgspec.structs.replace(self.model_config, vocab_size=1)
        return sha256(msgspec.json.encode([model_config, self.initial_weights])).hexdigest()

    def check(self, model: TaskModel) -> None:
        """There is nothing to be read."""

    def fill(self, model: TaskModel, *, examples: Features, seed: int) -> list[str]:
        """Arranges the drawn weights, if they are to be structured."""
        pieces_T = examples.pieces_T
        if self.initial_weights == "structured":
            encoder = encoder_of(model)
            rank = word_columns(encoder)
            if rank and self._vectors_VR is None:
                starts = range(0, len(pieces_T), _COUNTED_AT_ONCE)
                texts = [pieces_T[start : start + _COUNTED_AT_ONCE] for start in starts]
                self._vectors_VR = word_vectors(texts, vocab_size=len(self.tokenizer), rank=rank)
            structure_encoder(
                encoder,
                vectors_VR=self._vectors_VR,
                special_ids=(self.tokenizer.cls_id, self.tokenizer.sep_id),
                seed=derive_seed(seed, "structured weights"),
                paired=examples.paired,
            )
        return []


def _tokenizer(wish: Untrained, examples: Sequence[Example], size: int) -> Tokenizer:
    if wish.tokenizer is not None:
        return Tokenizer.load(resolve(wish.tokenizer), backend="auto").with_special()
    texts = (text for example in examples for text in example.texts)
    return learn_tokenizer(texts, size=size, backend="auto")


def _model_config(size: str, tokenizer: Tokenizer) -> BertConfig:
    model_config = BertConfig.named(size, vocab_size=len(tokenizer))
    if model_config.vocab_size != len(tokenizer):
        raise UsageError(
            f"{option('size', size)}: vocab_size is {model_config.vocab_size:,}, but the tokenizer "
            f"has {len(tokenizer):,} pieces. Leave vocab_size out of the file, or give its "
            f"tokenizer with {option('tokenizer')}."
        )
    return model_config
