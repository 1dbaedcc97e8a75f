"""Writing one shard folder, by appending documents, whole or not at all."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from bertsmith.core import storage
from bertsmith.corpus.shards import DOCUMENTS, SENTENCES, TOKENS, WORDS, ShardInfo
from bertsmith.text.tokenizer.batched import id_type


def write_array(file: IO[bytes], array: np.ndarray) -> None:
    """As `numpy.save`, by ordinary writes: `ndarray.tofile` hides why the system refused."""
    file.write(_header(array.dtype, len(array)))
    file.write(np.ascontiguousarray(array).view(np.uint8).data)


class _ArrayFile:
    """A 1-D `.npy` that grows by appending; the header gets the final length at the end."""

    def __init__(self, path: Path, kind: np.dtype[Any]) -> None:
        self._kind = kind
        self._length = 0
        self._file: IO[bytes] = path.open("wb")
        self._file.write(_header(kind, 0))

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, dtype=self._kind).data)
        self._length += len(values)

    def finish(self) -> None:
        self._file.seek(0)
        self._file.write(_header(self._kind, self._length))
        self._file.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _header(kind: np.dtype[Any], length: int) -> bytes:
    # numpy pads the header so that a longer shape still fits: its size does not depend on length.
    stream = io.BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(stream, layout | {"shape": (length,)})
    return stream.getvalue()


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
        offsets = np.dtype(np.int64)
        self._files = {
            TOKENS: _ArrayFile(place / TOKENS, np.dtype(id_type(vocab_size))),
            SENTENCES: _ArrayFile(place / SENTENCES, offsets),
            DOCUMENTS: _ArrayFile(place / DOCUMENTS, offsets),
            WORDS: _ArrayFile(place / WORDS, np.dtype(np.uint8)),
        }
        for name in (SENTENCES, DOCUMENTS):
            self._files[name].append(np.zeros(1, dtype=np.int64))

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
            array.close()
