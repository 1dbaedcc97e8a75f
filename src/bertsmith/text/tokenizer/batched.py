"""Many texts to one flat array of ids, as fast as exactness allows: the inner loop of `prepare`.

Two engines with the same answer. `WordCache` needs nothing beyond the `tokenizers` library: a text
is cut at white space (and around Chinese characters) in Python and every chunk is looked up in a
table of what the library made of it before. `Nanotoken` hands the texts to the optional package.
"""

import re
from array import array
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bertsmith.core.errors import DataError
from bertsmith.core.extras import require
from bertsmith.text.ideographs import RANGES
from bertsmith.text.tokenizer.files import Cleaning

IdType = type[np.uint16] | type[np.uint32]
Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

# The cleaning rules delete control characters before they look for white space, so these, white
# space to Python's `str.split`, join what stands beside them.
_JOINERS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")

# Cutting at the ideographs of the first 65,536 codes is enough: what is not cut here is cut by the
# library. The ranges above them would be asked for every letter and slow Chinese text down.
_IDEOGRAPHS = "".join(f"{chr(first)}-{chr(last)}" for first, last in RANGES if last < 1 << 16)
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_CHUNK = re.compile(f"[{_IDEOGRAPHS}]|[^\\s{_IDEOGRAPHS}]+")

# A part of a chunk: one character of ASCII punctuation, or what stands between such.
_PUNCTUATION = "!-/:-@\\[-`{-~"
_PART = re.compile(f"[{_PUNCTUATION}]|[^{_PUNCTUATION}]+")

# Bounds on each of the two tables: about 40 MB at most.
_LONGEST_REMEMBERED = 40
_MOST_REMEMBERED = 1 << 18


def id_type(vocab_size: int) -> IdType:
    """The smallest of the two types of ids on disk that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def cut(text: str, *, split_chinese: bool) -> list[str]:
    """Cuts a text where the rules surely cut it: at white space and around ideographs."""
    if _JOINERS.search(text):
        text = _JOINERS.sub("", text)
    if split_chinese and not text.isascii() and _IDEOGRAPH.search(text):
        return _CHUNK.findall(text)
    return text.split()


def parts(chunk: str) -> list[str]:
    """Cuts a chunk further, around every character of ASCII punctuation."""
    return _PART.findall(chunk)


def not_unicode(texts: Sequence[str]) -> DataError:
    """Names the lone surrogate among `texts` over which an encoder stumbled."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return DataError(
                f"Character {error.start} of the text {text[:40]!r} is a lone surrogate, not a "
                "character; the text was not read as UTF-8. Convert it first."
            )
    raise TypeError("expected a sequence of strings")


class Engine(Protocol):
    """What turns texts into ids without special tokens."""

    def encode(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Ids of all texts laid end to end [T], and how many each text has [len(texts)]."""
        ...


class WordCache:
    """Looks up white-space-delimited chunks; what is new is worked out once and remembered.

    Exact because cleaning, splitting and WordPiece never look across white space or ASCII
    punctuation: lower-casing in the library is per character, and the canonical ordering of
    combining marks stops at both.
    """

    def __init__(self, library: Any, *, vocab_size: int, cleaning: Cleaning) -> None:
        self._type = id_type(vocab_size)
        self._split_chinese = cleaning.split_chinese
        words = _Words(library, self._type, lower_case=cleaning.lower_case)
        self._chunks = _Chunks(words)

    def encode(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """As `Engine.encode`."""
        look_up = self._chunks.__getitem__
        encoded = [
            b"".join(map(look_up, cut(text, split_chinese=self._split_chinese))) for text in texts
        ]
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return _as_ids(b"".join(encoded), self._type), sizes // self._type().itemsize


class _Remembered(dict[str, bytes]):
    """A table that fills itself through `__missing__`, up to a bound."""

    def remember(self, text: str, ids: bytes) -> bytes:
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                # Starting afresh follows a change of language or topic; the common words are
                # back after a few thousand look-ups.
                self.clear()
            self[text] = ids
        return ids


class _Chunks(_Remembered):
    """Chunk -> bytes of its ids; a new chunk is put together from its parts."""

    def __init__(self, words: "_Words") -> None:
        super().__init__()
        self._word = words.__getitem__

    def __missing__(self, chunk: str) -> bytes:
        return self.remember(chunk, b"".join(map(self._word, parts(chunk))))


class _Words(_Remembered):
    """Part of a chunk -> bytes of its ids; a new part is given to the library."""

    def __init__(self, library: Any, kind: IdType, *, lower_case: bool) -> None:
        super().__init__()
        self._encode, self._match = library.encode, library.model.tokenize
        self._code, self._lower_case = np.dtype(kind).char, lower_case

    def __missing__(self, part: str) -> bytes:
        if part.isascii() and part.isprintable():
            # Printable ASCII needs no cleaning but lower-casing: four times faster.
            pieces = self._match(part.lower() if self._lower_case else part)
            ids = [piece.id for piece in pieces]
        else:
            ids = self._encode(part, add_special_tokens=False).ids
        return self.remember(part, array(self._code, ids).tobytes())


def _as_ids(data: bytes, kind: IdType) -> Ids:
    if kind is np.uint16:
        return np.frombuffer(data, np.uint16)
    return np.frombuffer(data, np.uint32)


class Nanotoken:
    """The optional package `nanotoken`, on the calling thread (workers are the parallelism)."""

    def __init__(self, tokenizer_json: bytes, *, vocab_size: int) -> None:
        rust = require("nanotoken", extra="fast", purpose="The tokenizer backend 'nanotoken'")
        self._tokenizer = rust.Tokenizer.from_json(tokenizer_json)
        self._type = id_type(vocab_size)

    def encode(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """As `Engine.encode`."""
        ragged = self._tokenizer.encode_batch(texts, add_special_tokens=False, parallel=False)
        return ragged.ids.astype(self._type, copy=False), np.diff(ragged.offsets)


class WithAdded:
    """Another engine, and the library for the few texts that may hold a user's added token.

    Which those are is found by looking for the tokens as they are matched: as written, or, where
    `normalized`, in the cleaned text. A text that holds one does not always match it (the flag
    `single_word`), but one that holds none never does.
    """

    def __init__(
        self, engine: Engine, library: Any, added: Sequence[dict[str, Any]], *, vocab_size: int
    ) -> None:
        self._engine, self._encode = engine, library.encode
        self._type = id_type(vocab_size)
        self._clean = library.normalizer.normalize_str
        cleaned = [self._clean(token["content"]) for token in added if token["normalized"]]
        self._cleaned = _any_of(cleaned)
        self._written = _any_of([token["content"] for token in added if not token["normalized"]])

    def encode(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """As `Engine.encode`."""
        apart = [number for number, text in enumerate(texts) if self._may_match(text)]
        if not apart:
            return self._engine.encode(texts)
        others = [*texts]
        for number in apart:
            others[number] = ""
        ids_T, lengths = self._engine.encode(others)
        ends = np.cumsum(lengths)
        rows: list[Ids] = []
        done = 0
        for number in apart:
            found = self._encode(texts[number], add_special_tokens=False).ids
            ids = array(np.dtype(self._type).char, found).tobytes()
            rows += [ids_T[done : ends[number]], _as_ids(ids, self._type)]
            done, lengths[number] = ends[number], len(found)
        return np.concatenate([*rows, ids_T[done:]]), lengths

    def _may_match(self, text: str) -> bool:
        if self._written is not None and self._written.search(text):
            return True
        return self._cleaned is not None and bool(self._cleaned.search(self._clean(text)))


def _any_of(contents: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, contents))) if contents else None


# Strings on which implementations of these rules have been seen to differ.
NASTY = (
    "",
    " \t\r\n\u00a0\u2028\u3000",
    "Ünïcödé façade naïve Ångström e\u0301a\u0300\u0327\u0323o",
    "\u0301\u0301 combining first",
    "İstanbul ıİiI ΣΑΣ ὈΔΥΣΣΕΎΣ ß ẞ straße ﬁne ǅ",
    "a\x00b\x0bc\x0cd\x1ce\x1ff\x7fg\x85h\ufffdi\u00adj\u200bk\u200cl\u200dm\u2060n\ufeffo",
    "😀👍🏽👩\u200d👩\u200d👧\u200d👦 🇫🇷 ☃\ufe0f 1️⃣",
    "我喜欢苹果，mixed中文and英文。㐀𠀀𪜀𫠝𬺰丽豈々〇ㄅ",
    "ひらがなカタカナ ｶﾞ が か\u3099 한국어 하\u11ab",
    "สวัสดี हिन्दी क्षि বাংলা தமிழ் አማርኛ ქართული ᏣᎳᎩ ᚠᚢᚦ 𝔘𝔫𝔦 𐍈 𞤀𞤣",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c ﷽",
    "x" * 100 + " " + "x" * 101 + " " + "é" * 101,
    "don't U.S.A. $3.50 -- (a/b) [CLS] [MASK] a_b ~`^+=<>|¿¡«»„“…–—€£©™½²",
    "\U000e0001\ue000\U0010ffff\u0378 unassigned",
)


_PIECES_CHECKED = 3000


def disagreement(one: Engine, other: Engine, vocab: Sequence[str]) -> str | None:
    """A text on which two engines differ, or None: nasty strings and the vocabulary's own words."""
    every = max(1, len(vocab) // _PIECES_CHECKED)
    bare = [piece.removeprefix("##") for piece in vocab[::every]]
    step = 64
    glued = ["".join(bare[i : i + 3]) for i in range(0, len(bare), 3)]
    texts = [*NASTY, *(" ".join(bare[i : i + step]) for i in range(0, len(bare), step))]
    texts += [" ".join(glued[i : i + step]) for i in range(0, len(glued), step)]
    texts += [text.upper() for text in texts]
    one_ids_T, one_lengths = one.encode(texts)
    other_ids_T, other_lengths = other.encode(texts)
    one_ends, other_ends = np.cumsum(one_lengths), np.cumsum(other_lengths)
    for index, text in enumerate(texts):
        a = one_ids_T[one_ends[index] - one_lengths[index] : one_ends[index]]
        b = other_ids_T[other_ends[index] - other_lengths[index] : other_ends[index]]
        if not np.array_equal(a, b):
            return text
    return None
