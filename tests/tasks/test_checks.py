"""What the checks count, and the three things they refuse."""

import msgspec
import pytest

from bertsmith.core.errors import DataError
from bertsmith.tasks.checks import inspect
from bertsmith.tasks.examples import Answer, AnswerExample, ChoiceExample, TagExample, TextExample
from bertsmith.tasks.inspection import Inspection, Numbers
from bertsmith.tasks.kinds.registry import kind_named


def texts(name: str, *rows: tuple[str, str | float], pair: str | None = None):
    return [
        TextExample(f"{name}.csv:{number}", str(number), text, pair, label)
        for number, (text, label) in enumerate(rows, 2)
    ]


def tagged(name: str, *rows: tuple[str, str]):
    return [
        TagExample(f"{name}.conll:{number}", str(number), tuple(words.split()), tuple(tags.split()))
        for number, (words, tags) in enumerate(rows, 1)
    ]


def check(kind, train, dev) -> Inspection:
    return inspect(kind_named(kind), train, dev)


def message(kind, train, dev) -> str:
    with pytest.raises(DataError) as caught:
        check(kind, train, dev)
    return str(caught.value)


def test_classes_duplicates_and_leaks_are_counted():
    train = texts(
        "train", ("a", "x"), ("b", "y"), ("a", "x"), ("c", "x"), ("a", "y"), ("d", "once")
    )
    dev = texts("dev", ("e", "y"), ("b", "x"), ("a", "x"), ("a", "x"))
    assert check("classification", train, dev) == Inspection(
        examples={"train": 6, "dev": 4},
        classes={"train": {"x": 3, "y": 2, "once": 1}, "dev": {"x": 3, "y": 1}},
        numbers={},
        duplicates=2,
        contradictions=1,
        contradicting_places=["train.csv:6 = train.csv:2"],
        leaked=3,
        leaked_places=[
            "dev.csv:3 = train.csv:3",
            "dev.csv:4 = train.csv:2",
            "dev.csv:5 = train.csv:2",
        ],
        seen_once=["once"],
    )


def test_only_the_first_leaks_are_placed():
    train = texts("train", *((f"t{number}", str(number % 2)) for number in range(9)))
    found = check("classification", train, train)
    assert found.leaked == 9
    assert found.leaked_places == [f"train.csv:{n} = train.csv:{n}" for n in range(2, 7)]


def test_a_pair_is_one_input():
    train = texts("train", ("a", "x"), ("b", "y"), pair="p")
    assert check("classification", train, texts("dev", ("a", "x"), pair="q")).leaked == 0
    assert check("classification", train, texts("dev", ("a", "x"), pair="p")).leaked == 1


def test_the_numbers_of_a_regression_are_summed_up():
    train = texts("train", ("a", 1.0), ("b", 4.5), ("c", 0.5), ("a", 2.0))
    found = check("regression", train, texts("dev", ("d", 3.0)))
    assert found.numbers == {"train": Numbers(0.5, 2.0, 4.5), "dev": Numbers(3.0, 3.0, 3.0)}
    assert (found.classes, found.seen_once) == ({}, [])
    assert (found.duplicates, found.contradictions) == (1, 1)


def test_tags_are_counted_by_word():
    train = tagged("train", ("EU acts", "B-ORG O"), ("x y", "O O"), ("EU acts", "O O"))
    found = check("token-classification", train, tagged("dev", ("z", "O")))
    assert found.classes == {"train": {"O": 5, "B-ORG": 1}, "dev": {"O": 1}}
    assert (found.duplicates, found.contradictions, found.seen_once) == (1, 1, ["B-ORG"])


def test_choices_and_answers_are_counted():
    choose = [
        ChoiceExample("a:1", "0", "x", ("p", "q"), 1),
        ChoiceExample("a:2", "1", "x", ("q", "p"), 1),
    ]
    found = check("multiple-choice", choose, choose[:1])
    assert (found.classes["train"], found.duplicates, found.leaked) == ({"1": 2}, 0, 1)
    answer = [
        AnswerExample("a:1", "0", "q", "c", (Answer("c", 0),)),
        AnswerExample("a:2", "1", "q", "c", ()),
        AnswerExample("a:3", "2", "q", "d", ()),
    ]
    found = check("question-answering", answer, answer[2:])
    assert found.classes == {"train": {"no answer": 2, "answered": 1}, "dev": {"no answer": 1}}
    assert (found.duplicates, found.contradictions, found.leaked) == (1, 1, 1)


def test_it_can_be_written_down():
    train = texts("train", ("a", "x"), ("b", "y"))
    found = check("classification", train, train)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Inspection) == found


def test_an_empty_part_is_named():
    some = texts("train", ("a", "x"), ("b", "y"))
    assert message("classification", [], some) == (
        "The train split is empty; give a file with examples."
    )
    assert (
        message("classification", some, []) == "The dev split is empty; give a file with examples."
    )


def test_questions_of_which_none_has_an_answer_are_named():
    train = [AnswerExample("a:1", "0", "q", "c", ()), AnswerExample("a:2", "1", "q", "d", ())]
    assert message("question-answering", train, train) == (
        "a:1: this and every other question of train has no answer; give answers to learn "
        "from, or check that the right column is read."
    )


def test_one_class_alone_is_named():
    train = texts("train", ("a", "x"), ("b", "x"))
    assert message("classification", train, train).startswith(
        "train.csv:2: this and every other example of train has the label 'x'; "
    )
    train = texts("train", ("a", 3.0), ("b", 3.0))
    assert message("regression", train, train).startswith(
        "train.csv:2: this and every other example of train has the label '3.0'; "
    )
    train = tagged("train", ("a b", "O O"), ("c", "O"))
    assert message("token-classification", train, train).startswith(
        "train.conll:1: this and every other word of train has the label 'O'; "
    )


def test_a_class_that_only_dev_has_is_named():
    train = texts("train", ("a", "positive"), ("b", "negative"))
    dev = texts("dev", ("c", "positive"), ("d", "Positive"))
    assert message("classification", train, dev) == (
        "dev.csv:3: the label 'Positive' of dev does not occur in train (perhaps "
        "you meant 'positive'), whose labels are 'negative', 'positive'; correct it, or add "
        "training examples with it."
    )
    train = tagged("train", ("EU acts", "B-ORG O"))
    dev = tagged("dev", ("x", "O"), ("Peter", "I-MISC"))
    assert message("token-classification", train, dev) == (
        "dev.conll:2: the label 'I-MISC' of dev does not occur in train, whose "
        "labels are 'B-ORG', 'O'; correct it, or add training examples with it."
    )


def test_a_mark_that_a_type_happens_to_lack_is_no_unknown_class():
    train = tagged("train", ("EU acts", "B-ORG O"), ("New York", "B-LOC I-LOC"))
    assert kind_named("token-classification").classes(train) == (
        "B-LOC",
        "B-ORG",
        "I-LOC",
        "I-ORG",
        "O",
    )
    dev = tagged("dev", ("European Union", "B-ORG I-ORG"))
    assert check("token-classification", train, dev).examples == {"train": 2, "dev": 1}


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ("O B-x O", ("B-x", "O")),
        ("S-x B-y I-y E-y O", tuple(sorted([*(f"{m}-{k}" for m in "BIES" for k in "xy"), "O"]))),
        ("B-a-b I-c", ("B-a-b", "B-c", "I-a-b", "I-c")),
        ("NN VB O", ("NN", "O", "VB")),
        ("B I O", ("B", "I", "O")),
        ("B-NP I", ("B-NP", "I")),
    ],
)
def test_tags_are_completed_where_all_are_of_entities(tags, want):
    words = " ".join("w" for _ in tags.split())
    assert kind_named("token-classification").classes(tagged("a", (words, tags))) == want


def test_classes_are_sorted_numbers_first_and_by_value():
    rows = [("t", label) for label in ("10", "b", "9", "a", "-1", "B-x", "I-y")]
    assert kind_named("classification").classes(texts("a", *rows)) == (
        "9",
        "10",
        "-1",
        "B-x",
        "I-y",
        "a",
        "b",
    )
    assert kind_named("classification").classes(texts("a", ("t", 1.0))) == ()
    assert ChoiceExample("a:1", "0", "x", ("p", "q"), 1).labels == ()
    assert TagExample("a:1", "0", ("w",)).labels == ()


def test_content_is_what_a_model_is_shown():
    assert TextExample("w", "k", "a", "b", "x").content == ("a", "b")
    assert ChoiceExample("w", "k", "a", ("b", "c"), 0).content == ("a", ("b", "c"))
    assert TagExample("w", "k", ("a", "b"), ("O", "O"), 3).content == ("a", "b")
    assert AnswerExample("w", "k", "q", "c", ()).content == ("q", "c")
