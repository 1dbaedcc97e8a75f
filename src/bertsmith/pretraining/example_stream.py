"""The endless stream of training examples, in pools.

An epoch is a permutation of the documents, cut into pools of about four million tokens. Examples
(see `segments`) are shuffled within their pool, and epochs follow each other without a break. Each
pool is a pure function of split, settings and its number, so any pool can be made at any time.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.corpus.shards import Split
from bertsmith.pretraining.config import PairTask
from bertsmith.pretraining.rng import draw, permuted
from bertsmith.pretraining.segments import EXAMPLE, cut_examples

Table = NDArray[np.void]
"""An array of `segments.EXAMPLE`."""

# Tokens per pool: enough examples (about 40,000 of 128 tokens) to mix thousands of documents, few
# enough to make in a tenth of a second and to hold in a few megabytes.
POOL_TOKENS = 1 << 22

_SHUFFLE = 1 << 20  # A counter in an example's random stream that masking does not use.


@dataclass(frozen=True)
class Pools:
    """All examples of all epochs, pool by pool."""

    split: Split
    length: int
    pair_task: PairTask
    short_seq_prob: float
    seed: int

    def __post_init__(self) -> None:
        if self.length < 8:
            raise UsageError(f"The length is {self.length} tokens; it must be at least 8.")
        if not self.split.token_count:
            raise DataError(
                "The corpus has no text to train on; prepare it again from more documents."
            )
        if self.pair_task == "nsp" and self.split.document_count < 2:
            raise DataError(
                "Next sentence prediction needs several documents, but the corpus has only one; "
                "separate documents by blank lines and prepare it again, or choose "
                f"{option('pair_task', 'sop')} or none."
            )

    @property
    def documents(self) -> int:
        """Documents per pool; the last pool of an epoch may have fewer."""
        pools = max(1, round(self.split.token_count / POOL_TOKENS))
        return -(-self.split.document_count // pools)

    @property
    def per_epoch(self) -> int:
        """Pools per epoch."""
        return -(-self.split.document_count // self.documents)

    def examples(self, number: int) -> Table:
        """The examples of a pool in training order; numbers continue from epoch to epoch."""
        epoch, pool = divmod(number, self.per_epoch)
        count = self.split.document_count
        places = np.arange(pool * self.documents, min((pool + 1) * self.documents, count))
        parts = (self.length, self.pair_task, epoch)
        order = derive_seed(self.seed, "documents", *parts)
        table = cut_examples(
            self.split,
            permuted(places, count, key=order),
            length=self.length,
            pair_task=self.pair_task,
            short_seq_prob=self.short_seq_prob,
            key=derive_seed(self.seed, "examples", *parts),
        )
        shuffled: Table = table[np.argsort(draw(table["key"], _SHUFFLE), kind="stable")]
        return shuffled


class ExampleStream:
    """The endless row of examples of one source of text.

    Args:
        pools: of the source.
        first_token: where the source begins in the split that all sources are joined to.
        number: of the source.
        cursor: of an earlier run; counting begins there if its data and settings are these.
    """

    def __init__(
        self, pools: Pools, *, first_token: int, number: int, cursor: Mapping[str, int]
    ) -> None:
        self._pools = pools
        self._first_token = first_token
        self._suffix = f"-{number}" if number else ""
        self._identity = derive_seed(
            pools.seed,
            pools.length,
            pools.pair_task,
            str(pools.short_seq_prob),
            pools.split.document_count,
            pools.split.token_count,
        )
        # First example of each pool counted so far: pools `base`, `base + 1`, ...
        self._base, self._firsts = 0, [0]
        if cursor.get(f"identity{self._suffix}") == self._identity:
            self._base = cursor[f"pool{self._suffix}"]
            self._firsts = [cursor[f"example{self._suffix}"]]
        self._cached: dict[int, Table] = {}

    def cursor(self, count: int) -> dict[str, int]:
        """Where the examples after the first `count` are, or the first that was counted here."""
        row = max(0, bisect_right(self._firsts, count) - 1)
        place = {"pool": self._base + row, "example": self._firsts[row]}
        named = {f"{name}{self._suffix}": value for name, value in place.items()}
        return {f"identity{self._suffix}": self._identity} | named

    def examples(self, start: int, end: int) -> Table:
        """Examples `start` to `end` of the row.

        Raises:
            DataError: no document of the source makes an example.
        """
        if start < self._firsts[0]:
            self._base, self._firsts = 0, [0]
        found: list[Table] = [np.empty(0, EXAMPLE)]
        while start < end:
            while self._firsts[-1] <= start:
                self._count_next_pool()
            row = bisect_right(self._firsts, start) - 1
            first, after = self._firsts[row], self._firsts[row + 1]
            found.append(self._pool(self._base + row)[start - first : end - first])
            start = after
        return np.concatenate(found)

    def _count_next_pool(self) -> None:
        number = self._base + len(self._firsts) - 1
        self._firsts.append(self._firsts[-1] + len(self._pool(number)))
        epoch = self._pools.per_epoch
        if len(self._firsts) > epoch and self._firsts[-1] == self._firsts[-1 - epoch]:
            raise DataError(
                "No document of the corpus is long enough for two segments; prepare it again from "
                f"longer documents, or choose {option('pair_task', 'none')}."
            )

    def _pool(self, number: int) -> Table:
        if number not in self._cached:
            if len(self._cached) == 2:
                del self._cached[next(iter(self._cached))]
            table = self._pools.examples(number)
            for start in ("a_start", "b_start"):
                table[start] += self._first_token
            self._cached[number] = table
        return self._cached[number]
