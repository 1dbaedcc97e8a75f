"""Small corpora on disk, from literal ids."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bertsmith.corpus.shard_writer import write_shard
from bertsmith.corpus.shards import Split

Documents = Sequence[Sequence[Sequence[int]]]
MakeSplit = Callable[..., Split]


@pytest.fixture
def make_split(tmp_path: Path) -> MakeSplit:
    """Writes documents (lists of sentences of ids) as shards and maps them.

    `word_start` says by id whether a token begins a word; `shards` how many shards to write.
    """

    def make(
        documents: Documents,
        *,
        vocab_size: int,
        shards: int = 1,
        word_start: Callable[[np.ndarray], np.ndarray] = np.ones_like,
    ) -> Split:
        infos = []
        for number, part in enumerate(np.array_split(np.arange(len(documents)), shards)):
            with write_shard(tmp_path / f"train-{number:05}", vocab_size=vocab_size) as writer:
                for document in (documents[i] for i in part):
                    ids = np.array([token for sentence in document for token in sentence])
                    writer.append(
                        ids,
                        word_start(ids).astype(bool),
                        sentence_lengths=np.array([len(sentence) for sentence in document]),
                        document_sentences=np.array([len(document)]),
                    )
            infos.append(writer.info)
        return Split(tmp_path, infos if documents else [], vocab_size)

    return make


@pytest.fixture
def document_bounds() -> Callable[[Split], np.ndarray]:
    """Gives the token offset of every document of a split, and of the end."""

    def bounds(split: Split) -> np.ndarray:
        first, _ = split.sentence_ranges(np.arange(split.document_count))
        return np.append(split.sentence_starts(first), split.token_count)

    return bounds
