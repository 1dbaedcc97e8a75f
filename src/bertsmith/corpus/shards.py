"""A corpus folder opened for reading: its splits as rows of tokens, mapped into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bertsmith.core import storage
from bertsmith.core.arrays import ranges
from bertsmith.core.errors import RESUME, FolderError, explain_os_error
from bertsmith.core.mirror import fetched
from bertsmith.core.runtime import raise_open_file_limit
from bertsmith.corpus.manifest import (
    DOCUMENTS,
    MANIFEST,
    REMEDY,
    SENTENCES,
    TOKENIZER,
    TOKENS,
    UNIGRAMS,
    WORDS,
    Manifest,
    ShardInfo,
    SplitName,
    read_manifest,
)
from bertsmith.text.tokenizer.batched import id_type
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_STRETCH = 65_536
"""Tokens of running text that `Split.spread` gives at once."""


def read_unigrams(folder: Path, manifest: Manifest) -> np.ndarray:
    """int64 [V]: how often each id occurs in the train split.

    Raises:
        FolderError: the file is missing or damaged.
    """
    return _map(folder / UNIGRAMS, np.dtype(np.int64), manifest.vocab_size)


class Corpus:
    """A corpus folder opened for reading; arrays are mapped, not read."""

    def __init__(self, folder: Path, manifest: Manifest, tokenizer: Tokenizer) -> None:
        self.folder = folder
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.unigrams_V = read_unigrams(folder, manifest)
        self._splits: dict[SplitName, Split] = {}
        self._stamps = {name: _stamp(folder / name) for name in manifest.checksums}

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> Self:
        """Opens a finished corpus.

        Args:
            folder: what `prepare` wrote, or its URL.
            verify: compare the SHA-256 of every file with the manifest (reads everything once).

        Raises:
            FolderError: not a corpus, another version, a damaged file, or a tokenizer that is not
                the one that made the ids.
        """
        folder = fetched(folder)
        manifest = read_manifest(folder)
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        if tokenizer.fingerprint != manifest.tokenizer_fingerprint:
            raise FolderError(
                f"{folder / TOKENIZER} does not match the corpus: its fingerprint is "
                f"{tokenizer.fingerprint[:12]}, the corpus was made with "
                f"{manifest.tokenizer_fingerprint[:12]}; put the original tokenizer back or "
                "prepare the corpus again."
            )
        corpus = cls(folder, manifest, tokenizer)
        if verify:
            corpus.verify()
        return corpus

    def verify(self, part: int = 0, parts: int = 1) -> None:
        """Compares the SHA-256 of every file, or of one of `parts` equal shares, with the manifest.

        Raises:
            FolderError: a file is missing or damaged.
            SystemFault: it cannot be read.
        """
        # Files of one kind, which are about equally large, follow each other.
        names = sorted(self.manifest.checksums, key=lambda name: name.rpartition("/")[::-1])
        expected = {name: self.manifest.checksums[name] for name in names[part::parts]}
        storage.verify(self.folder, expected, remedy=REMEDY)

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    @property
    def checksum(self) -> str:
        """SHA-256 of its manifest, which has those of all files."""
        return storage.checksum(self.folder / MANIFEST)

    @property
    def sources(self) -> "tuple[TrainingSource, ...]":
        """What training draws from: a mixture has several."""
        return (TrainingSource(self.split("train"), 1, 0),)

    def check_unchanged(self) -> None:
        """Checks that no file was written to since the corpus was opened; reads those that were.

        Raises:
            FolderError: a file is missing or has other contents.
            SystemFault: it cannot be read.
        """
        for name, stamp in self._stamps.items():
            if _stamp(self.folder / name) != stamp:
                expected = {name: self.manifest.checksums[name]}
                remedy = f"it changed during training; {REMEDY}, then continue with {RESUME}"
                storage.verify(self.folder, expected, remedy=remedy)

    def split(self, name: SplitName) -> "Split":
        """The documents to train on, or the held-out ones."""
        if name not in self._splits:
            manifest = self.manifest
            shards = manifest.train if name == "train" else manifest.heldout
            self._splits[name] = Split(self.folder, shards, manifest.vocab_size)
        return self._splits[name]


@dataclass(frozen=True)
class TrainingSource:
    """A part of what is trained on, with its own order and epochs."""

    split: "Split"
    weight: int
    """Examples of each `sum of all weights` that are from here."""
    first_token: int
    """Where it begins in the split of the whole."""


class _Shard:
    def __init__(self, folder: Path, info: ShardInfo, ids: np.dtype[Any]) -> None:
        offsets = np.dtype(np.int64)
        self.tokens = _map(folder / TOKENS, ids, info.tokens)
        self.sentences = _map(folder / SENTENCES, offsets, info.sentences + 1)
        self.documents = _map(folder / DOCUMENTS, offsets, info.documents + 1)
        self.words = _map(folder / WORDS, np.dtype(np.uint8), (info.tokens + 7) // 8)


class Split:
    """One split's shards as one long row of tokens.

    Token offsets are global: the first shard's tokens come first. A document lies in one shard.
    """

    def __init__(self, folder: Path, shards: list[ShardInfo], vocab_size: int) -> None:
        ids = np.dtype(id_type(vocab_size))
        raise_open_file_limit()
        self._take([_Shard(folder / info.name, info, ids) for info in shards])

    @classmethod
    def joined(cls, splits: Sequence["Split"]) -> Self:
        """The documents of several splits by one tokenizer, those of the first first."""
        found = cls.__new__(cls)
        found._take([shard for split in splits for shard in split._shards])
        return found

    def _take(self, shards: list[_Shard]) -> None:
        self._shards = shards
        self._token_bases = _offsets([len(shard.tokens) for shard in shards])
        self._sentence_bases = _offsets([len(shard.sentences) - 1 for shard in shards])
        self._document_bases = _offsets([len(shard.documents) - 1 for shard in shards])
        self.token_count = int(self._token_bases[-1])
        self.sentence_count = int(self._sentence_bases[-1])
        self.document_count = int(self._document_bases[-1])

    def sentence_ranges(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each document the number of its first sentence and of the one after its last.

        Sentences are numbered through the split, as tokens are; both int64 [N].
        """
        first = np.empty(len(documents), dtype=np.int64)
        stop = np.empty(len(documents), dtype=np.int64)
        shard_N = np.searchsorted(self._document_bases, documents, side="right") - 1
        for i in np.flatnonzero(np.bincount(shard_N)):
            here = np.flatnonzero(shard_N == i)
            rows = documents[here] - self._document_bases[i]
            first[here] = self._shards[i].documents[rows] + self._sentence_bases[i]
            stop[here] = self._shards[i].documents[rows + 1] + self._sentence_bases[i]
        return first, stop

    def sentence_starts(self, sentences: np.ndarray) -> np.ndarray:
        """int64 [N]: global token offsets of sentences; `sentence_count` gives `token_count`."""
        starts = np.empty(len(sentences), dtype=np.int64)
        shard_N = np.searchsorted(self._sentence_bases, sentences, side="right") - 1
        shard_N = np.minimum(shard_N, len(self._shards) - 1)
        for i in np.flatnonzero(np.bincount(shard_N)):
            here = np.flatnonzero(shard_N == i)
            rows = sentences[here] - self._sentence_bases[i]
            starts[here] = self._shards[i].sentences[rows] + self._token_bases[i]
        return starts

    def spread(self, tokens: int) -> Iterator[np.ndarray]:
        """About `tokens` tokens (all, if there are no more) in stretches spread over the split.

        int64, at most [65536] each; a stretch may begin and end inside a document.
        """
        stretches = -(-min(tokens, self.token_count) // _STRETCH)
        for number in range(stretches):
            start = number * self.token_count // stretches
            end = min(start + _STRETCH, (number + 1) * self.token_count // stretches)
            yield self.gather(np.array([start]), np.array([end - start]))

    def gather(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """int64 [sum(lengths)]: ids of many token ranges, laid end to end.

        Args:
            starts: int64 [N], global token offsets.
            lengths: int64 [N], tokens of each range; a range lies within one document.
        """
        return self._gather(starts, lengths, np.dtype(np.int64), _ids_at)

    def gather_word_starts(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """bool [sum(lengths)]: whether each token of the ranges begins a word."""
        return self._gather(starts, lengths, np.dtype(np.bool_), _word_starts_at)

    def _gather(
        self, starts: np.ndarray, lengths: np.ndarray, kind: np.dtype[Any], pick: Any
    ) -> np.ndarray:
        index_T = ranges(starts, lengths)
        if len(self._shards) == 1:
            only: np.ndarray = pick(self._shards[0], index_T)
            return only
        result_T = np.empty(len(index_T), dtype=kind)
        shard_T = np.searchsorted(self._token_bases, index_T, side="right") - 1
        for i in np.unique(shard_T):
            here_T = np.flatnonzero(shard_T == i)
            result_T[here_T] = pick(self._shards[i], index_T[here_T] - self._token_bases[i])
        return result_T


def _ids_at(shard: _Shard, index_T: np.ndarray) -> np.ndarray:
    ids_T: np.ndarray = shard.tokens[index_T].astype(np.int64)
    return ids_T


def _word_starts_at(shard: _Shard, index_T: np.ndarray) -> np.ndarray:
    bits = shard.words[index_T >> 3] >> (7 - (index_T & 7)).astype(np.uint8)
    starts_T: np.ndarray = (bits & 1).astype(np.bool_)
    return starts_T


def _offsets(counts: list[int]) -> np.ndarray:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _map(path: Path, kind: np.dtype[Any], length: int) -> np.ndarray:
    """Maps a 1-D array and checks type and length, which costs nothing and catches a cut file."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FolderError(f"{path} is missing; prepare the corpus again.") from error
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.errno:
            raise explain_os_error(error, "read", path) from error
        raise FolderError(
            f"{path} cannot be read ({error}); restore it from a good copy or prepare the corpus "
            "again."
        ) from error
    if array.dtype != kind or array.shape != (length,):
        raise FolderError(
            f"{path} holds {array.dtype} {list(array.shape)}, the manifest says {kind} "
            f"[{length}]; restore it from a good copy or prepare the corpus again."
        )
    return np.asarray(array)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last write."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (-1, -1)
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    return (found.st_size, found.st_mtime_ns)
