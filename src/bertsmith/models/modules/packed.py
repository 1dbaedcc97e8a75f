"""The packed batch: one row of real tokens and where each sequence starts. No padding anywhere.

Shapes, here and in every file above: B sequences, L length, T packed tokens, P masked positions,
D width, N heads, H head width, V vocabulary, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

BatchT = TypeVar("BatchT", bound="Packed | PretrainBatch | LanguageBatch")


@dataclass(frozen=True)
class Packed:
    """Sequences laid end to end."""

    ids_T: Tensor
    """int64: WordPiece ids."""
    segments_T: Tensor
    """int64: 0 for segment A, 1 for segment B."""
    positions_T: Tensor
    """int64: position within the sequence, from 0."""
    starts: Tensor
    """int32 [B + 1]: where each sequence starts in T; the last entry is T."""
    longest: int
    """Tokens of the longest sequence."""

    @property
    def sequences(self) -> int:
        """B."""
        return self.starts.numel() - 1

    @property
    def firsts_B(self) -> Tensor:
        """int64: index into T of each sequence's first token, `[CLS]`."""
        return self.starts[:-1].to(torch.int64)

    @property
    def lasts_B(self) -> Tensor:
        """int64: index into T of each sequence's last token, `[SEP]`."""
        return self.starts[1:].to(torch.int64) - 1

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return self.starts.diff().tolist()

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return each_tensor(self, partial(Tensor.to, device=device, non_blocking=True))


def pack(ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Packed:
    """Packs sequences of ids (each at least one token long); segments default to 0.

    Raises:
        ValueError: no sequence, an empty one, or segments of another length than ids.
    """
    lengths = np.array([len(sequence) for sequence in ids], dtype=np.int64)
    if not len(lengths) or lengths.min() == 0:
        raise ValueError("pack() needs at least one sequence and no empty one")
    if segments is not None and [len(row) for row in segments] != lengths.tolist():
        raise ValueError("pack() needs one segment number per id")
    flat = np.concatenate([np.asarray(sequence, dtype=np.int64) for sequence in ids])
    zeros = np.zeros(len(flat), dtype=np.int64)
    kinds = zeros if segments is None else np.concatenate([np.asarray(row) for row in segments])
    return packed_from_flat(flat, kinds, lengths)


def packed_from_flat(ids_T: np.ndarray, segments_T: np.ndarray, lengths: np.ndarray) -> Packed:
    """A batch from rows already laid end to end; `lengths` [B] says where to cut."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    positions_T = np.arange(len(ids_T), dtype=np.int64) - np.repeat(starts[:-1], lengths)
    return Packed(
        ids_T=torch.from_numpy(ids_T.astype(np.int64, copy=False)),
        segments_T=torch.from_numpy(segments_T.astype(np.int64, copy=False)),
        positions_T=torch.from_numpy(positions_T),
        starts=torch.from_numpy(starts.astype(np.int32)),
        longest=int(lengths.max()),
    )


def micro_batches(lengths: np.ndarray, world: int, *, micro_tokens: int) -> list[list[slice]]:
    """For every rank where to cut its share of a step: runs of at most `micro_tokens` tokens.

    A sequence longer than that is a run of its own. All ranks get as many runs as the one that
    needs most, because processes that exchange gradients must do so equally often. (Where that one
    has a sequence more than another rank, and nothing but runs of one, two of them are joined.)
    """
    shares = [lengths[rank::world].tolist() for rank in range(world)]
    cuts = [_greedy(share, micro_tokens) for share in shares]
    most = min(max(map(len, cuts)), min(map(len, shares)))
    for runs in cuts:
        while len(runs) > most:
            runs[-2:] = [slice(runs[-2].start, runs[-1].stop)]
        while len(runs) < most:
            row = max(range(len(runs)), key=lambda i: runs[i].stop - runs[i].start)
            start, stop = runs[row].start, runs[row].stop
            middle = (start + stop) // 2
            runs[row : row + 1] = [slice(start, middle), slice(middle, stop)]
    return cuts


def _greedy(lengths: list[int], micro_tokens: int) -> list[slice]:
    runs = []
    start = tokens = 0
    for row, length in enumerate(lengths):
        if micro_tokens and row > start and tokens + length > micro_tokens:
            runs.append(slice(start, row))
            start, tokens = row, 0
        tokens += length
    return [*runs, slice(start, len(lengths))]


@dataclass(frozen=True)
class PretrainBatch:
    """Packed input with what the two pre-training objectives ask of it (paper, section 3.1)."""

    packed: Packed
    masked_P: Tensor
    """int64: indices into T of the tokens to predict, ascending."""
    labels_P: Tensor
    """int64: the original ids at those positions."""
    next_B: Tensor | None
    """int64: 0 where segment B follows A, 1 where it does not; None without a pair task."""

    @property
    def counts(self) -> dict[str, int]:
        """How many predictions each objective sums over; the loop divides by these."""
        counts = {"mlm": self.masked_P.numel()}
        if self.next_B is not None:
            counts["nsp"] = self.next_B.numel()
        return counts

    @property
    def tokens(self) -> int:
        """T: real tokens."""
        return self.packed.ids_T.numel()

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return each_tensor(self, partial(Tensor.to, device=device, non_blocking=True))


@dataclass(frozen=True)
class LanguageBatch:
    """Packed input of the one-way objectives, with nothing hidden: `[CLS] text [SEP]` each.

    `forward`: every token but the first from those before it; `backward` (ELMo's second direction):
    every token but the last from those after it.
    """

    packed: Packed
    backward: bool
    """Whether to compute the second objective too."""

    @property
    def followed_R(self) -> Tensor:
        """int64: indices into T of the tokens that have a next one in their sequence.

        Forward, the states there predict the tokens at `followed_R + 1`; backward, the states at
        `followed_R + 1` predict the tokens at `followed_R`.
        """
        has_next_T = torch.ones_like(self.packed.ids_T, dtype=torch.bool)
        has_next_T[self.packed.lasts_B] = False
        return has_next_T.nonzero()[:, 0]

    @property
    def counts(self) -> dict[str, int]:
        """How many predictions each objective sums over."""
        count = self.tokens - self.packed.sequences
        return {"backward": count, "forward": count} if self.backward else {"forward": count}

    @property
    def tokens(self) -> int:
        """T: real tokens."""
        return self.packed.ids_T.numel()

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return each_tensor(self, partial(Tensor.to, device=device, non_blocking=True))


def each_tensor(batch: BatchT, change: Callable[[Tensor], Tensor]) -> BatchT:
    """The same batch with each of its tensors, and of those in its parts, changed."""
    changed: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = change(value)
        elif isinstance(value, Packed):
            changed[field.name] = each_tensor(value, change)
    return replace(batch, **changed)


TextBatch = PretrainBatch | LanguageBatch
"""A micro-batch of pre-training."""
