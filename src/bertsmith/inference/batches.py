"""Packed batches of a task: of a training step by its number, or of everything in turn.

A training step is a pure function of features, settings and its number: an epoch is a permutation
of the examples, dealt out over its steps so evenly that they differ by one example at most.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.core.errors import UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.modules.packed import micro_batches, packed_from_flat
from bertsmith.tasks.features import Features
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatches:
    """The training data of a run, as the loop asks for it."""

    features: Features
    """With targets."""
    tokenizer: Tokenizer
    batch_size: int
    """Examples (or windows, where answers or tags are looked for) of a step, over all processes."""
    seed: int
    micro_tokens: int
    """Most tokens of a micro-batch; 0 for no limit."""
    _orders: dict[int, Integers] = field(default_factory=dict, init=False, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """At least 1; the last step of an epoch is as large as the others, give or take one."""
        return -(-self.features.items // self.batch_size)

    def at(self, step: int, rank: int = 0, world: int = 1) -> list[TaskBatch]:
        """This process's micro-batches of a step, from 0.

        Raises:
            UsageError: there are more processes than examples in the step.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        first, last = (
            edge * self.features.items // self.steps_per_epoch for edge in (place, place + 1)
        )
        if last - first < world:
            raise UsageError(
                f"A step has {last - first} examples, fewer than the {world} processes of this "
                f"run; start fewer processes or raise {option('batch_size')}."
            )
        items, lengths = _longest_first(self.features, order[first:last])
        runs = micro_batches(lengths, world, micro_tokens=self.micro_tokens)[rank]
        return [make_batch(self.features, items[rank::world][run], self.tokenizer) for run in runs]

    def _order(self, epoch: int) -> Integers:
        """The epoch's permutation; the last one is kept."""
        if epoch not in self._orders:
            draw = np.random.default_rng(derive_seed(self.seed, "order", epoch))
            self._orders.clear()
            self._orders[epoch] = draw.permutation(self.features.items)
        return self._orders[epoch]


def evaluation_batches(
    features: Features,
    cut: Callable[[Integers], list[slice]],
    *,
    batch_size: int | None = None,
) -> list[Integers]:
    """The items of each batch: everything once, the longest first.

    `cut` says from the falling lengths of the items where a batch ends; it has `batch_size` items
    at most, if that is given.
    """
    items, lengths = _longest_first(features, np.arange(features.items))
    return [
        items[start : min(run.stop, start + (batch_size or len(items)))]
        for run in cut(lengths)
        for start in range(run.start, run.stop, batch_size or len(items))
    ]


def _longest_first(features: Features, items: Integers) -> tuple[Integers, Integers]:
    """Items by falling length, so that equal lengths meet in one attention call; their lengths."""
    lengths = features.item_lengths[items].astype(np.int64)
    order = np.argsort(-lengths, kind="stable")
    return items[order], lengths[order]


def make_batch(features: Features, chosen: Integers, tokenizer: Tokenizer) -> TaskBatch:
    """The rows of the chosen items, joined and packed, with their targets if they have any."""
    rows = (chosen[:, None] * features.group + np.arange(features.group)).ravel()
    ids_T, segments_T, lengths = features.joined(rows, tokenizer)
    packed = packed_from_flat(ids_T, segments_T, lengths)
    if features.words is None:
        targets = None if features.targets is None else torch.from_numpy(features.targets[chosen])
        return TaskBatch(packed, targets, group=features.group)
    words = features.words[words_of(features, chosen)]
    starts = np.cumsum(lengths) - lengths
    counts = features.word_edges[rows + 1] - features.word_edges[rows]
    before_P = np.repeat(starts, counts)
    return TaskBatch(
        packed,
        torch.from_numpy(words["target"].copy()),
        words_P=torch.from_numpy(before_P + words["place"]),
        ends_P=torch.from_numpy(before_P + words["end"]),
    )


def words_of(features: Features, rows: Integers) -> Integers:
    """Numbers of the words that are tagged in the given rows, row after row."""
    edges = features.word_edges
    return np.concatenate([np.arange(edges[row], edges[row + 1]) for row in rows])
