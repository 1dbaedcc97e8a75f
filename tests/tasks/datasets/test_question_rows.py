"""Answers in rows: where they are, and what was decided by a rule."""

from pathlib import Path

import msgspec
import pyarrow
import pytest
from by_kind import read_own
from pyarrow import ipc, parquet

from bertsmith.core.errors import DataError
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.examples import Answer
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.task_config import Columns

COLUMNS = Columns()
CONTEXT = "On day 1 she had 12 hens, on day 3 a duck and 1 egg."


def put(folder: Path, *rows: dict, name: str = "data.jsonl") -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif name.endswith(".arrow"):
        table = pyarrow.Table.from_pylist(list(rows))
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def read(path: Path, bad: BadRows | None = None) -> tuple[list, list[str]]:
    notes = Notes()
    found = list(read_own("question-answering", path, columns=COLUMNS, bad=bad, notes=notes))
    return [example.answers for example in found], notes.lines()


def test_the_first_of_several_places_is_taken_and_counted(tmp_path):
    row = {"question": "How many?", "context": CONTEXT, "answer": "1"}
    path = put(tmp_path, row | {"answer": "12"}, row, row)
    answers, [note] = read(path)
    assert answers == [(Answer("12", 17),), (Answer("1", 7),), (Answer("1", 7),)]
    assert "several times" in note
    assert note.endswith(f": 2, for instance {path}:2")


def test_a_place_inside_a_word_is_no_place(tmp_path):
    path = put(tmp_path, {"question": "Who?", "context": CONTEXT, "answer": "hen"})
    with pytest.raises(DataError, match=r":1: the answer 'hen' .* only inside other words"):
        read(path)
    bad = BadRows(skip=True)
    assert read(path, bad) == ([], [])
    assert bad.count == 1


@pytest.mark.parametrize("name", ["squad.jsonl", "squad.parquet", "squad.arrow"])
def test_rows_of_hugging_faces_squad(tmp_path, name):
    row = {"id": "a", "title": "t", "question": "How many?", "context": CONTEXT}
    path = put(
        tmp_path,
        row | {"answers": {"text": ["12 hens", "12"], "answer_start": [17, 17]}},
        row | {"answers": {"text": [], "answer_start": []}},
        name=name,
    )
    assert read(path) == ([(Answer("12 hens", 17), Answer("12", 17)), ()], [])
    wrong = put(tmp_path, row | {"answers": {"text": ["12"], "answer_start": [3]}}, name=name)
    with pytest.raises(DataError, match=":1: the answer '12' is not at character 3 "):
        read(wrong)


def test_answers_as_a_list_or_as_json_in_a_cell(tmp_path):
    row = {"question": "Who?", "context": CONTEXT}
    path = put(tmp_path, row | {"answers": [{"text": "she", "answer_start": 9}]})
    assert read(path)[0] == [(Answer("she", 9),)]
    cell = '"{""text"": [""she""], ""answer_start"": [9]}"'
    path = tmp_path / "data.csv"
    path.write_text(f'question,context,answers\nWho?,"{CONTEXT}",{cell}\n')
    assert read(path)[0] == [(Answer("she", 9),)]
    short = put(tmp_path, row | {"answers": {"text": ["she", "1"], "answer_start": [9]}})
    with pytest.raises(DataError, match=":1: 'answers' has 2 texts"):
        read(short)


def test_impossible_questions_with_answers_are_counted(tmp_path):
    row = {"question": "Who?", "context": CONTEXT, "answer": "she", "is_impossible": True}
    answers, [note] = read(put(tmp_path, row, row | {"is_impossible": False}))
    assert answers == [(), (Answer("she", 9),)]
    assert "is_impossible" in note
    assert ": 1, for instance" in note
    question = {"id": "q", "question": "Who?", "is_impossible": True}
    question |= {"answers": [{"text": "she", "answer_start": 9}]}
    squad = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}
    path = tmp_path / "squad.json"
    path.write_bytes(msgspec.json.encode(squad))
    answers, [note] = read(path)
    assert answers == [()]
    assert note.endswith(": 1, for instance " + f"{path}: question q")


def test_white_space_around_an_answer_need_not_be_in_the_context(tmp_path):
    row = {"question": "What?", "context": CONTEXT, "answer": "1 egg ", "answer_start": 46}
    assert read(put(tmp_path, row))[0] == [(Answer("1 egg", 46),)]
