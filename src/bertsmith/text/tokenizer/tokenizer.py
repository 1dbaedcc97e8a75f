"""Text to ids and back: BERT's WordPiece or GPT's byte pairs, by Google's rules of cleaning.

Everything else in the package sees `Tokenizer` alone; how the kinds of pieces differ is in `pieces`
and `bpe`. Encoding with offsets is done by the `tokenizers` library; the flat encoding of whole
corpora goes through one of the engines in `flat`.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import tokenizers

from bertsmith.core.errors import MissingExtra, UsageError
from bertsmith.text.spacing import join_words
from bertsmith.text.tokenizer import bpe, bpe_files
from bertsmith.text.tokenizer.added_tokens import Added, outside, special_token
from bertsmith.text.tokenizer.batched import (
    Engine,
    Ids,
    Nanotoken,
    WithAdded,
    WordCache,
    disagreement,
    id_type,
    not_unicode,
)
from bertsmith.text.tokenizer.bpe import BytePairs
from bertsmith.text.tokenizer.files import CLS, MASK, PAD, SEP, read_folder
from bertsmith.text.tokenizer.files import SPECIAL as SPECIAL
from bertsmith.text.tokenizer.files import Cleaning as Cleaning
from bertsmith.text.tokenizer.files import Frame as Frame
from bertsmith.text.tokenizer.wordpiece import Pieces, WordPiece

# Texts whose places are held as Python objects at once.
_PLACED_AT_ONCE = 256

Backend = Literal["auto", "tokenizers", "nanotoken"]

MANY_UNKNOWN = 0.01
"""A share of `[UNK]` from which a vocabulary does not fit a text; its own text has almost none."""

# The rules of Google's uncased models.
GOOGLE = Cleaning()


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text in pieces, without the special tokens that `encode.py` adds.

    `offsets` are character positions `(start, end)` in the text as given; `words` numbers the
    words from 0, so pieces of one word share a number.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]


class Tokenizer:
    """A vocabulary, the cleaning rules that belong to it, and what they do to text.

    OpenAI's vocabulary lacks all special tokens but the unknown one. Text is encoded and decoded
    without them; `with_special` puts them behind its pieces.
    """

    def __init__(
        self,
        vocab: Iterable[str],
        cleaning: Cleaning = GOOGLE,
        *,
        merges: Iterable[tuple[str, str]] | None = None,
        added: Iterable[Added] = (),
        backend: Backend = "tokenizers",
    ) -> None:
        """From what defines it.

        Args:
            vocab: the pieces, in order of their ids; added tokens that are not the model's last.
            cleaning: how text is cleaned.
            merges: of byte pairs, the first to be merged first; None for WordPiece.
            added: the user's tokens among `vocab`, matched in every text; see `added`.
            backend: what encodes many texts; all give the same ids.

        Raises:
            FolderError: the vocabulary lacks a special token or holds a piece twice, or a merge
                does not belong to it.
            MissingExtra: backend `nanotoken` is not installed.
            UsageError: backend `nanotoken` does not give this vocabulary's exact ids.
        """
        self.vocab: tuple[str, ...] = tuple(vocab)
        self.cleaning = cleaning
        self.merges = None if merges is None else tuple(merges)
        self._pieces: Pieces = (
            WordPiece(self.vocab, cleaning, tuple(added))
            if self.merges is None
            else BytePairs(self.vocab, cleaning, self.merges, tuple(added))
        )
        self._backend: Backend = backend
        self._id_of = {piece: index for index, piece in enumerate(self.vocab)}
        self.unk_id = self._id_of[self._pieces.unknown]
        self.special_ids = frozenset(self._id_of[piece] for piece in self._pieces.special)
        whole = self._pieces.library(recognise_special=False)
        plain = msgspec.json.encode(whole | {"added_tokens": []})
        self._without_added: Any = tokenizers.Tokenizer.from_buffer(plain)
        self._plain: Any = self._without_added
        self._engine = self._choose_engine(plain)
        if whole["added_tokens"]:
            self._plain = tokenizers.Tokenizer.from_buffer(msgspec.json.encode(whole))
            self._engine = WithAdded(
                self._engine, self._plain, whole["added_tokens"], vocab_size=len(self.vocab)
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers rebuild the tokenizer from what defines it."""
        return _rebuild, (self.vocab, self.cleaning, self.merges, self.added, self._backend)

    @property
    def added(self) -> tuple[Added, ...]:
        """The user's tokens, and special ones with unusual flags, in order of their ids."""
        return self._pieces.added

    def __len__(self) -> int:
        return len(self.vocab)

    @classmethod
    def load(cls, folder: str | Path, *, backend: Backend = "tokenizers") -> "Tokenizer":
        """Loads a tokenizer's or a model's folder of either kind.

        `tokenizer_files` and `bpe_files` have the layouts.

        Raises:
            FolderError: nothing usable there, with the file and line at fault.
        """
        folder = Path(folder)
        if bpe_files.is_folder(folder):
            vocab, cleaning, merges, added = bpe_files.read_folder(folder)
            return cls(vocab, cleaning, merges=merges, added=added, backend=backend)
        vocab, cleaning, added = read_folder(folder)
        return cls(vocab, cleaning, added=added, backend=backend)

    def save(
        self, folder: str | Path, *, model_max_length: int = 512, frame: Frame = "text"
    ) -> None:
        """Writes `tokenizer.json`, `tokenizer_config.json` and the vocabulary into `folder`.

        The vocabulary is `vocab.txt`, that of byte pairs `vocab.json` and `merges.txt`.
        `transformers.AutoTokenizer` loads them and gives the same ids; `model_max_length` is the
        number of tokens at which it will truncate, and `frame` what it puts around a text. `load`
        minds neither.
        """
        self._pieces.write(Path(folder), model_max_length=model_max_length, frame=frame)

    @property
    def pad_id(self) -> int:
        """Id of `[PAD]`; this and the next three raise UsageError where it is missing."""
        return self._special_id(PAD)

    @property
    def cls_id(self) -> int:
        """Id of `[CLS]`, GPT's start token."""
        return self._special_id(CLS)

    @property
    def sep_id(self) -> int:
        """Id of `[SEP]`, GPT's delimiter, and the end of a text to its language model."""
        return self._special_id(SEP)

    @property
    def mask_id(self) -> int:
        """Id of `[MASK]`, GPT's extract token."""
        return self._special_id(MASK)

    @property
    def has_special(self) -> bool:
        """Whether all four are there."""
        return all(piece in self._id_of for piece in bpe.ADDED)

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What a text begins with to a language model: `[CLS]`, or nothing where it is missing."""
        return (self.cls_id,) if self.has_special else ()

    @property
    def end_ids(self) -> tuple[int, ...]:
        """What a text ends with to a language model: `[SEP]`, or nothing where it is missing."""
        return (self.sep_id,) if self.has_special else ()

    def with_special(self) -> "Tokenizer":
        """The tokenizer with what it lacks of special tokens at the end of its vocabulary.

        OpenAI's fine-tuning does so (Radford et al. 2018, section 3.3): the model gets freshly
        drawn embeddings for them, and no id of a text changes.
        """
        if self.has_special:
            return self
        vocab, added = bpe.with_special(self.vocab), self.added
        if outside(added):  # the model's own pieces stand together
            new = enumerate(vocab[len(self.vocab) :], len(self.vocab))
            specials = (special_token(index, piece) for index, piece in new)
            added += tuple(msgspec.structs.replace(token, outside=True) for token in specials)
        return Tokenizer(
            vocab, self.cleaning, merges=self.merges, added=added, backend=self._backend
        )

    def _special_id(self, piece: str) -> int:
        if piece not in self._id_of:
            raise UsageError(
                f"The vocabulary has no {piece}: OpenAI's GPT was trained without it, and only "
                "fine-tuning adds it. Use a fine-tuned model, or one trained by bertsmith."
            )
        return self._id_of[piece]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary, the cleaning rules and merges: equal means equal ids."""
        return hashlib.sha256(msgspec.json.encode(self._pieces.identity)).hexdigest()

    @property
    def bare(self) -> tuple[str, ...]:
        """The pieces without the marks that say where in a word they stand ("##", "</w>")."""
        return self._pieces.bare

    def word_starts(self, ids_T: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether each piece begins a word; bool [T].

        Args:
            ids_T: whole texts laid end to end, as `encode_flat` gives them.
        """
        return self._pieces.word_starts(ids_T)

    def encode_flat(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Ids of many texts laid end to end, without special tokens: the fast path.

        Returns:
            `ids_T` (uint16, or uint32 for a vocabulary above 65,536) and the number of ids of each
            text, int64 `[len(texts)]`.

        Raises:
            DataError: a text holds characters that are not Unicode text (lone surrogates).
        """
        try:
            return self._engine.encode(texts)
        except (TypeError, UnicodeEncodeError) as error:
            raise not_unicode(texts) from error

    def encode(self, text: str, *, allow_special: bool = False) -> Encoding:
        """One text in pieces with their places in it.

        Args:
            text: any text; control characters are dropped, as Google's rules say.
            allow_special: whether `[MASK]` and the other special tokens, written so, are meant.

        Raises:
            DataError: the text holds characters that are not Unicode text (lone surrogates).
        """
        library = self._special if allow_special else self._plain
        try:
            found = library.encode(text, add_special_tokens=False)
        except TypeError as error:
            raise not_unicode([text]) from error
        return Encoding(found.ids, found.offsets, found.word_ids)

    def encode_placed(
        self, texts: Sequence[str]
    ) -> tuple[Ids, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """As `encode_flat`, with the character places `(start, end)` of every piece, int32 [T, 2].

        Raises:
            DataError: a text holds characters that are not Unicode text (lone surrogates).
        """
        ids, places, lengths = [], [], []
        for first in range(0, len(texts), _PLACED_AT_ONCE):
            some = texts[first : first + _PLACED_AT_ONCE]
            try:
                found = self._plain.encode_batch(some, add_special_tokens=False)
            except TypeError as error:
                raise not_unicode(some) from error
            for encoding in found:
                ids.append(np.array(encoding.ids, dtype=id_type(len(self.vocab))))
                places.append(np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2))
                lengths.append(len(encoding.ids))
        none = np.zeros(0, dtype=id_type(len(self.vocab)))
        return (
            np.concatenate([none, *ids]),
            np.concatenate([np.zeros((0, 2), dtype=np.int32), *places]),
            np.array(lengths, dtype=np.int64),
        )

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces of `ids`, as they stand in the vocabulary."""
        return [self.vocab[index] for index in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text: pieces joined into words, no space inside Chinese, none before a comma.

        Lower-casing and dropped accents cannot be undone; special tokens stay visible.
        """
        words = self._pieces.words(self.tokens(ids))
        return join_words(words, self._pieces.special)

    @cached_property
    def _special(self) -> Any:
        whole = self._pieces.library(recognise_special=True)
        return tokenizers.Tokenizer.from_buffer(msgspec.json.encode(whole))

    def _choose_engine(self, plain: bytes) -> Engine:
        size = len(self.vocab)
        library = WordCache(self._without_added, vocab_size=size, cleaning=self.cleaning)
        if self._backend == "tokenizers":
            return library
        if self.merges is not None:
            if self._backend == "nanotoken":
                raise UsageError(
                    "The tokenizer backend 'nanotoken' supports only WordPiece, and this "
                    "vocabulary is BPE; use the backend 'tokenizers'."
                )
            return library
        try:
            fast = Nanotoken(plain, vocab_size=size)
        except MissingExtra:
            if self._backend == "auto":
                return library
            raise
        text = disagreement(library, fast, self.vocab)
        if text is None:
            return fast
        complaint = (
            "The tokenizer backend 'nanotoken' gives different ids from 'tokenizers' for "
            f"{text[:60]!r}"
        )
        if self._backend == "nanotoken":
            raise UsageError(f"{complaint}; use the backend 'tokenizers'.")
        warnings.warn(f"{complaint}; falling back to 'tokenizers'.", stacklevel=3)
        return library


def _rebuild(
    vocab: tuple[str, ...],
    cleaning: Cleaning,
    merges: tuple[tuple[str, str], ...] | None,
    added: tuple[Added, ...],
    backend: Backend,
) -> Tokenizer:
    return Tokenizer(vocab, cleaning, merges=merges, added=added, backend=backend)
