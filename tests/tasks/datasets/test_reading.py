"""One place decides which reader reads a file, be it scored or only asked about."""

import json
from pathlib import Path
from typing import Any

import pytest
from official_files import WRITERS

from bertsmith.core.errors import UsageError
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import reading
from bertsmith.tasks.datasets.registry import TASKS
from bertsmith.tasks.examples import AnswerExample, Limits, TagExample, TextExample
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.task_config import Columns, TaskConfig

TAGS = ("O", "B-X", "I-X")
CONLL = "red B-X\nold I-X\n\nblue O\n"


def task_config(kind: str, *, task: str = "", labels: tuple[str, ...] = ()) -> TaskConfig:
    return TaskConfig(task=task or kind, kind=kind, labels=labels, limits=Limits(64, 32))


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def asked(known: TaskConfig, path: Path | str) -> list[Any]:
    return list(reading.asked(known, path, columns=Columns()))


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.conll", "a.iob", "a.b"])
def test_columns_with_tags_are_columns_whatever_the_ending(tmp_path: Path, name: str) -> None:
    known = task_config("token-classification", labels=TAGS)
    path = put(tmp_path, name, CONLL)
    found = asked(known, path)
    assert [example.words for _, example in found] == [("red", "old"), ("blue",)]
    assert [values for values, _ in found] == [{"id": "0"}, {"id": "1"}]
    [scored] = reading.labelled(known, path, columns=Columns()).values()
    assert scored == [example for _, example in found]


def test_running_text_and_tables_are_none(tmp_path: Path) -> None:
    known = task_config("token-classification", labels=TAGS)
    found = asked(known, put(tmp_path, "a.txt", "red old\nI take vitamin O\n"))
    assert [example.words for _, example in found] == [
        ("red", "old"),
        ("I", "take", "vitamin", "O"),
    ]
    assert [
        example.words for _, example in asked(known, put(tmp_path, "b.txt", "vitamin O\n"))
    ] == [("vitamin", "O")]
    found = asked(known, put(tmp_path, "c.tsv", "id\ttext\n1\tred old\n"))
    assert found[0][0] == {"id": "1", "text": "red old"}
    assert found[0][1].words == ("red", "old")
    # Words alone have no tag to be known by: only the ending says so.
    assert len(asked(known, put(tmp_path, "d.txt", "red\nold\n"))[0][1].words) == 1
    assert asked(known, put(tmp_path, "d.conll", "red\nold\n"))[0][1].words == ("red", "old")


def test_tags_that_only_the_model_knows_tell_columns_too(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "red JJ\ncars NN\n")
    assert len(asked(task_config("token-classification", labels=("JJ", "NN")), path)) == 1
    assert len(asked(task_config("token-classification"), path)) == 2
    path = put(tmp_path, "b.txt", "-DOCSTART- O\n\nred O\n")
    assert len(asked(task_config("token-classification"), path)) == 1


def test_a_squad_file_and_rows_of_questions(tmp_path: Path) -> None:
    known = task_config("question-answering")
    rows = '{"question": "a", "context": "b", "answer": "b"}\n'
    [(values, example)] = asked(known, put(tmp_path, "a.jsonl", rows))
    assert values["answer"] == "b"
    assert (example.question, example.answers) == ("a", None)
    paragraph = {"context": "b", "qas": [{"id": "q", "question": "a"}]}
    squad = json.dumps({"data": [{"paragraphs": [paragraph]}]})
    [(values, example)] = asked(known, put(tmp_path, "a.json", squad))
    assert values == {"id": "q"}
    assert isinstance(example, AnswerExample)


def test_official_files_are_known_by_their_names(tmp_path: Path) -> None:
    WRITERS["rte"](tmp_path / "rte")
    known = task_config("classification", task="rte", labels=("entailment", "not_entailment"))
    found = asked(known, tmp_path / "rte" / "test.tsv")
    assert [values["id"] for values, _ in found] == ["0", "1", "2", "3", "4"]
    parts = reading.labelled(known, tmp_path, columns=Columns())
    assert {part: len(examples) for part, examples in parts.items()} == {"dev": 6}
    named = reading.labelled(known, tmp_path / "rte" / "train.tsv", columns=Columns())
    assert {part: len(examples) for part, examples in named.items()} == {"train.tsv": 12}
    own = put(tmp_path, "own.csv", "text\nred\n")
    assert isinstance(asked(known, own)[0][1], TextExample)
    with pytest.raises(UsageError, match=r"memory://none/dev\.tsv does not exist or is empty"):
        reading.labelled(known, "memory://none/dev.tsv", columns=Columns())


def test_misplaced_answers_may_be_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "question,context,answer\na,b c,c\na,b c,d\n")
    bad = BadRows(skip=True)
    [found] = reading.labelled(
        task_config("question-answering"), path, columns=Columns(), bad=bad
    ).values()
    assert len(found) == 1
    assert bad.lines() == ["1 row (3): the answer 'd' does not occur in its context"]
    for task in (None, TASKS["squad"], TASKS["squad2"]):
        reading.refuse_skipping(task)
    with pytest.raises(UsageError, match="skip_bad is for files of your own, squad and squad2"):
        reading.refuse_skipping(TASKS["conll2003"])


def test_columns_that_would_not_be_read_are_refused() -> None:
    for kind, given, labelled in (
        ("classification", ["text", "text_pair", "label"], True),
        ("token-classification", ["words", "tags"], True),
        ("token-classification", ["text"], False),
        ("multiple-choice", ["choices"], True),
    ):
        reading.refuse_columns(kind_named(kind), given, official=False, labelled=labelled)
    with pytest.raises(UsageError) as caught:
        reading.refuse_columns(
            kind_named("classification"), ["choices"], official=False, labelled=True
        )
    refusal = str(caught.value)
    assert refusal.startswith("choices names a column that 'classification' does not read")
    assert "text, text_pair, label" in refusal
    with pytest.raises(
        UsageError, match="text names a column that 'token-classification' does not read"
    ):
        reading.refuse_columns(
            kind_named("token-classification"), ["text"], official=False, labelled=True
        )
    with pytest.raises(UsageError, match="label names a column, but official files have fixed"):
        reading.refuse_columns(
            kind_named("classification"), ["label"], official=True, labelled=True
        )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for kind, name in (
        ("classification", ""),
        ("token-classification", ""),
        ("question-answering", "x.json"),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="is a folder; give one file in it"):
            asked(task_config(kind), tmp_path / name)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a folder, but the model was fine-tuned on a file"):
        reading.labelled(task_config("token-classification"), tmp_path, columns=Columns())


def test_sentences_keep_what_they_are(tmp_path: Path) -> None:
    found = asked(
        task_config("token-classification", labels=TAGS),
        put(tmp_path, "a.jsonl", '{"words": ["a", "b"]}\n'),
    )
    assert found == [({"words": ["a", "b"]}, TagExample(f"{tmp_path}/a.jsonl:1", "0", ("a", "b")))]
