"""The table of the kinds, and what folders of older versions say of them."""

import json
from pathlib import Path

import pytest

from bertsmith.core.errors import FolderError
from bertsmith.models.head_config import HeadConfig, head_from_keys
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.kinds.registry import KINDS, kind_named, kind_of, read_task_config

OLD = {
    "version": 1,
    "task": "squad2",
    "kind": "answer",
    "labels": [],
    "limits": {"longest": 48, "stride": 24, "long": "cut", "longest_question": 24},
    "columns": None,
    "scale": 1.0,
    "offset": 0.0,
    "bounds": None,
}


@pytest.mark.parametrize(("threshold", "expected"), [(-1.25, (-1.25,)), (None, ())])
def test_a_threshold_of_an_older_folder_is_read(
    tmp_path: Path, threshold: float | None, expected: tuple[float, ...]
) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps(OLD | {"threshold": threshold}))
    assert read_task_config(path).thresholds == expected


def test_old_names_of_limits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps(OLD))
    assert read_task_config(path).limits == Limits(48, 22, "truncate", max_question_length=24)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps(OLD | {"kind": "question-anwsering"}))
    with pytest.raises(FolderError, match=r"'question-anwsering'.*'question-answering'"):
        read_task_config(path)


def test_every_kind_has_its_own_output_layer() -> None:
    for name, kind in KINDS.items():
        head = HeadConfig(level=kind.level, loss=kind.loss)
        assert kind_of(head) is kind is kind_named(name)


OLD_NAMES = {
    "classify": "classification",
    "regress": "regression",
    "choose": "multiple-choice",
    "tag": "token-classification",
    "answer": "question-answering",
}


@pytest.mark.parametrize(("old", "name"), OLD_NAMES.items())
def test_old_names_of_kinds_are_read(tmp_path: Path, old: str, name: str) -> None:
    head = head_from_keys({"kind": old, "extract_id": 4})
    assert (kind_of(head).name, head.extract_id) == (name, 4)
    path = tmp_path / "task.json"
    for task, expected in ((old, name), ("swag", "swag")):
        path.write_text(json.dumps(OLD | {"kind": old, "task": task}))
        found = read_task_config(path)
        assert (found.kind, found.task) == (name, expected)
