"""Labels that differ in their spelling only."""

import pytest

from bertsmith.tasks.examples import TagExample, TextExample
from bertsmith.tasks.spellings import alike, groups, joined, joining, told, told_of_several


def texts(*labels: str) -> list[TextExample]:
    return [TextExample(f"f:{n}", str(n), f"t{n}", None, name) for n, name in enumerate(labels)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pos", "pos"),
        ("STRASSE", "straße"),
        ("very  good", "very good"),
        ("very\u00a0good", "very good"),
        ("good\u200b", "good"),
        ("\ufeffgood", "good"),
        ("caf\u00e9", "cafe\u0301"),
        ("'good'", "good"),
        ("1", "1.0"),
        ("01", "1"),
        ("-0", "0"),
        ("True", "true"),
    ],
)
def test_labels_that_are_alike(one, other):
    assert alike(one) == alike(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "-1"), ("1", "10"), ("a b", "ab"), ("cafe", "café"), ("NA", "NaN")]
)
def test_labels_that_are_not(one, other):
    assert alike(one) != alike(other)


def test_they_are_counted_told_and_joined_to_the_most_frequent():
    examples = texts("neg", "Pos", "pos", "neg", "pos", "x\u200b", "x")
    found = groups(examples)
    assert found == [{"pos": 2, "Pos": 1}, {"x\u200b": 1, "x": 1}]
    line = told(found, are_joined=False)
    assert "'pos' (2), 'Pos' (1)" in line
    assert "'x\\u200b' (1), 'x' (1)" in line
    assert "merge_labels" in line
    assert [one.label for one in joined(examples, joining(found))] == [
        *("neg", "pos", "pos", "neg", "pos", "x\u200b", "x\u200b")
    ]
    assert groups(texts("a", "b", "c")) == []


def test_types_of_entities_are_joined_whatever_their_marks():
    tags = ("B-PER", "I-Per", "B-PER", "O", "I-PER")
    example = TagExample("f:1", "0", ("a",) * 5, tags, 0)
    found = groups([example])
    assert found == [{"PER": 3, "Per": 1}]
    [other] = joined([example], joining(found))
    assert other.tags == ("B-PER", "I-PER", "B-PER", "O", "I-PER")


def test_labels_that_look_like_several_are_told():
    assert "'a|b' look like several joined by '|'" in str(told_of_several(["a", "a|b"]))
    assert "joined by ','" in str(told_of_several(["insult", "toxic, insult"]))
    assert "lists of several" in str(told_of_several(["[0, 1]", "[1, 1]"]))
    assert told_of_several(["a", "b", "c|d", "yes, but"]) is None
