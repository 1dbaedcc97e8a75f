"""Splits keep what belongs together, the shares of the classes, and the order of the file."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import DataError
from bertsmith.tasks.examples import AnswerExample, ChoiceExample, TagExample, TextExample
from bertsmith.tasks.split import stratified

# The first dev examples of a small split. A change of them is a change of every run without a dev
# file; the commit must say why.
GOLDEN = [2, 3, 10, 21, 22, 31, 32, 33]


def texts(labels, *, contents=None):
    contents = contents or [f"text {number}" for number in range(len(labels))]
    return [
        TextExample(f"a.csv:{number + 2}", str(number), text, None, label)
        for number, (text, label) in enumerate(zip(contents, labels, strict=True))
    ]


def counts(examples) -> dict[str, int]:
    return dict(Counter(example.label for example in examples))


def test_every_class_gives_its_share_and_order_is_kept():
    examples = texts(["a"] * 600 + ["b"] * 300 + ["c"] * 100)
    split = stratified(examples, share=0.1, seed=3)
    assert counts(split.dev) == {"a": 60, "b": 30, "c": 10}
    assert counts(split.train) == {"a": 540, "b": 270, "c": 90}
    assert split.dev_numbers == sorted(split.dev_numbers)
    assert split.dev == [examples[number] for number in split.dev_numbers]
    held = set(split.dev_numbers)
    assert split.train == [e for number, e in enumerate(examples) if number not in held]


def test_the_seed_and_the_contents_decide_not_the_place():
    examples = texts(["a", "b"] * 100)
    first = stratified(examples, share=0.2, seed=1)
    assert first == stratified(examples, share=0.2, seed=1)
    assert first.dev_numbers != stratified(examples, share=0.2, seed=2).dev_numbers
    shuffled = random.Random(0).sample(examples, len(examples))
    assert {e.a for e in stratified(shuffled, share=0.2, seed=1).dev} == {e.a for e in first.dev}
    assert first.dev_numbers[:8] == GOLDEN


def test_rare_classes_stay_learnable():
    examples = texts(["common"] * 90 + [f"rare {number}" for number in range(10)])
    split = stratified(examples, share=0.3, seed=0)
    assert counts(split.dev) == {"common": 27}
    examples = texts([str(number % 50) for number in range(100)])
    split = stratified(examples, share=0.1, seed=0)
    assert len(split.dev) == 10
    assert set(counts(split.dev).values()) == {1}
    assert len(counts(split.train)) == 50


def test_numbers_are_split_over_their_whole_range():
    examples = texts([float(number) for number in random.Random(0).sample(range(1000), 1000)])
    split = stratified(examples, share=0.1, seed=0)
    assert sorted(Counter(int(e.label) // 100 for e in split.dev).items()) == [
        (tenth, 10) for tenth in range(10)
    ]


def test_equal_inputs_stay_on_one_side():
    contents = [f"text {number % 40}" for number in range(200)]
    examples = texts(["a", "b"] * 100, contents=contents)
    split = stratified(examples, share=0.25, seed=0)
    assert len(split.dev) == 50
    assert not {e.a for e in split.dev} & {e.a for e in split.train}


def test_choices_are_split_by_the_right_one():
    examples = [ChoiceExample(f"a:{n}", str(n), f"text {n}", ("x", "y"), n % 2) for n in range(100)]
    assert counts(stratified(examples, share=0.2, seed=0).dev) == {0: 10, 1: 10}


def test_a_context_is_on_one_side():
    examples = [
        AnswerExample(f"a:{n}", str(n), f"question {n}", f"context {n % 20}", ())
        for n in range(100)
    ]
    split = stratified(examples, share=0.2, seed=0)
    assert len(split.dev) == 20
    assert not {e.context for e in split.dev} & {e.context for e in split.train}


def test_a_document_is_on_one_side_and_rare_tags_stay_in_train():
    examples = [
        TagExample(
            f"a:{n}", str(n), (f"word{n}",), ("B-rare" if n in (7, 193) else "O",), document=n // 4
        )
        for n in range(200)
    ]
    for seed in range(20):
        split = stratified(examples, share=0.1, seed=seed)
        assert len(split.dev) in (12, 16, 20)
        assert not {e.document for e in split.dev} & {e.document for e in split.train}
        assert {tag for e in split.train for tag in e.tags} == {"B-rare", "O"}


def test_equal_documents_are_one():
    examples = [
        TagExample(f"a:{n}", str(n), (f"word{n % 5}",), ("O",), document=n) for n in range(50)
    ]
    split = stratified(examples, share=0.2, seed=0)
    assert len(split.dev) == 10
    assert len({e.words for e in split.dev}) == 1


@pytest.mark.parametrize("labels", [["a", "b", "b"], ["a", "a"], [1.0, 2.0, 3.0], [0.5, 0.5]])
@pytest.mark.parametrize("share", [0.01, 0.99])
def test_both_sides_have_an_example(labels, share):
    split = stratified(texts(labels), share=share, seed=0)
    assert len(split.train) + len(split.dev) == len(labels)
    assert split.train
    assert split.dev


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        (
            ["a", "b"],
            "a.csv:2: the 2 different inputs from here on, with 2 labels, are too few to put some "
            "aside as dev and keep enough labels for training; give more examples, or a dev file "
            "with dev.",
        ),
        ([1.0, 2.0], "the 2 different inputs from here on, with 2 labels, are too few"),
        (
            ["a", "b", "c"],
            "a.csv:2: this and each of the 2 other examples has a different label, so none "
            "can be held out for dev; check that the right column is read, give more examples, or "
            "a dev file with dev.",
        ),
    ],
)
@pytest.mark.parametrize("share", [0.01, 0.99])
def test_too_few_inputs_to_keep_every_label_are_an_error(labels, want, share):
    with pytest.raises(DataError) as caught:
        stratified(texts(labels), share=share, seed=0)
    assert want in str(caught.value)


def test_what_all_belongs_together_is_an_error():
    examples = texts(["a", "b", "b"], contents=["same"] * 3)
    with pytest.raises(DataError) as caught:
        stratified(examples, share=0.1, seed=0)
    assert str(caught.value) == (
        "a.csv:2: all examples from here on share one input, context or document, so none can "
        "be held out; give a dev file with dev."
    )
    sentence = TagExample("a.conll:1", "0", ("a", "b"), ("O", "X"), word_a_line=True)
    with pytest.raises(DataError) as caught:
        stratified([sentence], share=0.1, seed=0)
    assert str(caught.value) == (
        "a.conll:1: found a single sentence, of 2 words; put a blank line after each sentence, so "
        "some can be held out, or give a dev file with dev."
    )
    with pytest.raises(DataError, match="all examples from here on share one input"):
        stratified([TagExample("a.jsonl:1", "0", ("a",), ("O",))], share=0.1, seed=0)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcde")), min_size=2, max_size=60),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
)
def test_any_split_is_a_partition_that_can_be_learned(rows, share, seed):
    examples = texts([label for _, label in rows], contents=[str(number) for number, _ in rows])
    if len({number for number, _ in rows}) < 2:
        return
    try:
        split = stratified(examples, share=share, seed=seed)
    except DataError:
        # Whatever input is taken, a class goes with it.
        inputs: dict[str, set[str]] = {}
        for example in examples:
            inputs.setdefault(example.label, set()).add(example.a)
        alone = {name for held in inputs.values() if len(held) == 1 for name in held}
        spared = {example.a for example in examples} - alone
        assert not spared
        return
    assert split.train
    assert split.dev
    assert sorted(split.train + split.dev, key=lambda e: int(e.key)) == examples
    assert not {e.content for e in split.dev} & {e.content for e in split.train}
    assert counts(split.dev).keys() <= counts(split.train).keys()
