"""SWAG's csv in its official columns."""

import csv
from pathlib import Path

import pytest

from bertsmith.core.errors import DataError
from bertsmith.tasks.datasets import swag
from bertsmith.tasks.examples import ChoiceExample

HEAD = [
    *("", "video-id", "fold-ind", "startphrase", "sent1", "sent2", "gold-source"),
    *("ending0", "ending1", "ending2", "ending3", "label"),
]
ROW = [
    *("17", "anetv_x", "18419", "He runs. She", 'He "runs".', "She", "gold"),
    *("sits, quietly.", "stands.", "flies.", "sings.", "2"),
]


def put(folder: Path, *lines: list[str]) -> Path:
    path = folder / "val.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def change(**values: str) -> list[str]:
    return [values.get(name, value) for name, value in zip(HEAD, ROW, strict=True)]


def message(path: Path, part: str = "dev") -> str:
    with pytest.raises(DataError) as caught:
        swag.read(path, part)
    return str(caught.value).removeprefix(str(path))


def test_a_choice_is_the_beginning_of_the_second_sentence_and_an_ending(tmp_path):
    path = put(tmp_path, HEAD, ROW, change(sent2="", ending3="Someone sings.", label="0"))
    choices = ("She sits, quietly.", "She stands.", "She flies.", "She sings.")
    others = ("sits, quietly.", "stands.", "flies.", "Someone sings.")
    assert swag.read(path, "dev") == [
        ChoiceExample(f"{path}:2", "17", 'He "runs".', choices, 2),
        ChoiceExample(f"{path}:3", "17", 'He "runs".', others, 0),
    ]


def test_a_test_file_has_no_labels_and_rows_without_a_number_are_counted(tmp_path):
    path = put(tmp_path, HEAD[1:-1], ROW[1:-1], ROW[1:-1])
    assert [(e.key, e.label) for e in swag.read(path, "test")] == [("0", None), ("1", None)]
    assert message(path) == (
        ":1: no column 'label'; found 'video-id', 'fold-ind', 'startphrase', 'sent1', 'sent2', "
        "'gold-source', 'ending0', 'ending1', 'ending2', 'ending3': check that this is the right "
        "file, with SWAG's official columns."
    )


@pytest.mark.parametrize("label", ["4", "-1", "x", ""])
def test_a_label_that_is_no_choice_is_named(tmp_path, label):
    path = put(tmp_path, HEAD, ROW, change(label=label))
    assert message(path) == f":3: the label '{label}' is not a number from 0 to 3; correct the row."


def test_empty_texts_are_named(tmp_path):
    path = put(tmp_path, HEAD, change(sent1=" "))
    assert message(path) == ":2: the text in column 'sent1' is empty; remove the row."
    path = put(tmp_path, HEAD, change(sent2="", ending2=""))
    assert message(path) == ":2: the text in column 'ending2' is empty; remove the row."


def test_a_ragged_row_is_named(tmp_path):
    path = put(tmp_path, HEAD, ROW[:-1])
    assert message(path) == (
        ":2: found 11 columns, expected 12 as in the header; add the missing fields, or put a "
        'field with a line break in "double quotes".'
    )
