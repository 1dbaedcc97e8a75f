"""The endless stream of training examples, in pools.

An epoch is a permutation of the documents, cut into pools of about four million tokens. Examples
(see `segments`) are shuffled within their pool, and epochs follow each other without a break. Each
pool is a pure function of split, settings and its number, so any pool can be made at any time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.corpus.shards import Split
from bertsmith.pretraining.config import PairTask
from bertsmith.pretraining.rng import draw, permuted
from bertsmith.pretraining.segments import cut_examples

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
