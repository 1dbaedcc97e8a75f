"""Finished parts to the corpus folder: select, append to shards, count, and the manifest last."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from bertsmith.core import storage
from bertsmith.core.arrays import write_array
from bertsmith.core.errors import DataError, option
from bertsmith.corpus import selection
from bertsmith.corpus.manifest import UNIGRAMS, ShardInfo, SplitName, shard_name
from bertsmith.corpus.near_duplicates import REPORT, Report, find
from bertsmith.corpus.parts import CUT, EMPTY, READ, SHORT, SHORTEST_DOCUMENT, Part
from bertsmith.corpus.shard_writer import ShardWriter, write_shard
from bertsmith.text import streams

SHARD_TOKENS = 1 << 28
"""A shard ends with the part where it reaches this many tokens: 512 MB of `tokens.npy`.

Each has four mapped files, of which a system allows a process 65,530 by default: with shards of
this size a trillion tokens have 15,000.
"""


@dataclass
class Assembled:
    """What came of the parts."""

    counts: npt.NDArray[np.int64]
    """[4], summed over the parts; see `parts.READ`."""
    duplicates: int = 0
    near_duplicates: int | None = None
    """None: they were not looked for."""
    train: list[ShardInfo] = field(default_factory=list)
    heldout: list[ShardInfo] = field(default_factory=list)
    unigrams_checksum: str = ""

    @property
    def read(self) -> int:
        """Documents in the files."""
        return int(self.counts[READ])

    @property
    def cut(self) -> int:
        """How many of them were longer than the bound and became several."""
        return int(self.counts[CUT])

    @property
    def kept(self) -> int:
        """Documents in the shards."""
        return sum(info.documents for info in (*self.train, *self.heldout))

    @property
    def dropped(self) -> dict[str, int]:
        """Documents left out, by reason; pieces of cut ones are counted singly."""
        found = {
            "empty after cleaning": int(self.counts[EMPTY]),
            f"shorter than {SHORTEST_DOCUMENT} tokens": int(self.counts[SHORT]),
            "exact duplicate": self.duplicates,
        }
        return (
            found
            if self.near_duplicates is None
            else found | {"near duplicate": self.near_duplicates}
        )


def assemble(
    parts: Sequence[Path],
    out: Path,
    work: Path,
    *,
    vocab_size: int,
    held_out: float,
    near_duplicates: float | None = None,
    sources: Sequence[str],
    advance: Callable[[int, int], None],
) -> Assembled:
    """Writes the shards and `unigrams.npy`; everything but the tokenizer and the manifest.

    Starts from the beginning after an interruption: it takes seconds where the parts took minutes.

    Args:
        parts: all parts, in order.
        out: the corpus folder.
        work: a folder for temporary files, which is emptied first.
        vocab_size: V.
        held_out: share of the documents to hold out.
        near_duplicates: similarity from which on a document is dropped; None: none is.
        sources: the input files, for errors.
        advance: told how many of how many parts are done.

    Raises:
        DataError: no document is left, or none beside the only one that could be held out.
        SystemFault: the disk is full, ...
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for shard in (*out.glob("train-*"), *out.glob("heldout-*")):
        shutil.rmtree(shard)
    found = Assembled(np.zeros(4, dtype=np.int64))
    documents = 0
    for path in parts:
        counts, hashes = Part.read_hashes(path)
        found.counts += counts
        documents += len(hashes)
    if not documents:
        reasons = ", ".join(f"{count} {why}" for why, count in found.dropped.items() if count)
        raise DataError(
            f"All {found.read} documents were dropped ({reasons}). Give more or longer text, or "
            f"check {option('text_field')}."
        )
    near = None
    if near_duplicates is not None:
        near = find(parts, work, documents=documents, threshold=near_duplicates)
    chosen = selection.select(
        parts,
        work,
        documents=documents,
        held_out=held_out,
        near=None if near is None else near.dropped,
    )
    found.duplicates = chosen.duplicates
    if near is not None and near_duplicates is not None:
        found.near_duplicates = chosen.near_duplicates
        report = Report(near_duplicates, chosen.near_duplicates, near.examples)
        storage.write_json(out / REPORT, report)
    if held_out and documents - chosen.duplicates - chosen.near_duplicates < 2:
        raise _only_one(found, parts, sources)
    unigrams_V = np.zeros(vocab_size, dtype=np.int64)
    with (
        _SplitWriter(out, "train", vocab_size) as train,
        _SplitWriter(out, "heldout", vocab_size) as heldout,
    ):
        for done, path in enumerate(parts, start=1):
            part = Part.read(path)
            train_D, heldout_D = chosen.take(part.hashes)
            unigrams_V += np.bincount(train.append(part, train_D), minlength=vocab_size)
            heldout.append(part, heldout_D)
            advance(done, len(parts))
    found.train, found.heldout = train.infos, heldout.infos
    with storage.atomic_file(out / UNIGRAMS) as file:
        write_array(file, unigrams_V)
    found.unigrams_checksum = storage.checksum(out / UNIGRAMS)
    return found


def _only_one(found: Assembled, parts: Sequence[Path], sources: Sequence[str]) -> DataError:
    """The error about a corpus of one document: what was found, and how to make it several."""
    first = next(part for path in parts if len((part := Part.read(path)).hashes))
    lengths = first.sentence_lengths[: first.document_sentences[0]]
    left_out = [f"{count:,} {why}" for why, count in found.dropped.items() if count]
    dropped = f" of {found.read:,}, after dropping {', '.join(left_out)}" if left_out else ""
    sentences = f"{len(lengths):,} sentences" if len(lengths) > 1 else "one sentence"
    remedies = []
    if found.duplicates:
        remedies.append("give text that does not repeat")
    if any(streams.endings(path)[0] == ".txt" for path in sources):
        remedies.append(
            "put a blank line between documents (articles, chapters, messages); if each line is "
            "a document, `sed G FILE > NEW` adds the blank lines"
        )
    if any(streams.endings(path)[0] != ".txt" for path in sources):
        remedies.append("give more rows: each row is a document")
    where = sources[0] if len(sources) == 1 else f"the {len(sources)} files"
    return DataError(
        f"{where}: found only one document{dropped} ({sentences}, {int(lengths.sum()):,} tokens); "
        "expected at least four, two for training and two for evaluation. To fix it, "
        f"{'; or '.join(remedies)}."
    )


class _SplitWriter:
    """Appends documents of parts to one shard after the other."""

    def __init__(self, out: Path, split: SplitName, vocab_size: int) -> None:
        self.infos: list[ShardInfo] = []
        self._out, self._split, self._vocab_size = out, split, vocab_size
        self._stack = contextlib.ExitStack()
        self._writer: ShardWriter | None = None

    def __enter__(self) -> Self:
        return self

    def append(self, part: Part, chosen_D: npt.NDArray[np.bool_]) -> np.ndarray:
        """Adds the chosen documents of a part; returns their ids."""
        ids, starts_T = part.ids, part.word_starts_T
        document_sentences, sentence_lengths = part.document_sentences, part.sentence_lengths
        if not chosen_D.any():
            return ids[:0]
        if not chosen_D.all():
            chosen_S = np.repeat(chosen_D, document_sentences)
            chosen_T = np.repeat(chosen_S, sentence_lengths)
            ids, starts_T = ids[chosen_T], starts_T[chosen_T]
            document_sentences = document_sentences[chosen_D]
            sentence_lengths = sentence_lengths[chosen_S]
        if self._writer is None:
            folder = self._out / shard_name(self._split, len(self.infos))
            self._writer = self._stack.enter_context(
                write_shard(folder, vocab_size=self._vocab_size)
            )
        self._writer.append(
            ids,
            starts_T,
            sentence_lengths=sentence_lengths,
            document_sentences=document_sentences,
        )
        if self._writer.tokens >= SHARD_TOKENS:
            self._finish()
        return ids

    def _finish(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._stack.close()
            self.infos.append(writer.info)

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._finish()
        else:
            self._stack.__exit__(*error)  # type: ignore[arg-type]
