"""A block of documents to one part: the unit of work of `prepare`, independent of all others.

A part file holds arrays in the `.npy` format one after the other, in the order of `Part`'s fields,
so that the hashes can be read without the rest. It says nothing of other blocks: duplicates are
found, and held-out documents chosen, when the parts are put together.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from bertsmith.core import storage
from bertsmith.core.arrays import write_array
from bertsmith.core.errors import DataError
from bertsmith.corpus.chinese import mark_words
from bertsmith.text import sentences
from bertsmith.text.tokenizer.tokenizer import Tokenizer

SHORTEST_DOCUMENT = 5
"""Tokens; a shorter document has nothing to predict a masked word from."""

READ, CUT, EMPTY, SHORT = range(4)
"""Rows of `Part.counts`: documents that begin in the block; those of them that were cut for their
length; and, pieces of cut ones counted singly, those that are empty and those that are too short.
"""

HASH = np.dtype([("high", np.uint64), ("low", np.uint64)])


@dataclass(frozen=True, slots=True)
class Block:
    """Documents of one file, in order, and where their part goes."""

    part: Path
    texts: list[str]
    wheres: list[str]
    read: int
    """How many documents begin here; a piece of one that was cut may go on from the last block."""
    cut: int
    """How many of these were longer than the bound, so that they are several texts."""
    position: int
    """Bytes of source read so far, for the progress bar."""


@dataclass(frozen=True, slots=True)
class Part:
    """A block in tokens. D documents, S sentences, T tokens."""

    counts: npt.NDArray[np.int64]
    """[4], see `READ`."""
    hashes: npt.NDArray[np.void]
    """`HASH` [D]: BLAKE2b-128 of each document's text."""
    document_sentences: npt.NDArray[np.int64]
    """[D]: sentences of each document."""
    sentence_lengths: npt.NDArray[np.int64]
    """[S]: tokens of each sentence."""
    ids: npt.NDArray[np.unsignedinteger]
    """[T], uint16 or uint32."""
    places: npt.NDArray[np.uint8]
    """`file:line` of each document in UTF-8, a line break after each."""
    words: npt.NDArray[np.uint8]
    """numpy.packbits of "this token begins a word"."""

    @property
    def word_starts_T(self) -> npt.NDArray[np.bool_]:
        """`words`, unpacked."""
        return np.unpackbits(self.words, count=len(self.ids)).view(np.bool_)

    @property
    def places_D(self) -> list[str]:
        """`places`, apart."""
        return self.places.tobytes().decode().split("\n")[:-1]

    def write(self, path: Path) -> None:
        """Writes the part, whole or not at all."""
        with storage.atomic_file(path) as file:
            for field in fields(self):
                write_array(file, getattr(self, field.name))

    @classmethod
    def read(cls, path: Path) -> "Part":
        """Reads a part that `write` wrote."""
        with path.open("rb") as file:
            return cls(*(_read_array(file) for _ in fields(cls)))

    @staticmethod
    def read_hashes(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]:
        """`counts` and `hashes` of a part, without the rest."""
        with path.open("rb") as file:
            return _read_array(file), _read_array(file)


def _read_array(file: IO[bytes]) -> np.ndarray:
    return np.lib.format.read_array(file, allow_pickle=False)


@dataclass(frozen=True)
class PartMaker:
    """What a worker does; a function of the block and of these settings, nothing else."""

    tokenizer: Tokenizer
    language: str
    segmenter: str

    def __call__(self, block: Block) -> int:
        """Makes and writes the part of a block; returns the block's position."""
        self.make(block).write(block.part)
        return block.position

    def made(self, block: Block) -> tuple[Block, Part]:
        """The part of a block, for another machine to write; of the block only where it goes."""
        return replace(block, texts=[], wheres=[]), self.make(block)

    def make(self, block: Block) -> Part:
        """Splits, encodes and counts.

        Raises:
            DataError: a document is not Unicode text.
        """
        hashes = np.frombuffer(b"".join(map(_hash, block.texts, block.wheres)), HASH)
        split = [sentences.split(text, self.language) for text in block.texts]
        document_sentences = np.fromiter(map(len, split), np.int64, len(split))
        texts = [sentence for document in split for sentence in document]
        ids, sentence_lengths = self.tokenizer.encode_flat(texts)
        starts_T = self.tokenizer.word_starts(ids)
        if self.segmenter == "jieba":
            mark_words(texts, ids, sentence_lengths, starts_T, self.tokenizer)

        # A sentence of control characters alone has no token: it is no sentence.
        document_S = np.repeat(np.arange(len(split)), document_sentences)
        full_S = sentence_lengths > 0
        document_S, sentence_lengths = document_S[full_S], sentence_lengths[full_S]
        tokens_D = np.bincount(document_S, weights=sentence_lengths, minlength=len(split))
        kept_D = tokens_D >= SHORTEST_DOCUMENT
        kept_S = kept_D[document_S]
        if not kept_D.all():
            kept_T = np.repeat(kept_S, sentence_lengths)
            ids, starts_T = ids[kept_T], starts_T[kept_T]
        empty = int((tokens_D == 0).sum())
        short = len(split) - empty - int(kept_D.sum())
        places = (
            where.replace("\n", " ") + "\n"
            for where, kept in zip(block.wheres, kept_D, strict=True)
            if kept
        )
        return Part(
            counts=np.array([block.read, block.cut, empty, short], np.int64),
            hashes=hashes[kept_D],
            document_sentences=np.bincount(document_S, minlength=len(split))[kept_D],
            sentence_lengths=sentence_lengths[kept_S],
            ids=ids,
            places=np.frombuffer("".join(places).encode(), np.uint8),
            words=np.packbits(starts_T),
        )


def _hash(text: str, where: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: character {error.start} of the document is a lone surrogate, not a "
            "character; the text was not UTF-8 when it was written: convert or remove it."
        ) from error
    return hashlib.blake2b(data, digest_size=16).digest()
