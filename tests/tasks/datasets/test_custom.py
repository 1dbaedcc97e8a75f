"""Users' own files: columns by name, labels as strings, and everything that can be wrong."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from by_kind import own_task, read_own

from bertsmith.core.errors import DataError, UsageError
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.examples import Answer, AnswerExample, TagExample, TextExample
from bertsmith.tasks.task_config import Columns

ABC = Columns(choices=("a", "b", "c"))
LIST = Columns(choices=("choices",))


def put(folder: Path, *values: dict[str, Any], name: str = "a.jsonl") -> Path:
    """Rows in the format of the name's ending."""
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(list(values)), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in values))
    else:
        file = io.StringIO()
        delimiter = "\t" if name.endswith(".tsv") else ","
        writer = csv.DictWriter(file, list(values[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(values)
        path.write_text(file.getvalue())
    return path


SKIPPING = " skip_bad=True leaves such rows out."


def read(kind: Any, path: Path, columns: Columns | None = None, **more: Any) -> Any:
    return list(read_own(kind, path, columns=columns or Columns(), **more))


def message(kind: Any, path: Path, columns: Columns | None = None, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(kind, path, columns, **more)
    return str(caught.value).removeprefix(str(path)).removesuffix(SKIPPING)


# Texts.


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_texts_and_pairs_are_read_from_every_format(tmp_path, name):
    path = put(
        tmp_path,
        {"id": "x", "head": 'An "a", b.', "body": "二。", "class": " yes "},
        {"id": "y", "head": " c", "body": "d", "class": "no"},
        name=name,
    )
    first = 2 if name[-3:] in ("csv", "tsv") else 1
    columns = Columns(text="head", text_pair="body", label="class")
    assert read("classification", path, columns) == [
        TextExample(f"{path}:{first}", "0", 'An "a", b.', "二。", "yes"),
        TextExample(f"{path}:{first + 1}", "1", " c", "d", "no"),
    ]
    single = read("classification", path, Columns(text="head", label="class"))
    assert [(e.a, e.b) for e in single] == [('An "a", b.', None), (" c", None)]


@pytest.mark.parametrize(
    "kind", ["classification", "regression", "multiple-choice", "question-answering"]
)
def test_lines_of_text_have_no_labels(tmp_path, kind):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    with pytest.raises(UsageError) as caught:
        read(kind, path)
    assert str(caught.value) == (
        f"{path} has one text per line and no labels; give them as columns of a .csv, .tsv, .jsonl "
        "or .parquet."
    )


@pytest.mark.parametrize(
    ("value", "label"), [(1, "1"), (True, "true"), (False, "false"), (2.0, "2.0"), (" a b ", "a b")]
)
def test_labels_are_strings(tmp_path, value, label):
    path = put(tmp_path, {"text": "x", "label": value})
    assert read("classification", path)[0].label == label
    path = put(tmp_path, {"text": "x", "label": value}, name="a.parquet")
    assert read("classification", path)[0].label == label


def test_numbers_are_read_for_a_regression(tmp_path):
    values = ["1", " -0.5 ", "2e3", 4, 0.25]
    path = put(tmp_path, *({"text": "x", "label": value} for value in values))
    labels = [example.label for example in read("regression", path)]
    assert labels == [1.0, -0.5, 2000.0, 4.0, 0.25]
    assert all(isinstance(label, float) for label in labels)


@pytest.mark.parametrize("value", ["1e300", "-1.5e30", "1e31"])
def test_a_number_that_cannot_be_learned_is_named(tmp_path, value):
    path = put(tmp_path, {"text": "a", "label": 1e30}, {"text": "b", "label": value})
    label = value if isinstance(value, str) else json.dumps(value)
    assert message("regression", path) == (
        f":2: the label '{label}' in column 'label' is outside -1e+30 to 1e+30; correct it, or "
        "scale all labels down."
    )


@pytest.mark.parametrize("value", ["high", "nan", "inf", "-Infinity", "1_000", "3,5", True])
def test_a_regression_label_that_is_not_a_number_is_named(tmp_path, value):
    path = put(tmp_path, {"text": "x", "label": "1"}, {"text": "x", "label": value})
    written = "true" if value is True else value
    assert message("regression", path) == (
        f":2: the label '{written}' in column 'label' is not a finite number, written as 1234.5; "
        "correct it, or use `classification` for classes."
    )


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_a_missing_label_is_named(tmp_path, kind, value):
    path = put(tmp_path, {"text": "x", "label": value}, name="a.parquet")
    assert message(kind, path) == (
        ":1: the label in column 'label' is missing; fill it in or remove the row."
    )


def test_a_class_may_be_called_null(tmp_path):
    path = put(tmp_path, {"text": "x", "label": "null"})
    assert read("classification", path)[0].label == "null"


@pytest.mark.parametrize("value", [None, "", " \t", "\u200b\u3000", "\a\b"])
def test_an_empty_text_is_named(tmp_path, value):
    path = put(tmp_path, {"text": "x", "label": "1"}, {"text": value, "label": "1"})
    assert (
        message("classification", path) == ":2: the text in column 'text' is empty; remove the row."
    )
    path = put(tmp_path, {"text": "x", "more": value, "label": "1"})
    assert message("classification", path, Columns(text_pair="more")) == (
        ":1: the text in column 'more' is empty; remove the row."
    )


@pytest.mark.parametrize(
    ("kind", "columns", "name", "near", "flag"),
    [
        ("classification", Columns(text="txt"), "txt", " (perhaps you meant 'text')", "text"),
        ("classification", Columns(text_pair="pair"), "pair", "", "text_pair"),
        (
            "classification",
            Columns(label="lable"),
            "lable",
            " (perhaps you meant 'label')",
            "label",
        ),
        ("multiple-choice", Columns(choices=("text", "b")), "b", "", "choices"),
        (
            "token-classification",
            Columns(words="word", tags="text"),
            "word",
            " (perhaps you meant 'words')",
            "words",
        ),
        ("question-answering", Columns(question="Q", context="text"), "Q", "", "question"),
        ("question-answering", Columns(question="text", context="C"), "C", "", "context"),
        (
            "question-answering",
            Columns(question="text", context="text", answer="A"),
            "A",
            "",
            "answer",
        ),
        ("token-classification", Columns(tags="tag"), "tag", " (perhaps you meant 'tags')", "tags"),
    ],
)
def test_a_column_that_is_not_there_names_its_flag(tmp_path, kind, columns, name, near, flag):
    keys = ["text", "label", "words" if flag == "words" else "tags"]
    values = {"text": "x", "label": "1", keys[2]: ["a"]}
    if flag == "tags":
        values |= {"words": ["a"]}
        keys.append("words")
    listed = ", ".join(f"'{key}'" for key in keys)
    article = "others" if flag == "choices" else "another"
    assert message(kind, put(tmp_path, values), columns) == (
        f":1: no column '{name}'{near}; found {listed}: name {article} with {flag}, "
        "or add it to this row."
    )


def test_all_missing_columns_are_named_at_once_before_any_row(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("review,stars,second\n,1,\n")
    columns = Columns(text_pair="other")
    assert message("classification", path, columns) == (
        ":1: no columns 'text', 'other', 'label'; found 'review', 'stars', 'second': name others "
        "with text, text_pair, label."
    )
    path.write_text("word,tag\nA,B\n")
    assert "no columns 'question', 'context'" in message("question-answering", path)


def test_all_bad_rows_are_named_by_kind_and_left_out_if_asked(tmp_path):
    path = tmp_path / "own.csv"
    good = "fine,1\n" * 30
    path.write_text("text,label\n" + ",1\n" * 12 + good + "red,\n" + "blue,x\n" + "green,y\n")
    assert message("regression", path) == (
        ": 15 rows cannot be used. 12 rows (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...): the text in "
        "column 'text' is empty; remove the row. 2 rows (45, ...): the label 'x' in column 'label' "
        "is not a finite number, written as 1234.5; correct it, or use `classification` for "
        "classes. 1 row (44): the label in column 'label' is missing; fill it in or remove the "
        "row. Correct them, or leave them out with skip_bad=True."
    )
    bad = BadRows(skip=True)
    assert len(read("regression", path, bad=bad)) == 30
    assert bad.count == 15
    lines = "".join(f'{{"text": "a", "label": {n % 2}}}\n' for n in range(30))
    path = tmp_path / "own.jsonl"
    path.write_text(lines + '{"text": "b"}\n{"label": 1}\n{"text": "b", "label": [1]}\n' + lines)
    found = message("classification", path)
    for part in (": 3 rows cannot be used. ", "no column 'label'", "(31)", "(32)", "(33)"):
        assert part in found
    bad = BadRows(skip=True)
    assert len(read("classification", path, bad=bad)) == 60


def test_a_value_of_another_kind_is_named(tmp_path):
    path = put(tmp_path, {"text": 3, "label": "1"})
    assert message("classification", path) == (
        ":1: the column 'text' holds a number, expected a string; name another column or correct "
        "the file."
    )
    path = put(tmp_path, {"text": "x", "label": {"a": 1}})
    assert message("classification", path) == (
        ":1: the column 'label' holds an object, expected a string; name another column or correct "
        "the file."
    )


# Choices.


@pytest.mark.parametrize("label", ["b", "1", 1, "two"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_the_right_choice_is_a_number_a_column_or_a_text(tmp_path, name, label):
    path = put(
        tmp_path, {"text": "x", "a": "one", "b": "two ", "c": "3", "label": label}, name=name
    )
    assert read("multiple-choice", path, ABC)[0].label == 1


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_choices_may_be_a_list(tmp_path, name):
    choices: Any = ["one", "two"]
    if name == "a.csv":
        choices = json.dumps(choices)
    path = put(tmp_path, {"text": "x", "choices": choices, "label": "two"}, name=name)
    found = read("multiple-choice", path, LIST)[0]
    assert (found.choices, found.label) == (("one", "two"), 1)


def test_names_of_columns_come_before_numbers(tmp_path):
    path = put(tmp_path, {"text": "x", "1": "one", "2": "two", "label": "1"})
    assert read("multiple-choice", path, Columns(choices=("1", "2")))[0].label == 0


@pytest.mark.parametrize(
    ("label", "count"), [("3", "none"), ("-1", "none"), ("four", "none"), ("same", 2), ("0", 2)]
)
def test_a_label_that_means_no_one_choice_is_named(tmp_path, label, count):
    path = put(tmp_path, {"text": "x", "a": "same", "b": "same", "c": "0", "label": label})
    assert message("multiple-choice", path, ABC) == (
        f":1: the label '{label}' names {count} of the choices, expected a number from 0 to 2, the "
        "name of a choice's column or the text of one choice; correct it."
    )


@pytest.mark.parametrize(
    ("columns", "rows", "want"),
    [
        (ABC, [{"a": "1", "b": "2", "c": ""}], ":1: choice 2 is empty"),
        (ABC, [{"a": "1", "b": None, "c": " "}], ":1: choice 1 is a null"),
        (LIST, [{"choices": ["a", "b"]}, {"choices": ["a"]}], ":2: found 1 choice, expected 2"),
        (LIST, [{"choices": ["a"]}], ":1: found 1 choice, expected 2"),
        (LIST, [{"choices": ["a", "b"]}, {"choices": [1]}], ":2: choice 0 is a number"),
    ],
)
def test_choices_of_unequal_number_are_named(tmp_path, columns, rows, want):
    path = put(tmp_path, *({"text": "x", "label": "0"} | row for row in rows))
    assert message("multiple-choice", path, columns) == (
        f"{want}; give every row the same number of choices, none empty."
    )


def test_lists_that_are_none_are_named(tmp_path):
    for value in (None, "", []):
        path = put(tmp_path, {"text": "x", "label": "0", "choices": value})
        assert message("multiple-choice", path, LIST) == (
            ":1: the list in column 'choices' is empty; remove the row."
        )
    for value in ("one, two", "[one]"):
        path = put(tmp_path, {"text": "x", "label": "0", "choices": value})
        assert message("multiple-choice", path, LIST) == (
            ":1: the column 'choices' holds a string, expected a list of texts; name another "
            "column or correct the file."
        )


def test_choices_must_be_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        read("multiple-choice", put(tmp_path, {"text": "x"}))
    assert str(caught.value) == (
        "`multiple-choice` needs the columns of the choices; name them with choices."
    )


# Tags.


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.bio", "a.iob", "a.tsv", "train"])
def test_files_of_columns_are_read_for_tags(tmp_path, name):
    path = tmp_path / name
    path.write_text("EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n")
    assert read("token-classification", path) == [
        TagExample(f"{path}:1", "0", ("EU", "rejects"), ("B-ORG", "O"), 0, word_a_line=True),
        TagExample(f"{path}:4", "1", ("Peter",), ("B-PER",), 1, word_a_line=True),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_lists_of_words_and_tags_are_read(tmp_path, name):
    rows = [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["x"], "tags": ["O"]}]
    path = put(tmp_path, *rows, name=name)
    columns = Columns(words="tokens")
    assert read("token-classification", path, columns) == [
        TagExample(f"{path}:1", "0", ("EU", "rejects"), ("B-ORG", "O"), 0),
        TagExample(f"{path}:2", "1", ("x",), ("O",), 1),
    ]


@pytest.mark.parametrize(
    ("words", "tags", "want"),
    [
        (
            ["EU", "x"],
            ["O"],
            ":1: found 2 words and 1 tags, expected as many tags as words; correct the row.",
        ),
        (["EU", " "], ["O", "O"], ":1: the list in column 'words' holds ' ', expected words."),
        (["EU", 3], ["O", "O"], ":1: the list in column 'words' holds 3, expected words."),
        ([], [], ":1: the list in column 'words' is empty; remove the row."),
        (
            ["EU"],
            [None],
            ":1: the tag in column 'tags' is missing; fill it in or remove the row.",
        ),
    ],
)
def test_words_and_tags_that_do_not_fit_are_named(tmp_path, words, tags, want):
    assert message("token-classification", put(tmp_path, {"words": words, "tags": tags})) == want


def test_tags_may_be_numbers(tmp_path):
    path = put(tmp_path, {"words": ["a", "b"], "tags": [0, 1]})
    assert read("token-classification", path)[0].tags == ("0", "1")


# Answers.


def test_answers_are_found_in_their_context(tmp_path):
    rows = [
        {"question": "Where?", "context": "In 北京, in 北京.", "answer": " 北京"},
        {"question": "When?", "context": "In 1999.", "answer": ""},
        {"question": "Who?", "context": "In 1999.", "answer": None},
    ]
    path = put(tmp_path, *rows)
    assert read("question-answering", path) == [
        AnswerExample(f"{path}:1", "0", "Where?", "In 北京, in 北京.", (Answer("北京", 3),)),
        AnswerExample(f"{path}:2", "1", "When?", "In 1999.", ()),
        AnswerExample(f"{path}:3", "2", "Who?", "In 1999.", ()),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_column_may_say_where_answers_begin(tmp_path, name):
    row = {"question": "Where?", "context": "Rome, not Rome", "answer": "Rome", "answer_start": 10}
    path = put(tmp_path, row, row | {"answer_start": ""}, name=name)
    assert [e.answers for e in read("question-answering", path)] == [
        (Answer("Rome", 10),),
        (Answer("Rome", 0),),
    ]
    path = put(tmp_path, row | {"answer_start": "ten"})
    assert message("question-answering", path) == (
        ":1: 'ten' in column 'answer_start' is not a number; expected that of the character at "
        "which the answer begins, from 0."
    )


def test_answers_that_are_not_in_their_context_are_counted_and_left_out_if_asked(tmp_path):
    row = {"question": "Where?", "context": "In Rome.", "answer": "Rome"}
    path = put(
        tmp_path,
        row,
        row | {"answer": "rome"},
        row | {"answer_start": 4},
        row | {"answer": "Paris"},
    )
    lines = [
        "2 rows (2, 4): the answer 'rome' does not occur in its context",
        "1 row (3): the answer 'Rome' is not at character 4 of its context, where 'ome.' is",
    ]
    assert message("question-answering", path) == (
        f": 3 rows cannot be used. {'. '.join(lines)}. Correct them, or leave them out with "
        "skip_bad=True."
    )
    bad = BadRows(skip=True)
    assert [e.where for e in read("question-answering", path, bad=bad)] == [f"{path}:1"]
    assert bad.lines() == lines


def test_squads_structure_is_read(tmp_path):
    path = tmp_path / "own.json"
    qas = [
        {"id": "q", "question": "Where?", "answers": [{"text": "Rome", "answer_start": 3}]},
        {"id": "r", "question": "When?", "answers": [], "is_impossible": True},
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "In Rome.", "qas": qas}]}]}))
    found = read("question-answering", path)
    assert [(example.key, example.answers) for example in found] == [
        ("q", (Answer("Rome", 3),)),
        ("r", ()),
    ]


# The task.


def test_a_task_learns_its_labels_from_the_training_file(tmp_path):
    path = put(tmp_path, *({"text": "x", "label": n} for n in (10, 9, "b", "a", 10)))
    task = own_task("classification", columns=Columns(), train=read("classification", path))
    assert (task.name, task.kind.name, task.labels) == (
        "classification",
        "classification",
        ("9", "10", "a", "b"),
    )
    assert task.metrics == ("accuracy", "macro_f1")
    assert not task.pair
    assert task.read is None
    pair = own_task("regression", columns=Columns(text_pair="b"), train=[])
    assert (pair.pair, pair.labels, pair.metrics) == (True, (), ("pearson", "spearman", "mae"))


def test_a_task_learns_its_tags_and_whether_answers_may_be_missing(tmp_path):
    tags = [TagExample("a:1", "0", ("EU",), ("B-ORG",)), TagExample("a:2", "1", ("x",), ("O",))]
    task = own_task("token-classification", columns=Columns(), train=tags)
    assert (task.labels, task.deciding) == (("B-ORG", "O"), ("entity_f1",))
    answered = AnswerExample("a:1", "0", "q", "c", (Answer("c", 0),))
    none = AnswerExample("a:2", "1", "q", "c", ())
    for train, possible in (([answered], False), ([answered, none], True)):
        task = own_task("question-answering", columns=Columns(), train=train)
        assert task.may_be_impossible is possible
    assert own_task("multiple-choice", columns=ABC, train=[]).metrics == ("accuracy",)
