"""Batches are a pure function of data, settings and step, whoever asks and however they are cut."""

import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from bertsmith.core.errors import DataError, UsageError
from bertsmith.corpus.shards import Split
from bertsmith.models.modules.packed import PretrainBatch
from bertsmith.pretraining import example_stream as pools_file
from bertsmith.pretraining.batches import Batches, heldout_batches
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

VOCAB = (*SPECIAL, *(f"w{i}" for i in range(300)), *(f"##x{i}" for i in range(100)))
TOKENIZER = Tokenizer(VOCAB)
Example = tuple[Any, ...]

# The first step of a literal corpus: one kept, one random and four [MASK]. A change of it changes
# every run that is resumed or compared; the commit must say why.
GOLDEN = {
    "starts": [0, 16, 32, 47],
    "ids": [
        *(2, 8, 9, 10, 11, 3, 12, 13, 14, 15, 16, 17, 211, 19, 20, 3),
        *(2, 4, 6, 7, 3, 4, 34, 35, 36, 37, 38, 39, 40, 41, 42, 3),
        *(2, 43, 3, 32, 33, 34, 35, 4, 37, 38, 39, 40, 41, 4, 3),
    ],
    "masked": [3, 12, 17, 21, 39, 45],
    "labels": [10, 18, 5, 33, 36, 42],
    "next": [0, 1, 1],
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def split(make_split: Any) -> Split:
    rng = np.random.default_rng(0)
    documents = [
        [rng.integers(5, len(VOCAB), size=rng.integers(1, 25)).tolist() for _ in range(count)]
        for count in rng.integers(1, 30, size=60)
    ]
    made: Split = make_split(
        documents, vocab_size=len(VOCAB), shards=3, word_start=lambda ids: ids < 305
    )
    return made


@pytest.fixture
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pools an epoch, also for a corpus of some thousand tokens."""
    monkeypatch.setattr(pools_file, "POOL_TOKENS", 2500)


def make(split: Split, **changes: Any) -> Batches:
    settings: dict[str, Any] = {"length": 48, "batch_size": 16, "seed": 5}
    return Batches(split, TOKENIZER, **(settings | changes))


def examples(batches: list[PretrainBatch]) -> list[Example]:
    """Every sequence of some batches with its masks and label, sorted."""
    found = []
    for batch in batches:
        starts = batch.packed.starts.tolist()
        assert starts[-1] == batch.tokens
        positions = [i for length in batch.packed.lengths for i in range(length)]
        assert batch.packed.positions_T.tolist() == positions
        assert batch.packed.longest == max(batch.packed.lengths)
        masked = batch.masked_P.numpy()
        for row, (start, end) in enumerate(pairwise(starts)):
            here = (masked >= start) & (masked < end)
            found.append(
                (
                    tuple(batch.packed.ids_T[start:end].tolist()),
                    tuple(batch.packed.segments_T[start:end].tolist()),
                    tuple((masked[here] - start).tolist()),
                    tuple(batch.labels_P[here].tolist()),
                    -1 if batch.next_B is None else int(batch.next_B[row]),
                )
            )
    return sorted(found)


def same(one: list[PretrainBatch], other: list[PretrainBatch]) -> bool:
    """Whether batches are equal tensor by tensor."""

    def parts(batch: PretrainBatch) -> list[torch.Tensor]:
        packed = batch.packed
        label_B = torch.tensor([]) if batch.next_B is None else batch.next_B
        return [
            packed.ids_T,
            packed.segments_T,
            packed.starts,
            batch.masked_P,
            batch.labels_P,
            label_B,
        ]

    return len(one) == len(other) and all(
        torch.equal(a, b)
        for left, right in zip(one, other, strict=True)
        for a, b in zip(parts(left), parts(right), strict=True)
    )


@pytest.mark.usefixtures("small_pools")
@pytest.mark.parametrize("pair_task", ["nsp", "sop", "none"])
def test_a_step_does_not_depend_on_the_steps_before(split: Split, pair_task: Any) -> None:
    with make(split, pair_task=pair_task) as inorder:
        assert inorder._streams[0]._pools.per_epoch > 2
        steps = [inorder.at(step) for step in range(40)]
    with make(split, pair_task=pair_task) as backward:
        for step in (39, 7, 8, 0, 31):
            assert same(backward.at(step), steps[step])
            assert len(backward._streams[0]._cached) <= 2


@pytest.mark.usefixtures("small_pools")
def test_the_cursor_saves_counting_and_changes_nothing(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(split) as first:
        steps = [first.at(step) for step in range(40)]
        cursor = first.cursor
    assert all(type(value) is int for value in cursor.values())
    made: list[int] = []
    examples_of = pools_file.Pools.examples
    monkeypatch.setattr(
        pools_file.Pools,
        "examples",
        lambda self, number: made.append(number) or examples_of(self, number),  # type: ignore[func-returns-value]
    )
    with make(split, cursor=cursor) as resumed:
        assert resumed.cursor == cursor
        ahead = resumed.at(40)
        assert min(made) == cursor["pool"] > 5
        assert same(resumed.at(39), steps[39])
        assert same(resumed.at(3), steps[3])
    with make(split) as counted:
        assert same(counted.at(40), ahead)
    # Another run's cursor is not believed.
    with make(split, seed=6) as other, make(split, seed=6, cursor=cursor) as misled:
        assert same(misled.at(0), other.at(0))


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_any_world_gives_the_same_examples(split: Split, world: int, whole_words: bool) -> None:
    with make(split, whole_word_masking=whole_words, batch_size=17) as alone:
        whole = [examples(alone.at(step)) for step in (0, 9)]
    shares = []
    for rank in range(world):
        with make(split, whole_word_masking=whole_words, batch_size=17, micro_tokens=96) as batches:
            shares.append([batches.at(step, rank, world) for step in (0, 9)])
    for i in range(2):
        together = sorted(example for share in shares for example in examples(share[i]))
        assert together == whole[i]
        assert len({len(share[i]) for share in shares}) == 1
        tokens = [sum(batch.tokens for batch in share[i]) for share in shares]
        assert max(tokens) - min(tokens) <= 48


@pytest.mark.parametrize("micro_tokens", [1, 50, 100, 333, 10_000])
def test_micro_batches_hold_the_same_examples_in_fewer_tokens(
    split: Split, micro_tokens: int
) -> None:
    with make(split) as whole, make(split, micro_tokens=micro_tokens) as cut:
        [one], several = whole.at(2), cut.at(2)
        assert examples([one]) == examples(several)
        assert sum(batch.counts["mlm"] for batch in several) == one.counts["mlm"]
        for batch in several:
            assert batch.tokens <= micro_tokens or batch.packed.sequences == 1
        lengths = [length for batch in several for length in batch.packed.lengths]
        assert lengths == sorted(lengths, reverse=True)
        assert len(several) == 1 or micro_tokens < one.tokens


@pytest.mark.usefixtures("small_pools")
def test_an_epoch_shows_every_document_and_the_next_one_other_pairs(
    split: Split, document_bounds: Any
) -> None:
    pools = pools_file.Pools(split, 48, "nsp", 0.1, 5)
    bounds = document_bounds(split)
    epochs = []
    for epoch in range(2):
        parts = [pools.examples(epoch * pools.per_epoch + i) for i in range(pools.per_epoch)]
        table = np.concatenate(parts)
        seen = np.searchsorted(bounds, table["a_start"], side="right") - 1
        assert set(seen.tolist()) == set(range(split.document_count))
        firsts = [set(np.searchsorted(bounds, part["a_start"], side="right") - 1) for part in parts]
        assert sum(map(len, firsts)) == split.document_count  # no document in two pools
        epochs.append(set(table["key"].tolist()))
    assert not epochs[0] & epochs[1]
    # Inside a pool the documents are mixed.
    owners = np.searchsorted(bounds, parts[0]["a_start"], side="right")
    assert np.count_nonzero(np.diff(owners)) > 0.8 * len(owners)


@pytest.mark.usefixtures("small_pools")
def test_steps_tile_the_epochs(split: Split) -> None:
    pools = pools_file.Pools(split, 48, "nsp", 0.1, 5)
    expected = [len(pools.examples(number)) for number in range(2 * pools.per_epoch)]
    with make(split) as batches:
        table = batches._streams[0].examples(0, sum(expected))
        assert len(table) == sum(expected)
        assert (
            batches._streams[0]._firsts[: len(expected) + 1] == np.cumsum([0, *expected]).tolist()
        )
        assert len(set(table["key"].tolist())) == len(table)


def test_seed_length_and_share_change_the_examples(split: Split) -> None:
    with make(split) as base:
        reference = examples(base.at(0))
    for change in (
        {"seed": 6},
        {"length": 40},
        {"mlm_probability": 0.3},
        {"whole_word_masking": True},
    ):
        with make(split, **change) as other:
            assert examples(other.at(0)) != reference


def test_the_input_is_cls_a_sep_b_sep(split: Split) -> None:
    for pair_task in ("nsp", "sop", "none"):
        with make(split, pair_task=pair_task) as batches:
            [batch] = batches.at(1)
        assert (batch.next_B is None) == (pair_task == "none")
        for ids, segments, masked, _, _ in examples([batch]):
            assert len(ids) <= 48
            assert ids[0] == TOKENIZER.cls_id
            separators = [i for i, token in enumerate(ids) if token == TOKENIZER.sep_id]
            if pair_task == "none":
                assert separators == [len(ids) - 1]
                assert set(segments) == {0}
            else:
                middle, last = separators
                assert last == len(ids) - 1
                assert segments == (0,) * (middle + 1) + (1,) * (last - middle)
            assert not {0, *separators} & set(masked)
            assert len(masked) == max(1, round(0.15 * len(ids)))


def test_unmasked_tokens_are_the_corpus(split: Split) -> None:
    with make(split, pair_task="none") as batches:
        [batch] = batches.at(0)
        table = batches._assembler.longest_first(batches._streams[0].examples(0, 16))
    original_T = batch.packed.ids_T.clone()
    original_T[batch.masked_P] = batch.labels_P
    row = original_T[batch.packed.starts[3] : batch.packed.starts[4]].tolist()
    text = split.gather(table["a_start"][3:4], table["a_length"][3:4]).tolist()
    assert row == [TOKENIZER.cls_id, *text, TOKENIZER.sep_id]


def test_the_first_step_of_a_literal_corpus(make_split: Any) -> None:
    ids = iter(range(5, 400))
    sizes = [[3, 4, 5, 6, 7], [2, 2, 9], [1, 1, 1, 1]]
    documents = [[[next(ids) for _ in range(size)] for size in row] for row in sizes]
    literal = make_split(documents, vocab_size=len(VOCAB))
    with Batches(literal, TOKENIZER, length=16, batch_size=3, seed=1) as batches:
        [batch] = batches.at(0)
    assert batch.packed.starts.tolist() == GOLDEN["starts"]
    assert batch.packed.ids_T.tolist() == GOLDEN["ids"]
    assert batch.masked_P.tolist() == GOLDEN["masked"]
    assert batch.labels_P.tolist() == GOLDEN["labels"]
    assert batch.next_B is not None
    assert batch.next_B.tolist() == GOLDEN["next"]


def test_the_next_step_is_made_ahead_and_the_thread_ends(split: Split) -> None:
    before = threading.active_count()
    batches = make(split)
    steps = [batches.at(step) for step in range(3)]
    assert list(batches._ahead) == [(3, 0, 1)]
    ahead = batches._ahead[(3, 0, 1)].result(timeout=120)
    assert batches.at(3) is ahead.batches
    assert len(steps) == 3
    batches.close()
    deadline = time.monotonic() + 120
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_held_out_examples_are_fixed(split: Split) -> None:
    def held_out(**changes: Any) -> list[PretrainBatch]:
        return heldout_batches(split, TOKENIZER, **({"sequences": 100, "length": 48} | changes))

    whole = held_out()
    assert same(whole, held_out())
    assert examples(held_out(micro_tokens=500)) == examples(whole)
    assert sum(batch.packed.sequences for batch in whole) == 100
    assert len(held_out(micro_tokens=500)) > 3
    for ids, _, masked, _, _ in examples(whole):
        assert len(masked) == max(1, round(0.15 * len(ids)))
    # Not the examples that training on the same documents would begin with.
    with make(split, seed=0) as training:
        assert not set(examples(whole)) & set(examples(training.at(0)))
    # Fewer where one pass over the documents gives fewer.
    everything = held_out(sequences=10**6)
    found = sum(batch.packed.sequences for batch in everything)
    assert 300 < found < 600


def test_corpora_that_are_too_small_are_named(make_split: Any, tmp_path: Any) -> None:
    empty = Split(tmp_path, [], len(VOCAB))
    with pytest.raises(DataError, match="has no text to train on"):
        make(empty)
    with pytest.raises(DataError, match=r"has no document.*larger held_out"):
        heldout_batches(empty, TOKENIZER, sequences=8, length=48)
    one = make_split([[[5, 6, 7], [8, 9]]], vocab_size=len(VOCAB))
    with pytest.raises(DataError, match="only one; separate documents by blank lines"):
        make(one)
    with pytest.raises(DataError, match=r"only one document.*larger held_out.*at least four"):
        heldout_batches(one, TOKENIZER, sequences=8, length=48)
    with make(one, pair_task="sop") as batches:
        assert len(examples(batches.at(0))) == 16
    assert len(heldout_batches(one, TOKENIZER, sequences=8, length=48, pair_task="none")) == 1


def test_no_pair_in_any_document_is_named(make_split: Any) -> None:
    lone = make_split([[[5]], [[6]], [[7]]], vocab_size=len(VOCAB))
    with (
        make(lone, pair_task="sop") as batches,
        pytest.raises(DataError, match="long enough for two segments"),
    ):
        batches.at(0)
    with pytest.raises(DataError, match="long enough for two segments"):
        heldout_batches(lone, TOKENIZER, sequences=8, length=48, pair_task="sop")


def test_wrong_settings_are_named(split: Split) -> None:
    with pytest.raises(UsageError, match="length is 4 tokens; it must be at least 8"):
        make(split, length=4)
    with (
        make(split, batch_size=2) as batches,
        pytest.raises(UsageError, match=r"batch_size is 2, smaller than the 4 processes"),
    ):
        batches.at(0, 1, 4)


def test_text_that_the_tokenizer_does_not_know_is_named(make_split: Any) -> None:
    unknown = make_split([[[1] * 9, [1] * 9]] * 4, vocab_size=len(VOCAB))
    with pytest.raises(DataError, match=r"every held-out token is \[UNK\]"):
        heldout_batches(unknown, TOKENIZER, sequences=8, length=48)


def test_batches_for_a_gpu_are_pinned_whole(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        pinned.append(copy.data_ptr())
        return copy

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    with make(split) as plain, make(split, pin=True) as batches:
        [batch] = batches.at(0)
        assert examples([batch]) == examples(plain.at(0))
    packed = batch.packed
    inside = (packed.ids_T, packed.segments_T, packed.positions_T, packed.starts)
    tensors = (*inside, batch.masked_P, batch.labels_P, batch.next_B)
    assert {tensor.data_ptr() for tensor in tensors} <= set(pinned)
    assert packed.longest == 48
