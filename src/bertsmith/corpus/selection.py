"""Which documents stay, and in which split: exact duplicates out, a share held out.

Memory is bounded whatever the corpus size: the hashes of all documents go to files by their
leading bits, each file holds about `RECORDS` documents and is sorted on its own, and what is found
goes back to disk as ascending document numbers, to be read along with the parts.
"""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bertsmith.core.arrays import write_array
from bertsmith.core.storage import atomic_file
from bertsmith.corpus.parts import HASH, Part

RECORDS = 1 << 20
"""Documents sorted at once: 24 MB of hashes and numbers, four times that while sorting."""

_RECORD = np.dtype([("high", np.uint64), ("low", np.uint64), ("document", np.int64)])


class Selection:
    """The answer, document by document in the order of the parts."""

    def __init__(
        self, dropped: list[npt.NDArray[np.int64]], *, duplicates: int, near: int, first_train: int
    ):
        self._dropped = dropped
        self._taken = [0] * len(dropped)
        self._next = 0
        self._first_train = first_train
        self.duplicates = duplicates
        """Equal to an earlier document."""
        self.near_duplicates = near
        """Others that were to be dropped."""

    def take(self, hashes: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.bool_], ...]:
        """For the next documents, by their hashes [D]: which to train on, which to hold out."""
        end = self._next + len(hashes)
        kept_D = np.ones(len(hashes), dtype=np.bool_)
        for i, dropped in enumerate(self._dropped):
            start = self._taken[i]
            stop = self._taken[i] = start + int(np.searchsorted(dropped[start:], end))
            kept_D[dropped[start:stop] - self._next] = False
        self._next = end
        heldout_D = hashes["high"] < self._first_train
        return kept_D & ~heldout_D, kept_D & heldout_D


def select(
    parts: Sequence[Path],
    folder: Path,
    *,
    documents: int,
    held_out: float,
    near: npt.NDArray[np.int64] | None = None,
) -> Selection:
    """Finds duplicates and the border between the splits.

    Of equal documents the first stays. A document is held out when its hash, as a fraction of the
    largest, is below `held_out`: a pure function of its text, so that a document stays on its side
    when the corpus grows. Where that leaves fewer than two documents (or half of a corpus of
    three or less) on a side, the border moves just far enough: evaluation needs text too.

    Args:
        parts: files of `Part`, in order.
        folder: an empty folder to work in.
        documents: documents in all parts.
        held_out: share of the documents, in [0, 0.5].
        near: numbers of more documents to drop, ascending.
    """
    files = max(1, -(-documents // RECORDS))
    _scatter(parts, folder, files=files)
    border = round(held_out * 2**64)
    near = np.empty(0, np.int64) if near is None else near
    kept = below = duplicates = 0
    lowest: list[int] = []
    highest: list[int] = []
    dropped = []
    for path in (folder / f"{i}.hashes" for i in range(files)):
        records = np.fromfile(path, _RECORD) if path.exists() else np.empty(0, _RECORD)
        records = records[np.lexsort((records["document"], records["low"], records["high"]))]
        again = np.zeros(len(records), dtype=np.bool_)
        again[1:] = (records["high"][1:] == records["high"][:-1]) & (
            records["low"][1:] == records["low"][:-1]
        )
        duplicates += int(again.sum())
        if len(near):
            at = np.minimum(np.searchsorted(near, records["document"]), len(near) - 1)
            again |= near[at] == records["document"]
        dropped.append(_store(np.sort(records["document"][again]), path.with_suffix(".dropped")))
        high = records["high"][~again]
        kept += len(high)
        below += int(np.searchsorted(high, np.uint64(border)))
        lowest = heapq.nsmallest(3, lowest + high[:3].tolist())
        highest = heapq.nlargest(3, highest + high[-3:].tolist())
        path.unlink(missing_ok=True)
    least = min(2, kept // 2) if held_out else 0
    if below < least:
        border = lowest[least]
    elif kept - below < least:
        border = highest[least - 1]
    others = sum(map(len, dropped)) - duplicates
    return Selection(dropped, duplicates=duplicates, near=others, first_train=border)


def _scatter(parts: Sequence[Path], folder: Path, *, files: int) -> None:
    """Writes every document's record to the file of its hash, a bounded batch at a time."""
    for batch in _batches(parts):
        file_of = ((batch["high"] >> np.uint64(32)) * np.uint64(files)) >> np.uint64(32)
        order = np.argsort(file_of, kind="stable")
        bounds = np.searchsorted(file_of[order], np.arange(files + 1))
        for i in range(files):
            if bounds[i] < bounds[i + 1]:
                with (folder / f"{i}.hashes").open("ab") as file:
                    file.write(batch[order[bounds[i] : bounds[i + 1]]].data)


def _batches(parts: Sequence[Path]) -> Iterator[npt.NDArray[np.void]]:
    waiting: list[npt.NDArray[np.void]] = []
    document = 0
    for part in parts:
        hashes = Part.read_hashes(part)[1]
        records = np.empty(len(hashes), _RECORD)
        for name in HASH.names or ():
            records[name] = hashes[name]
        records["document"] = np.arange(document, document + len(hashes))
        document += len(hashes)
        waiting.append(records)
        if sum(map(len, waiting)) >= RECORDS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _store(numbers: npt.NDArray[np.int64], path: Path) -> npt.NDArray[np.int64]:
    """The numbers, kept on disk and mapped."""
    if not len(numbers):
        return numbers
    with atomic_file(path) as file:
        write_array(file, numbers)
    mapped: npt.NDArray[np.int64] = np.load(path, mmap_mode="r")
    return mapped
