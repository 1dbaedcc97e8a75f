"""Steps as a function of their number: everything once an epoch, whoever computes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from by_kind import build
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import UsageError
from bertsmith.inference.batches import TaskBatches, evaluation_batches, make_batch, words_of
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.modules.packed import micro_batches
from bertsmith.tasks.examples import (
    Answer,
    AnswerExample,
    ChoiceExample,
    Limits,
    TagExample,
    TextExample,
)
from bertsmith.tasks.features import Features
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENIZER = Tokenizer((*SPECIAL, *LETTERS))
LIMITS = Limits(12, 4)


def numbered(count: int) -> Features:
    """Regressions to an example's own number, of from 3 to 9 tokens."""
    examples = [TextExample("", "", "a " * (1 + n % 7), None, float(n)) for n in range(count)]
    return build("regression", examples, TOKENIZER, LIMITS)


def batches_of(features: Features, **changes) -> TaskBatches:
    plain = TaskBatches(features, TOKENIZER, batch_size=8, seed=5, micro_tokens=0)
    return replace(plain, **changes)


def numbers_of(batches: list[TaskBatch]) -> list[int]:
    return [int(target) for batch in batches for target in batch.targets]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(0, 40),
    st.integers(0, 3),
)
def test_an_epoch_has_every_example_once_however_it_is_shared(count, size, world, micro, seed):
    batches = batches_of(numbered(count), batch_size=size, micro_tokens=micro, seed=seed)
    per_epoch = batches.steps_per_epoch
    assert per_epoch == -(-count // size)
    for epoch in range(2):
        seen, sizes = [], []
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            whole = replace(batches, micro_tokens=0).at(step)
            assert len(whole) == 1
            sizes.append(len(whole[0].targets))
            seen += numbers_of(whole)
            if sizes[-1] < world:
                with pytest.raises(UsageError, match=f"A step has {sizes[-1]} examples, fewer"):
                    batches.at(step, 0, world)
                continue
            shares = [batches.at(step, rank, world) for rank in range(world)]
            assert sorted(number for one in shares for number in numbers_of(one)) == sorted(
                numbers_of(whole)
            )
            # As many micro-batches for every process, none of them empty.
            assert len({len(share) for share in shares}) == 1
            assert min(len(batch.targets) for share in shares for batch in share) >= 1
        assert sorted(seen) == list(range(count))
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= size


def test_a_step_is_a_pure_function_of_its_number():
    batches = batches_of(numbered(40))
    first = numbers_of(batches.at(7))
    batches.at(3)
    again = batches_of(numbered(40))
    assert numbers_of(again.at(7)) == first
    orders = [
        [n for step in range(5 * epoch, 5 * epoch + 5) for n in numbers_of(again.at(step))]
        for epoch in range(2)
    ]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    assert numbers_of(replace(again, seed=6).at(7)) != first


def test_micro_batches_hold_few_tokens_and_the_longest_come_first():
    found = batches_of(numbered(40), micro_tokens=20).at(0)
    assert len(found) > 1
    assert all(batch.tokens <= 20 for batch in found)
    lengths = [length for batch in found for length in batch.packed.lengths]
    assert lengths == sorted(lengths, reverse=True)


def test_too_many_processes_are_refused_in_words():
    with pytest.raises(UsageError) as caught:
        batches_of(numbered(3)).at(0, rank=3, world=4)
    assert str(caught.value) == (
        "A step has 3 examples, fewer than the 4 processes of this run; start fewer processes or "
        "raise batch_size."
    )


@pytest.mark.parametrize("micro", [0, 1, 20, 10_000])
def test_evaluation_goes_through_everything_once(micro):
    features = numbered(23)
    seen = []

    def cut(lengths: np.ndarray) -> list[slice]:
        return micro_batches(lengths, 1, micro_tokens=micro)[0]

    for items in evaluation_batches(features, cut):
        batch = make_batch(features, items, TOKENIZER)
        assert batch.targets.tolist() == items.tolist()
        assert batch.packed.lengths == features.lengths[items].tolist()
        assert micro == 0 or batch.tokens <= micro or len(items) == 1
        seen += items.tolist()
    assert sorted(seen) == list(range(23))
    assert seen == sorted(seen, key=lambda item: (-features.lengths[item], item))


def pieces(batch: TaskBatch) -> list[str]:
    ids_T = batch.packed.ids_T
    return [" ".join(TOKENIZER.tokens(row.tolist())) for row in ids_T.split(batch.packed.lengths)]


def test_choices_come_together():
    examples = [ChoiceExample("", "", "a", ("b", letter), n % 2) for n, letter in enumerate("xyz")]
    features = build("multiple-choice", examples, TOKENIZER, LIMITS)
    batch = make_batch(features, np.array([2, 0]), TOKENIZER)
    assert pieces(batch) == [
        "[CLS] a [SEP] b [SEP]",
        "[CLS] a [SEP] z [SEP]",
        "[CLS] a [SEP] b [SEP]",
        "[CLS] a [SEP] x [SEP]",
    ]
    assert (batch.targets.tolist(), batch.group, batch.counts) == ([0, 0], 2, {"task": 2})
    assert batch.packed.segments_T.tolist() == [0, 0, 0, 1, 1] * 4


def test_targets_of_answers_go_with_their_rows():
    context = "a b c d e f g h"
    examples = [AnswerExample("", "", "q", context, (Answer("g h", 12),))]
    features = build("question-answering", examples, TOKENIZER, LIMITS)
    batch = make_batch(features, np.array([0, 0]), TOKENIZER)
    assert pieces(batch) == ["[CLS] q [SEP] a b c d e f g h [SEP]"] * 2
    assert batch.targets.tolist() == [[9, 10], [9, 10]]
    assert batch.targets.dtype == torch.int64


def test_words_are_found_in_whatever_row_they_are():
    tags = ("O", "B-X")
    examples = [
        TagExample("", "", tuple("abc"), ("O", "B-X", "O"), 0),
        TagExample("", "", tuple("defghijklmnop"), ("B-X",) * 13, 1),
    ]
    features = build("token-classification", examples, TOKENIZER, Limits(8, 2), tags)
    every = np.arange(len(features.rows))
    assert len(every) == 4
    seen = []
    for order in (every, every[::-1], every[[2]]):
        batch = make_batch(features, order, TOKENIZER)
        found = TOKENIZER.tokens(batch.packed.ids_T[batch.words_P].tolist())
        assert torch.equal(batch.ends_P, batch.words_P)  # Each word is one piece.
        numbers = words_of(features, order)
        assert found == ["abcdefghijklmnop"[number] for number in numbers]
        assert batch.targets.tolist() == features.words["target"][numbers].tolist()
        seen.append(sorted(found))
    assert seen[0] == seen[1] == list("abcdefghijklmnop")
    # Without tags there is nothing to learn, but the words are there.
    bare = [replace(example, tags=None) for example in examples]
    batch = make_batch(
        build("token-classification", bare, TOKENIZER, Limits(8, 2), tags), every, TOKENIZER
    )
    assert batch.targets.tolist() == [-1] * 16
