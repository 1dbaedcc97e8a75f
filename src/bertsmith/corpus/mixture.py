"""Several corpora by one tokenizer as one, each with its share of the training examples.

`wiki=0.7,books=0.3` is what a user writes. Weights become whole numbers of `PERIOD` examples, and
within each period the examples of the corpora alternate as evenly as can be, so that how many of
the first n examples are of which corpus is a formula of n: a run needs no other state to find its
place. A corpus that has run out begins its next epoch, in a new order, whatever the others do.
"""

import hashlib
import math
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.corpus.manifest import Manifest, SplitName
from bertsmith.corpus.shards import Corpus, Split, TrainingSource

PERIOD = 10_000
"""Examples in which each corpus has exactly its share: weights count to four digits."""


def parse_mixture(data: str) -> list[tuple[str, float]]:
    """The corpora that a user names, with their weights; a single one needs none.

    Raises:
        UsageError: a weight is missing or not above 0, or a corpus is named twice.
    """
    parts = [part.strip() for part in data.split(",")]
    if Path(data).exists() or (len(parts) == 1 and not _weighted(data)):
        return [(data, 1.0)]
    found: dict[str, float] = {}
    for part in parts:
        name, weight = part.rpartition("=")[0], _weighted(part)
        if weight is None or not name:
            raise UsageError(
                f"{option('data', data)}: '{part}' is no corpus with a weight; write for example "
                "wiki=0.7,books=0.3."
            )
        if not 0 < weight < math.inf:
            raise UsageError(f"{option('data', data)}: the weight of {name} must be above 0.")
        if name in found:
            raise UsageError(f"{option('data', data)} names {name} twice; add its weights.")
        found[name] = weight
    return list(found.items())


def _weighted(part: str) -> float | None:
    _, equals, weight = part.rpartition("=")
    try:
        return float(weight) if equals else None
    except ValueError:
        return None


def open_data(data: str | Path, *, verify: bool = True) -> Corpus:
    """Opens what a run trains on: a corpus, or a mixture of several.

    Args:
        data: a folder or URL, or several with weights, as `parse_mixture` takes them.
        verify: as in `Corpus.open`.

    Raises:
        UsageError: as `parse_mixture`, or a weight is too small.
        FolderError: a corpus is missing or damaged, or they are by different tokenizers.
    """
    parts = parse_mixture(str(data))
    if len(parts) == 1:
        return Corpus.open(parts[0][0], verify=verify)
    corpora = [Corpus.open(name, verify=verify) for name, _ in parts]
    for (name, _), corpus in zip(parts, corpora, strict=True):
        if corpus.manifest.tokenizer_fingerprint != corpora[0].manifest.tokenizer_fingerprint:
            raise FolderError(
                f"{name} was prepared with another tokenizer than {parts[0][0]}; prepare both with "
                "the same."
            )
        if not corpus.split("train").token_count:
            raise FolderError(f"{name} holds no text to train on; leave it out.")
    return Mixture.of(corpora, _whole_weights(parts), name=str(data))


def _whole_weights(parts: list[tuple[str, float]]) -> list[int]:
    """Examples of each corpus in a period: largest remainders, so that they add up."""
    total = sum(weight for _, weight in parts)
    exact = [weight / total * PERIOD for _, weight in parts]
    counts = [math.floor(count) for count in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: PERIOD - sum(counts)]:
        counts[i] += 1
    for (name, _), count in zip(parts, counts, strict=True):
        if not count:
            raise UsageError(
                f"The weight of {name} is less than 1/{PERIOD:,} of all; raise it or leave it out."
            )
    return counts


class Mixture(Corpus):
    """Several corpora with weights; made by `open_data`."""

    _corpora: list[Corpus]
    _weights: list[int]
    _name: str

    @classmethod
    def of(cls, corpora: list[Corpus], weights: list[int], *, name: str) -> Self:
        """The mixture; `weights` add to `PERIOD`."""
        first = corpora[0]
        mixture = cls(first.folder, first.manifest, first.tokenizer)
        mixture.manifest = _joined([one.manifest for one in corpora])
        mixture._corpora, mixture._weights, mixture._name = corpora, weights, name
        # As often as training meets each id.
        share_V = sum(
            weight * one.unigrams_V / max(one.unigrams_V.sum(), 1)
            for weight, one in zip(weights, corpora, strict=True)
        )
        total = sum(int(one.unigrams_V.sum()) for one in corpora)
        mixture.unigrams_V = np.round(share_V * total / PERIOD).astype(np.int64)
        return mixture

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self._name

    @property
    def checksum(self) -> str:
        """Of all manifests and weights."""
        parts = [
            f"{one.checksum} {weight}"
            for one, weight in zip(self._corpora, self._weights, strict=True)
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def sources(self) -> tuple[TrainingSource, ...]:
        """The corpora, in the order in which the user named them."""
        found, first = [], 0
        for corpus, weight in zip(self._corpora, self._weights, strict=True):
            split = corpus.split("train")
            found.append(TrainingSource(split, weight, first))
            first += split.token_count
        return tuple(found)

    def verify(self, part: int = 0, parts: int = 1) -> None:
        """As `Corpus.verify`, of all corpora."""
        for corpus in self._corpora:
            corpus.verify(part, parts)

    def check_unchanged(self) -> None:
        """As `Corpus.check_unchanged`, of all corpora."""
        for corpus in self._corpora:
            corpus.check_unchanged()

    def split(self, name: SplitName) -> Split:
        """The documents of all corpora."""
        if name not in self._splits:
            self._splits[name] = Split.joined([one.split(name) for one in self._corpora])
        return self._splits[name]


def _joined(manifests: list[Manifest]) -> Manifest:
    """What is said of all; the counts are sums."""
    return msgspec.structs.replace(
        manifests[0],
        sources=[source for one in manifests for source in one.sources],
        train=[shard for one in manifests for shard in one.train],
        heldout=[shard for one in manifests for shard in one.heldout],
    )


class Interleaving:
    """Which of several sources each example of a run is from.

    Args:
        weights: examples of each source in a period of their sum.
    """

    def __init__(self, weights: list[int]) -> None:
        self.period = sum(weights)
        # The i-th of n examples of a source stands at (i + 1/2) / n of the period.
        places = [(np.arange(count) + 0.5) / count for count in weights]
        source = np.repeat(np.arange(len(weights)), weights)
        order = np.argsort(np.concatenate(places), kind="stable")
        taken = source[order][:, None] == np.arange(len(weights))
        self._before: npt.NDArray[np.int64] = np.zeros((self.period + 1, len(weights)), np.int64)
        np.cumsum(taken, axis=0, out=self._before[1:])

    def counts(self, examples: int) -> npt.NDArray[np.int64]:
        """int64 [sources]: how many of the first `examples` of a run are from each source."""
        periods, rest = divmod(examples, self.period)
        found: npt.NDArray[np.int64] = periods * self._before[-1] + self._before[rest]
        return found
