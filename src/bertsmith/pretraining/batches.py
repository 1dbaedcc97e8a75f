"""Packed pre-training batches by step number: a pure function of data, settings and step.

Step s takes examples `s * batch_size` to `(s + 1) * batch_size` of the endless stream of pools (see
`example_stream`). To find a step, only the number of examples in earlier pools is needed. `Batches`
counts them as it goes, and its `cursor` lets a later process continue counting.

Every process makes the whole step and takes its share: the examples, longest first, are dealt out
in turn, so that all processes get sequences of similar lengths.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.corpus.mixture import Interleaving
from bertsmith.corpus.shards import Split, TrainingSource
from bertsmith.models.config import Objective
from bertsmith.models.modules.packed import (
    LanguageBatch,
    PretrainBatch,
    TextBatch,
    each_tensor,
    micro_batches,
    packed_from_flat,
)
from bertsmith.pretraining.config import PairTask
from bertsmith.pretraining.example_stream import ExampleStream, Pools, Table
from bertsmith.pretraining.masking import PAPER_MIX, Vocabulary, mask
from bertsmith.pretraining.rng import Integers
from bertsmith.pretraining.segments import EXAMPLE, SPECIALS
from bertsmith.text.tokenizer.encode import join_flat
from bertsmith.text.tokenizer.tokenizer import Tokenizer

EVALUATION_SHARE = 0.15
"""Share of the tokens that evaluation predicts, independent of training (paper, section 3.1)."""


@dataclass(frozen=True)
class _Assembler:
    """Makes masked, packed batches of examples."""

    split: Split
    tokenizer: Tokenizer
    pair_task: PairTask
    objective: Objective
    mlm_probability: float
    whole_word_masking: bool
    mask_mix: tuple[float, float, float]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The properties of the tokenizer that masking needs."""
        return Vocabulary.of(self.tokenizer)

    def lengths(self, table: Table) -> Integers:
        """Tokens of each example, including special ones."""
        lengths: Integers = table["a_length"] + table["b_length"] + SPECIALS[self.pair_task]
        return lengths

    def longest_first(self, table: Table) -> Table:
        """The examples, longest first, so that equal lengths share an attention call."""
        ordered: Table = table[np.argsort(-self.lengths(table), kind="stable")]
        return ordered

    def batch(self, table: Table) -> TextBatch:
        """Gathers, joins and packs examples, and masks them if that is the objective."""
        tokenizer = self.tokenizer
        ids_T, segments_T, lengths = self._joined(
            table, self.split.gather, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id
        )
        if self.objective != "masked":
            packed = packed_from_flat(ids_T, segments_T, lengths)
            return LanguageBatch(packed, backward=self.objective == "both")
        word_starts_T = None
        if self.whole_word_masking:
            flags_T, _, _ = self._joined(table, self.split.gather_word_starts, cls_id=1, sep_id=1)
            word_starts_T = flags_T == 1
        seen_T, masked_P, labels_P = mask(
            ids_T,
            lengths,
            table["key"],
            share=self.mlm_probability,
            vocabulary=self.vocabulary,
            mix=self.mask_mix,
            word_starts_T=word_starts_T,
        )
        label_B = None if self.pair_task == "none" else torch.from_numpy(table["label"].copy())
        return PretrainBatch(
            packed=packed_from_flat(seen_T, segments_T, lengths),
            masked_P=torch.from_numpy(masked_P),
            labels_P=torch.from_numpy(labels_P),
            next_B=label_B,
        )

    def _joined(
        self,
        table: Table,
        gather: Callable[[Integers, Integers], NDArray[Any]],
        *,
        cls_id: int,
        sep_id: int,
    ) -> tuple[Integers, Integers, Integers]:
        a_T, a_lengths = gather(table["a_start"], table["a_length"]), table["a_length"]
        if self.pair_task == "none":
            return join_flat(a_T, a_lengths, None, None, cls_id=cls_id, sep_id=sep_id)
        b_T, b_lengths = gather(table["b_start"], table["b_length"]), table["b_length"]
        return join_flat(a_T, a_lengths, b_T, b_lengths, cls_id=cls_id, sep_id=sep_id)

    def batches(self, table: Table, runs: list[slice]) -> list[TextBatch]:
        """One batch per run of examples."""
        return [self.batch(table[run]) for run in runs]


class Batches:
    """Batches of a pre-training run by step; a background thread makes the next step.

    Examples, pairs and masks are a function of split, settings, seed and step only. They do not
    depend on earlier calls, rank, world or `micro_tokens`.

    Close it, or use it as a context manager, to stop the thread.

    Args:
        split: the documents to train on.
        tokenizer: the tokenizer of the split.
        sources: what the split is joined of, with weights; empty: it is one.
        length: maximum tokens per example, including special ones.
        batch_size: examples per step, over all processes.
        objective: masked words, or all words from one side (without pairs).
        pair_task: the pair task.
        mlm_probability: share of the tokens to predict.
        whole_word_masking: mask all pieces of a word together.
        mask_mix: replacements of the predicted tokens (see `masking.mask`).
        short_seq_prob: share of the documents that are cut to a random shorter length.
        seed: decides pairs, masks and order.
        micro_tokens: maximum tokens per micro-batch; 0 for no limit.
        cursor: the `cursor` of an earlier run with the same data and settings.
        pin: allocate page-locked memory, from which a GPU copies while it computes.

    Raises:
        UsageError: the length is too short.
        DataError: the split is empty, or has too few documents for `nsp`.
    """

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        *,
        sources: Sequence[TrainingSource] = (),
        length: int,
        batch_size: int,
        objective: Objective = "masked",
        pair_task: PairTask = "nsp",
        mlm_probability: float = EVALUATION_SHARE,
        whole_word_masking: bool = False,
        mask_mix: tuple[float, float, float] = PAPER_MIX,
        short_seq_prob: float = 0.1,
        seed: int = 0,
        micro_tokens: int = 0,
        cursor: Mapping[str, int] | None = None,
        pin: bool = False,
    ) -> None:
        self._assembler = _Assembler(
            split, tokenizer, pair_task, objective, mlm_probability, whole_word_masking, mask_mix
        )
        self._batch_size = batch_size
        self._micro_tokens = micro_tokens
        self._pin = pin
        sources = sources or (TrainingSource(split, 1, 0),)
        self._interleaving = Interleaving([source.weight for source in sources])
        self._streams = [
            ExampleStream(
                Pools(
                    source.split,
                    length,
                    pair_task,
                    short_seq_prob,
                    derive_seed(seed, "source", number) if number else seed,
                ),
                first_token=source.first_token,
                number=number,
                cursor=cursor or {},
            )
            for number, source in enumerate(sources)
        ]
        self._cursor = self._cursor_after([0] * len(sources))
        # All work runs on this one thread, so nothing above needs a lock.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bertsmith-batches")
        self._ahead: dict[tuple[int, int, int], Future[_Step]] = {}

    def at(self, step: int, rank: int = 0, world: int = 1) -> list[TextBatch]:
        """This process's micro-batches of a step, as CPU tensors.

        Steps count from 0 for the first step of this object (a phase of the run). Every process
        gets the same number of micro-batches.

        Raises:
            UsageError: there are more processes than examples in a step.
            DataError: no document of the split makes an example.
        """
        if self._batch_size < world:
            raise UsageError(
                f"{option('batch_size')} is {self._batch_size}, smaller than the {world} processes "
                f"of this run; give at least {world}."
            )
        wanted, following = (step, rank, world), (step + 1, rank, world)
        future = self._ahead.pop(wanted, None) or self._thread.submit(self._make, *wanted)
        for other in self._ahead.values():
            other.cancel()
        self._ahead = {following: self._thread.submit(self._make, *following)}
        made = future.result()
        self._cursor = made.cursor
        return made.batches

    @property
    def cursor(self) -> dict[str, int]:
        """The position after the last step, for the `cursor` of a later object.

        It only saves counting from the first pool. Without it, or with the cursor of other data or
        settings, the batches are the same.
        """
        return dict(self._cursor)

    def close(self) -> None:
        """Stops the background thread."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make(self, step: int, rank: int, world: int) -> "_Step":
        first, end = (
            self._interleaving.counts(number * self._batch_size).tolist()
            for number in (step, step + 1)
        )
        each = zip(self._streams, first, end, strict=True)
        table = self._assembler.longest_first(
            np.concatenate([stream.examples(start, stop) for stream, start, stop in each])
        )
        runs = micro_batches(
            self._assembler.lengths(table), world, micro_tokens=self._micro_tokens
        )[rank]
        batches = self._assembler.batches(table[rank::world], runs)
        if self._pin:
            batches = [each_tensor(batch, Tensor.pin_memory) for batch in batches]
        return _Step(batches, self._cursor_after(end))

    def _cursor_after(self, counts: Sequence[int]) -> dict[str, int]:
        """The cursor behind so many examples of each source."""
        found: dict[str, int] = {}
        for stream, count in zip(self._streams, counts, strict=True):
            found |= stream.cursor(count)
        return found


@dataclass(frozen=True)
class _Step:
    batches: list[TextBatch]
    cursor: dict[str, int]


def heldout_batches(
    split: Split,
    tokenizer: Tokenizer,
    *,
    sequences: int,
    length: int,
    objective: Objective = "masked",
    pair_task: PairTask = "nsp",
    whole_word_masking: bool = False,
    short_seq_prob: float = 0.1,
    seed: int = 0,
    micro_tokens: int = 0,
) -> list[TextBatch]:
    """The examples of every evaluation of a run: fixed pairs and masks, 15% predicted.

    Args:
        split: the held-out documents.
        tokenizer: the tokenizer of the split.
        sequences: number of examples; fewer if one pass over the split gives fewer.
        length: maximum tokens per example, including special ones.
        objective: as in `Batches`.
        pair_task: the pair task.
        whole_word_masking: mask all pieces of a word together.
        short_seq_prob: share of the documents that are cut to a random shorter length.
        seed: keep it to compare runs on the same examples.
        micro_tokens: maximum tokens per batch; 0 for no limit.

    Raises:
        DataError: the split is too small for any example.
    """
    if not split.token_count or (pair_task == "nsp" and split.document_count < 2):
        documents = {0: "no document", 1: "only one document"}[min(split.document_count, 1)]
        needed = "two for sentence pairs" if pair_task == "nsp" else "one"
        raise DataError(
            f"The held-out split of the corpus has {documents}, but evaluation needs {needed}. "
            f"Prepare the corpus again with a larger {option('held_out')}, from at least four "
            "documents (blank lines separate those of a .txt file)."
        )
    pools = Pools(split, length, pair_task, short_seq_prob, derive_seed(seed, "held-out"))
    tables: list[Table] = [np.empty(0, dtype=EXAMPLE)]
    for number in range(pools.per_epoch):
        if sum(map(len, tables)) >= sequences:
            break
        tables.append(pools.examples(number))
    table = np.concatenate(tables)[:sequences]
    if not len(table):
        raise DataError(
            "No held-out document is long enough for two segments; prepare the corpus again with a "
            f"larger {option('held_out')}."
        )
    assembler = _Assembler(
        split, tokenizer, pair_task, objective, EVALUATION_SHARE, whole_word_masking, PAPER_MIX
    )
    table = assembler.longest_first(table)
    [runs] = micro_batches(assembler.lengths(table), 1, micro_tokens=micro_tokens)
    batches = assembler.batches(table, runs)
    words = (name for batch in batches for name, count in batch.counts.items() if count)
    if all(name == "nsp" for name in words):
        raise DataError(
            "The tokenizer does not fit the text: every held-out token is [UNK]. Train a tokenizer "
            "on it and prepare the corpus again."
        )
    return batches
