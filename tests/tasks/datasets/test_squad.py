"""SQuAD's JSON: structure, impossible questions, and answers that are not where they say."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertsmith.core.errors import DataError, SystemFault
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import squad
from bertsmith.tasks.examples import Answer, AnswerExample

CONTEXT = "Zoë 😀 lives in 北京. She moved there in 1999 ."


def question(number: int, *answers: str | tuple[str, int], **more: Any) -> dict[str, Any]:
    placed = [(a, CONTEXT.index(a)) if isinstance(a, str) else a for a in answers]
    found = [{"text": text, "answer_start": start} for text, start in placed]
    return {"id": f"q{number}", "question": f"Where {number}?", "answers": found} | more


def put(folder: Path, *questions: dict[str, Any], name: str = "dev.json") -> Path:
    path = folder / name
    squad = {
        "version": "1.1",
        "data": [{"title": "Zoë", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}],
    }
    data = json.dumps(squad, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path: Path, part: str = "dev", *, two: bool = False, bad: Any = None) -> Any:
    return squad.reader(may_be_impossible=two, bad=bad)(path, part)


def message(path: Path, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **more)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz"])
def test_questions_keep_all_their_answers_and_offsets_count_characters(tmp_path, name):
    path = put(tmp_path, question(1, "北京", "in 北京"), question(2, "1999"), name=name)
    assert read(path) == [
        AnswerExample(
            f"{path}: question q1",
            "q1",
            "Where 1?",
            CONTEXT,
            (Answer("北京", 15), Answer("in 北京", 12)),
        ),
        AnswerExample(f"{path}: question q2", "q2", "Where 2?", CONTEXT, (Answer("1999", 38),)),
    ]
    assert CONTEXT[15:17] == "北京"


def test_white_space_around_an_answer_is_no_part_of_it(tmp_path):
    path = put(tmp_path, question(1, (" 1999 ", 37)))
    assert read(path)[0].answers == (Answer("1999", 38),)


def test_a_byte_order_mark_and_numbers_for_ids_are_read(tmp_path):
    path = put(tmp_path, question(1, "Zoë", id=56))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path)[0].key == "56"


def test_version_2_has_questions_without_an_answer(tmp_path):
    plausible = {"plausible_answers": [{"text": "Zoë", "answer_start": 0}]}
    path = put(
        tmp_path,
        question(1, "Zoë", is_impossible=False),
        question(2, is_impossible=True, **plausible),
        question(3, "Zoë", is_impossible=True),
        question(4),
    )
    assert [example.answers for example in read(path, two=True)] == [
        (Answer("Zoë", 0),),
        (),
        (),
        (),
    ]
    assert message(path) == (
        ": question q2 has no answer, expected one or more; questions without an answer belong to "
        "SQuAD v2.0, the task squad2."
    )


def test_only_a_test_file_may_be_without_answers(tmp_path):
    bare = {"id": "q1", "question": "Where?"}
    path = put(tmp_path, bare, question(2, "Zoë"))
    assert [example.answers for example in read(path, "test")] == [None, (Answer("Zoë", 0),)]
    assert message(path).startswith(": question q1 has no answer, expected one or more; ")
    assert message(path, two=True) == (
        ': question q1 has neither "answers" nor "is_impossible"; give each question of a labelled '
        "file one of them."
    )


def test_answers_need_not_be_looked_at(tmp_path):
    path = put(tmp_path, question(1, ("Rome", 3)))
    found = squad.read(path, may_be_impossible=False, labelled=False)
    assert [(example.key, example.answers) for example in found] == [("q1", None)]


def test_misplaced_answers_are_counted_named_and_left_out_if_asked(tmp_path):
    path = put(
        tmp_path,
        question(1, "Zoë"),
        question(2, ("北京", 17), "in 北京"),
        question(3, ("Rome", 45)),
        question(4, ("Zoë", -1), ("", 3)),
    )
    assert message(path) == (
        ": 4 rows cannot be used. 2 rows (question q2, question q4): the answer '北京' is not at "
        "character 17 of its context, where '. ' is. 1 row (question q3): the answer 'Rome' is not "
        "at character 45 of its context, which has 44 characters. 1 row (question q4): the answer "
        "'Zoë' is not at character -1 of its context, where 'Zoë' is. Correct them, or leave them "
        "out with skip_bad=True."
    )
    bad = BadRows(skip=True)
    kept = read(path, bad=bad)
    assert [(example.key, example.answers) for example in kept] == [
        ("q1", (Answer("Zoë", 0),)),
        ("q2", (Answer("in 北京", 12),)),
    ]
    assert bad.count == 4


def test_one_misplaced_answer_is_not_counted(tmp_path):
    path = put(tmp_path, question(1, ("Rome", 0)))
    assert message(path) == (
        ": question q1: the answer 'Rome' is not at character 0 of its context, where 'Zoë ' is. "
        "skip_bad=True leaves such rows out."
    )


def test_ids_and_texts_are_checked(tmp_path):
    path = put(tmp_path, question(1, "Zoë"), question(1, "Zoë"))
    assert message(path) == ": question q1 occurs twice; give each question its own id."
    path = put(tmp_path, question(1, "Zoë", question=" "))
    assert message(path) == ": question q1: the question is empty; remove the question."


def test_a_file_that_is_cut_short_or_empty_is_named(tmp_path):
    path = tmp_path / "dev.json"
    path.write_bytes(b'{"data": [')
    assert message(path) == " ends in the middle of its JSON; copy or download the file again."
    path.write_bytes(b"\n")
    assert message(path) == " is empty; give another file."


def test_a_file_without_a_question_is_named(tmp_path):
    for data in (b'{"data": []}', b'{"data": [{"paragraphs": [{"context": "a", "qas": []}]}]}'):
        path = tmp_path / "dev.json"
        path.write_bytes(data)
        assert message(path) == " has no questions; give another file."


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"articles": []}', "Object missing required field `data`"),
        (
            b'{"data": [{"paragraphs": [{"context": 3, "qas": []}]}]}',
            "Expected `str`, got `int` - at `$.data[0].paragraphs[0].context`",
        ),
        (b"id,question\n", "JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_a_file_of_another_structure_is_named(tmp_path, data, why):
    path = tmp_path / "dev.json"
    path.write_bytes(data)
    assert message(path) == (
        f' is not in SQuAD\'s format ({why}); expected JSON with articles in "data", each '
        'with "paragraphs" that hold a "context" and its "qas".'
    )


@pytest.mark.parametrize("coding", ["UTF-16", "UTF-16LE", "UTF-16BE"])
def test_utf16_is_named(tmp_path, coding):
    path = tmp_path / "dev.json"
    path.write_bytes('{"data": []}'.encode(coding))
    with pytest.raises(DataError) as caught:
        squad.read(path, may_be_impossible=True)
    assert str(caught.value) == (
        f"{path} is not UTF-8 text: it looks like {coding}; convert it with `iconv -f {coding} "
        "-t UTF-8 FILE > NEW`."
    )


def test_bytes_that_are_not_utf8_and_files_that_are_not_there_are_named(tmp_path):
    path = put(tmp_path, question(1, "Zoë"))
    path.write_bytes(path.read_bytes().replace("ë".encode(), b"\xeb"))
    assert message(path).startswith(" is not in SQuAD's format (")
    with pytest.raises(SystemFault, match=r"Could not read .*none\.json: no such file"):
        read(tmp_path / "none.json")
