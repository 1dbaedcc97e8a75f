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

from pathlib import Path
from typing import Literal

import msgspec

from bertsmith.core import storage
from bertsmith.core.errors import FolderError

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

REMEDY = "restore it from a good copy or prepare the corpus again"
"""Of a damaged corpus, for errors."""

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
    near_duplicates: float | None = None
    """Similarity from which on documents were dropped; None: they were not looked for."""

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
                    f"{', '.join(SHARD_FILES)}; {REMEDY}."
                )
    return manifest


def shard_name(split: str, number: int) -> str:
    """The folder of a shard: `train-00000`."""
    return f"{split}-{number:05d}"
