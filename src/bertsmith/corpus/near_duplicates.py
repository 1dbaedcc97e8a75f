"""Near-duplicate documents, by MinHash and locality-sensitive hashing (Broder 1997).

A document is the set of its runs of five tokens. Its signature is `PERMUTATIONS` numbers, of which
two documents share a part that estimates the Jaccard similarity of their sets. Signatures are cut
into bands; documents with an equal band meet in a bucket, and one that is at least as similar as
the threshold to the first of a bucket is dropped. The first is the one that comes first in the
input, so the result is a function of the text and the threshold.

Memory is bounded: signatures (512 bytes a document) and bands (16 bytes a document and band) are
files, and a bucket file of about `selection.RECORDS` documents is sorted at a time.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bertsmith.core.arrays import ranges
from bertsmith.core.errors import UsageError, option
from bertsmith.core.extras import require
from bertsmith.corpus import selection
from bertsmith.corpus.parts import SHORTEST_DOCUMENT, Part

REPORT = "near-duplicates.json"
PERMUTATIONS = 128
SHINGLE = SHORTEST_DOCUMENT
"""Tokens of a run: no document is shorter."""
EXAMPLES = 100

_SEED = 1
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_RECORD = np.dtype([("key", np.uint64), ("document", np.int64)])
_PAIRS = 1 << 14
"""Compared at once: 16 MB of signatures."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document that was dropped, and the one that it resembles."""

    dropped: str
    like: str
    """An earlier one, perhaps dropped itself."""
    similarity: float


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `near-duplicates.json` holds."""

    threshold: float
    documents: int
    """Dropped, exact duplicates not counted."""
    examples: list[Example]
    """The first `EXAMPLES` by their place in the input."""


@dataclass(frozen=True)
class NearDuplicates:
    """What was found."""

    dropped: npt.NDArray[np.int64]
    """Numbers of documents, ascending, mapped; exact duplicates are among them."""
    examples: list[Example]


def load_minhash() -> Any:
    """The package that computes signatures.

    Raises:
        MissingExtra: it is not installed.
    """
    return require("rensa", extra="near-duplicates", purpose="Finding near-duplicates")


def check_threshold(threshold: float) -> None:
    """Checks a similarity.

    Raises:
        UsageError: it is out of range.
    """
    if not 0.5 <= threshold <= 1:
        raise UsageError(
            f"{option('near_duplicates')} is {threshold}; it must be at least 0.5 and at most 1."
        )


def find(
    parts: Sequence[Path], folder: Path, *, documents: int, threshold: float
) -> NearDuplicates:
    """Finds the documents that resemble an earlier one.

    Args:
        parts: files of `Part`, in order.
        folder: a folder to work in.
        documents: documents in all parts.
        threshold: least Jaccard similarity, as the signatures estimate it.

    Raises:
        MissingExtra: rensa is not installed.
    """
    bands = PERMUTATIONS // band_width(threshold)
    files = max(1, -(-documents // selection.RECORDS))
    _write_signatures(parts, folder, bands=bands, files=files)
    shape = (documents, PERMUTATIONS)
    signatures = np.memmap(folder / "signatures", np.uint32, "r", shape=shape)
    is_dropped = np.memmap(folder / "near", np.bool_, "w+", shape=(documents,))
    nearest: dict[int, tuple[int, float]] = {}
    for path in sorted(folder.glob("*.bands")):
        document, first = _pairs(np.fromfile(path, _RECORD))
        path.unlink()
        for start in range(0, len(document), _PAIRS):
            some = slice(start, start + _PAIRS)
            same = (signatures[document[some]] == signatures[first[some]]).mean(axis=1)
            near = same >= threshold
            is_dropped[document[some][near]] = True
            found = zip(document[some][near], first[some][near], same[near], strict=True)
            for one, other, similarity in found:
                nearest[int(one)] = max(
                    nearest.get(int(one), (0, 0.0)),
                    (int(other), float(similarity)),
                    key=lambda pair: (pair[1], -pair[0]),
                )
            nearest = {one: nearest[one] for one in heapq.nsmallest(EXAMPLES, nearest)}
    path = folder / "near.dropped"
    with path.open("wb") as file:
        for start in range(0, documents, selection.RECORDS):
            block = is_dropped[start : start + selection.RECORDS]
            file.write((np.flatnonzero(block) + start).astype(np.int64).data)
    empty = not path.stat().st_size
    dropped = np.empty(0, np.int64) if empty else np.memmap(path, np.int64, "r")
    return NearDuplicates(dropped, _examples(parts, nearest))


def band_width(threshold: float) -> int:
    """Numbers of a band: as many as find most pairs of that similarity.

    Pairs of similarity `(width / PERMUTATIONS) ** (1 / width)` meet in about two of three cases,
    and more similar ones nearly always.
    """
    widths = (2, 4, 8, 16, 32)
    apt = (w for w in widths if (w / PERMUTATIONS) ** (1 / w) <= threshold - 0.05)
    return max(apt, default=widths[0])


def signatures_of(part: Part) -> npt.NDArray[np.uint32]:
    """uint32 [D, PERMUTATIONS]: the signatures of a part's documents."""
    ids_T = part.ids.astype(np.uint64)
    if not len(part.hashes):
        return np.empty((0, PERMUTATIONS), np.uint32)
    last_S = np.cumsum(part.sentence_lengths)
    tokens_D = np.diff(last_S[np.cumsum(part.document_sentences) - 1], prepend=0)
    runs_T = np.zeros(len(ids_T) - SHINGLE + 1, np.uint64)
    for offset in range(SHINGLE):
        runs_T = (runs_T + ids_T[offset : len(ids_T) - SHINGLE + 1 + offset] + 1) * _PRIME
        runs_T ^= runs_T >> np.uint64(29)
    runs_D = tokens_D - SHINGLE + 1
    starts_D = np.cumsum(tokens_D) - tokens_D
    hashes = runs_T[ranges(starts_D, runs_D)]
    bounds = np.concatenate([[0], np.cumsum(runs_D)]).astype(np.uint64)
    minhash = load_minhash().RMinHash
    rows = minhash.digest_matrix_from_flat_token_hashes(hashes, bounds, PERMUTATIONS, _SEED)
    return np.array(rows.to_rows(), np.uint32)


def _write_signatures(parts: Sequence[Path], folder: Path, *, bands: int, files: int) -> None:
    """All signatures to one file, and the bands of each to the file of its leading bits."""
    first = 0
    with (folder / "signatures").open("wb") as out:
        for path in parts:
            signatures = signatures_of(Part.read(path))
            out.write(signatures.data)
            records = np.empty(len(signatures), _RECORD)
            records["document"] = np.arange(first, first + len(signatures))
            first += len(signatures)
            for band, columns in enumerate(np.split(signatures, bands, axis=1)):
                key = np.zeros(len(signatures), np.uint64)
                for column in columns.T:
                    key = (key ^ column) * _PRIME
                    key ^= key >> np.uint64(32)
                records["key"] = key
                file_of = ((key >> np.uint64(32)) * np.uint64(files)) >> np.uint64(32)
                for number in np.unique(file_of):
                    with (folder / f"{band:03}-{number:06}.bands").open("ab") as file:
                        file.write(records[file_of == number].data)


def _pairs(
    records: npt.NDArray[np.void],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each document of a bucket but the first, and the first."""
    records = records[np.lexsort((records["document"], records["key"]))]
    key, document = records["key"], records["document"]
    begins = np.ones(len(records), np.bool_)
    begins[1:] = key[1:] != key[:-1]
    first = document[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    return document[~begins], first[~begins]


def _examples(parts: Sequence[Path], nearest: dict[int, tuple[int, float]]) -> list[Example]:
    """The pairs with their places, of which only some parts are read."""
    wanted = sorted({*nearest, *(other for other, _ in nearest.values())})
    places: dict[int, str] = {}
    first = 0
    for path in parts if wanted else ():
        count = len(Part.read_hashes(path)[1])
        here = [number for number in wanted if first <= number < first + count]
        if here:
            found = Part.read(path).places_D
            places |= {number: found[number - first] for number in here}
        first += count
    return [
        Example(places[one], places[other], round(similarity, 3))
        for one, (other, similarity) in sorted(nearest.items())
    ]
