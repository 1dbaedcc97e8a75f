"""The corpus on disk: what `prepare` writes and training maps into memory. Format version 1.

A corpus folder holds::

    manifest.json      counts, settings, checksums; written last, so it means "complete"
    tokenizer/         the tokenizer that made the ids, as a Hugging Face folder
    unigrams.npy       int64 [V]: how often each id occurs in the train split
    train-00000/       a shard: whole documents, about `SHARD_TOKENS` tokens
        tokens.npy     uint16 (uint32 when V > 65536) [T]: WordPiece ids, no special tokens
        sentences.npy  int64 [S + 1]: where each sentence starts in tokens.npy; the last entry is T
        documents.npy  int64 [D + 1]: where each document starts in sentences.npy's rows
        words.npy      uint8 [ceil(T / 8)]: bit t (numpy.packbits) says that token t begins a word
    heldout-00000/     the same for the documents that are never trained on

Everything is a plain `.npy`, readable by `numpy.load`. Shards are written by ordinary writes, never
through a memory map: a full disk is then an error to report instead of a fatal signal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np

from bertsmith.core import storage
from bertsmith.core.arrays import ranges
from bertsmith.core.errors import RESUME, FolderError, explain_os_error
from bertsmith.core.mirror import fetched
from bertsmith.text.tokenizer.batched import id_type
from bertsmith.text.tokenizer.tokenizer import Tokenizer

VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
UNIGRAMS = "unigrams.npy"
TOKENS, SENTENCES, DOCUMENTS, WORDS = (
    "tokens.npy",
    "sentences.npy",
    "documents.npy",
    "words.npy",
)

SHARD_FILES = (TOKENS, SENTENCES, DOCUMENTS, WORDS)

_STRETCH = 65_536
"""Tokens of running text that `Split.spread` gives at once."""

_REMEDY = "restore it from a good copy or prepare the corpus again"

SplitName = Literal["train", "heldout"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input file of the corpus."""

    path: str
    bytes: int | None
    """Size of the file; None for a URL."""


class ShardInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shard: its folder's name, its counts and the SHA-256 of each file."""

    name: str
    documents: int
    sentences: int
    tokens: int
    checksums: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a corpus folder is: everything a reader needs to trust it, nothing that varies by run.

    No times, no worker count, no host: the same text and settings give the same bytes.
    """

    version: int
    tokenizer_fingerprint: str
    vocab_size: int
    language: str
    segmenter: str
    text_field: str
    held_out: float
    sources: list[Source]
    documents_read: int
    """Documents in the files, before long ones were cut."""
    documents_cut: int
    """Documents in the files that were longer than the bound; each became several."""
    documents_kept: int
    """Documents in the shards: documents read + pieces added by cutting - dropped."""
    dropped: dict[str, int]
    """Documents left out, by reason; pieces of cut ones are counted singly."""
    train: list[ShardInfo]
    heldout: list[ShardInfo]
    unigrams_checksum: str

    @property
    def pieces_added(self) -> int:
        """How many more documents there are because long ones were cut."""
        return self.documents_kept + sum(self.dropped.values()) - self.documents_read

    def tokens(self, split: SplitName) -> int:
        """Tokens of a split."""
        return sum(shard.tokens for shard in self._shards(split))

    def documents(self, split: SplitName) -> int:
        """Documents of a split."""
        return sum(shard.documents for shard in self._shards(split))

    def sentences(self, split: SplitName) -> int:
        """Sentences of a split."""
        return sum(shard.sentences for shard in self._shards(split))

    @property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of every array by its path in the folder."""
        shards = (*self.train, *self.heldout)
        arrays = {
            f"{shard.name}/{name}": found
            for shard in shards
            for name, found in shard.checksums.items()
        }
        return {UNIGRAMS: self.unigrams_checksum} | arrays

    def _shards(self, split: SplitName) -> list[ShardInfo]:
        return self.train if split == "train" else self.heldout


class _Version(msgspec.Struct):
    version: int


def read_manifest(folder: Path) -> Manifest:
    """Reads `manifest.json` of a corpus folder.

    Raises:
        FolderError: it is missing or damaged, or another version of the format.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; check the path.")
    if not path.is_file():
        raise FolderError(
            f"{folder} is not a finished corpus: {MANIFEST} is missing; make it with "
            "`bertsmith prepare`, or run the same command again if it was interrupted."
        )
    version = storage.read_json(path, _Version).version
    if version != VERSION:
        raise FolderError(
            f"{path}: the corpus has format version {version}, this bertsmith reads version "
            f"{VERSION}; prepare the corpus again with this version."
        )
    manifest = storage.read_json(path, Manifest)
    for split, infos in (("train", manifest.train), ("heldout", manifest.heldout)):
        for number, shard in enumerate(infos):
            expected = shard_name(split, number)
            if shard.name != expected or sorted(shard.checksums) != sorted(SHARD_FILES):
                raise FolderError(
                    f"{path}: shard {number} of {split} is {shard.name!r:.40} with the files "
                    f"{', '.join(shard.checksums):.80}, expected {expected} with "
                    f"{', '.join(SHARD_FILES)}; {_REMEDY}."
                )
    return manifest


def shard_name(split: str, number: int) -> str:
    """The folder of a shard: `train-00000`."""
    return f"{split}-{number:05d}"


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
        storage.verify(self.folder, expected, remedy=_REMEDY)

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
                remedy = f"it changed during training; {_REMEDY}, then continue with {RESUME}"
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
