"""Text to WordPiece ids and back, by Google's rules.

Everything else in the package sees `Tokenizer` alone. Encoding with offsets is done by the
`tokenizers` library; the flat encoding of whole corpora goes through one of the engines in `flat`.
"""

import hashlib
import re
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

from bertsmith.errors import MissingExtra, UsageError
from bertsmith.text.flat import (
    Engine,
    Ids,
    Nanotoken,
    WordCache,
    disagreement,
    id_type,
    not_unicode,
)
from bertsmith.text.ideographs import is_ideograph
from bertsmith.text.tokenizer_files import (
    CLS,
    MASK,
    PAD,
    SEP,
    UNK,
    check_vocab,
    read_folder,
    tokenizer_json,
    write_folder,
)
from bertsmith.text.tokenizer_files import SPECIAL as SPECIAL
from bertsmith.text.tokenizer_files import Cleaning as Cleaning

# Texts whose places are held as Python objects at once.
_PLACED_AT_ONCE = 256

Backend = Literal["auto", "tokenizers", "nanotoken"]

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

    Raises:
        FolderError: the vocabulary lacks a special token or holds a piece twice.
        MissingExtra: backend `nanotoken` is not installed.
        UsageError: backend `nanotoken` does not give this vocabulary's exact ids.
    """

    def __init__(
        self,
        vocab: Iterable[str],
        cleaning: Cleaning = GOOGLE,
        *,
        backend: Backend = "tokenizers",
    ) -> None:
        self.vocab: tuple[str, ...] = check_vocab(tuple(vocab), "the vocabulary")
        self.cleaning = cleaning
        self._backend: Backend = backend
        self._id_of = {piece: index for index, piece in enumerate(self.vocab)}
        self.pad_id, self.unk_id = self._id_of[PAD], self._id_of[UNK]
        self.cls_id, self.sep_id = self._id_of[CLS], self._id_of[SEP]
        self.mask_id = self._id_of[MASK]
        self.special_ids = frozenset(self._id_of[piece] for piece in SPECIAL)
        plain = msgspec.json.encode(tokenizer_json(self.vocab, cleaning, recognise_special=False))
        self._plain: Any = tokenizers.Tokenizer.from_buffer(plain)
        self._engine = self._choose_engine(plain)

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers rebuild the tokenizer from what defines it."""
        return _rebuild, (self.vocab, self.cleaning, self._backend)

    def __len__(self) -> int:
        return len(self.vocab)

    @classmethod
    def load(cls, folder: str | Path, *, backend: Backend = "tokenizers") -> "Tokenizer":
        """Loads a tokenizer's or a model's folder (see `tokenizer_files` for the layouts).

        Raises:
            FolderError: nothing usable there, with the file and line at fault.
        """
        vocab, cleaning = read_folder(Path(folder))
        return cls(vocab, cleaning, backend=backend)

    def save(self, folder: str | Path, *, model_max_length: int = 512) -> None:
        """Writes `vocab.txt`, `tokenizer.json` and `tokenizer_config.json` into `folder`.

        `transformers.AutoTokenizer` loads them and gives the same ids; `model_max_length` is the
        number of tokens at which it will truncate.
        """
        write_folder(Path(folder), self.vocab, self.cleaning, model_max_length=model_max_length)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary and the cleaning rules: equal means equal ids."""
        rules = self.cleaning
        flags = [rules.lower_case, rules.strips_accents, rules.split_chinese]
        return hashlib.sha256(msgspec.json.encode([self.vocab, flags])).hexdigest()

    @cached_property
    def continuation_V(self) -> npt.NDArray[np.bool_]:
        """Whether each piece continues a word, i.e. begins with "##"; bool [V]."""
        return np.array([piece.startswith("##") and len(piece) > 2 for piece in self.vocab])

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
        words: list[str] = []
        for piece in self.tokens(ids):
            if piece.startswith("##") and len(piece) > 2 and words and words[-1] not in SPECIAL:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return _join_words(words)

    @cached_property
    def _special(self) -> Any:
        whole = tokenizer_json(self.vocab, self.cleaning, recognise_special=True)
        return tokenizers.Tokenizer.from_buffer(msgspec.json.encode(whole))

    def _choose_engine(self, plain: bytes) -> Engine:
        size = len(self.vocab)
        library = WordCache(self._plain, vocab_size=size, cleaning=self.cleaning)
        if self._backend == "tokenizers":
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
            f"The tokenizer backend 'nanotoken' gives other ids than 'tokenizers' for {text[:60]!r}"
        )
        if self._backend == "nanotoken":
            raise UsageError(f"{complaint}; use the backend 'tokenizers'.")
        warnings.warn(f"{complaint}; going on with 'tokenizers'.", stacklevel=3)
        return library


def _rebuild(vocab: tuple[str, ...], cleaning: Cleaning, backend: Backend) -> Tokenizer:
    return Tokenizer(vocab, cleaning, backend=backend)


_CLOSING = frozenset(",.;:!?)]}%…’”»")
_OPENING = frozenset("([{“‘«¿¡$£€#")
_CONTRACTION = re.compile(r"(?<=\w) (['’]) (?=(?:s|t|d|m|re|ve|ll)\b)", re.IGNORECASE)


def _wide(character: str) -> bool:
    """Chinese or Japanese characters and their punctuation: written without spaces."""
    code = ord(character)
    return 0x3000 <= code <= 0x30FF or 0xFF00 <= code <= 0xFF60 or is_ideograph(character)


def _join_words(words: list[str]) -> str:
    pieces: list[str] = []
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        tight = (
            not before
            or word in _CLOSING
            or before in _OPENING
            or (_wide(before[-1]) and (_wide(word[0]) or word in SPECIAL))
            or (before in SPECIAL and _wide(word[0]))
        )
        pieces.append(word if tight else f" {word}")
    return _CONTRACTION.sub(r"\1", "".join(pieces))
