"""Writing one shard folder, by appending documents, whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bertsmith.core import storage
from bertsmith.core.arrays import GrowingArray
from bertsmith.corpus.manifest import DOCUMENTS, SENTENCES, TOKENS, WORDS, ShardInfo
from bertsmith.text.tokenizer.batched import id_type


@contextlib.contextmanager
def write_shard(folder: Path, *, vocab_size: int) -> Iterator["ShardWriter"]:
    """Yields the writer of one shard folder, which appears whole when the block ends or not at all.

    `writer.info` is there after the block.
    """
    with storage.atomic_folder(folder) as place:
        writer = ShardWriter(place, vocab_size=vocab_size)
        try:
            yield writer
            writer.finish(folder.name)
        finally:
            writer.close()


class ShardWriter:
    """Appends documents to the arrays of a shard; made by `write_shard`."""

    info: ShardInfo

    def __init__(self, place: Path, *, vocab_size: int) -> None:
        self._place = place
        self._sentences = self._documents = self.tokens = 0
        self._flags = np.zeros(0, dtype=np.bool_)
        kinds = {
            TOKENS: np.dtype(id_type(vocab_size)),
            SENTENCES: np.dtype(np.int64),
            DOCUMENTS: np.dtype(np.int64),
            WORDS: np.dtype(np.uint8),
        }
        self._files: dict[str, GrowingArray] = {}
        try:
            for name, kind in kinds.items():
                self._files[name] = GrowingArray((place / name).open("wb"), kind)
            for name in (SENTENCES, DOCUMENTS):
                self._files[name].append(np.zeros(1, dtype=np.int64))
        except BaseException:
            self.close()
            raise

    def append(
        self,
        ids_T: np.ndarray,
        word_starts_T: np.ndarray,
        *,
        sentence_lengths: np.ndarray,
        document_sentences: np.ndarray,
    ) -> None:
        """Adds whole documents.

        Args:
            ids_T: ids of all their tokens, end to end.
            word_starts_T: bool, whether each token begins a word.
            sentence_lengths: tokens of each sentence.
            document_sentences: sentences of each document.
        """
        self._files[TOKENS].append(ids_T)
        self._files[SENTENCES].append(self.tokens + np.cumsum(sentence_lengths, dtype=np.int64))
        self._files[DOCUMENTS].append(
            self._sentences + np.cumsum(document_sentences, dtype=np.int64)
        )
        self._flags = np.concatenate([self._flags, word_starts_T])
        whole = len(self._flags) // 8 * 8
        self._files[WORDS].append(np.packbits(self._flags[:whole]))
        self._flags = self._flags[whole:]
        self.tokens += len(ids_T)
        self._sentences += len(sentence_lengths)
        self._documents += len(document_sentences)

    def finish(self, name: str) -> None:
        """Completes the files and fills `info`."""
        self._files[WORDS].append(np.packbits(self._flags))
        for array in self._files.values():
            array.finish()
            array.file.close()
        self.info = ShardInfo(
            name=name,
            documents=self._documents,
            sentences=self._sentences,
            tokens=self.tokens,
            checksums={file: storage.checksum(self._place / file) for file in self._files},
        )

    def close(self) -> None:
        """Gives the files back, finished or not."""
        for array in self._files.values():
            with contextlib.suppress(OSError):
                array.file.close()
