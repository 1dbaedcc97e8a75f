"""Reading BLiMP's and ZhoBLiMP's files, and what is wrong with others."""

import json

import pytest

from bertsmith.core.errors import DataError, SystemFault, UsageError
from bertsmith.tasks.datasets.minimal_pairs import Pair, read

GOOD = {"sentence_good": "He sees himself.", "sentence_bad": "He sees herself."}


def lines(path, *objects):
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects))
    return path


def test_both_layouts(tmp_path):
    blimp = GOOD | {
        "field": "morphology",
        "linguistics_term": "anaphor_agreement",
        "UID": "anaphor_gender_agreement",
        "simple_LM_method": True,
        "pairID": "0",
    }
    zhoblimp = {
        "UID": "BA_deletion",
        "phenomenon": "BA",
        "sentence_good": "他把车装满了书。",
        "sentence_bad": "他装满了车书。",
        "pairID": 0,
    }
    path = lines(tmp_path / "a.jsonl", blimp, zhoblimp)
    assert list(read(path)) == [
        Pair(
            "He sees himself.",
            "He sees herself.",
            "anaphor_gender_agreement",
            "anaphor_agreement",
            f"{path}:1",
        ),
        Pair("他把车装满了书。", "他装满了车书。", "BA_deletion", "BA", f"{path}:2"),
    ]


def test_the_sentences_are_enough(tmp_path):
    path = lines(tmp_path / "my.pairs.jsonl", GOOD)
    assert [(one.paradigm, one.phenomenon) for one in read(path)] == [("my.pairs", "")]
    path = lines(tmp_path / "field.jsonl", GOOD | {"field": "syntax"})
    assert [one.phenomenon for one in read(path)] == ["syntax"]


def test_a_folder_is_read_by_name(tmp_path):
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl"):
        lines(tmp_path / name, GOOD)
    (tmp_path / "README.md").write_text("BLiMP")
    assert [one.paradigm for one in read(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("{", "not end on this line|not JSON"),
        ("[1]", "JSON list.*one object per line"),
        ('{"sentence_good": "a"}', "no key 'sentence_bad'.*found 'sentence_good'"),
        ('{"sentence_good": "a", "sentence_bd": "b"}', "perhaps you meant 'sentence_bd'"),
        ('{"sentence_good": "a", "sentence_bad": 3}', "'sentence_bad' holds a number"),
        ('{"sentence_good": " ", "sentence_bad": "b"}', "'sentence_good' is empty"),
    ],
)
def test_mistakes_in_a_line(line, facts, tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD)
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl:3: .*(?:{facts})"):
        list(read(path))


def test_mistakes_of_files(tmp_path):
    with pytest.raises(DataError, match="has no files of minimal pairs"):
        list(read(tmp_path))
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"a\.jsonl is empty"):
        list(read(tmp_path))
    with pytest.raises(UsageError, match=r"a\.csv: .*end in \.jsonl"):
        list(read(tmp_path / "a.csv"))
    with pytest.raises(SystemFault, match=r"b\.jsonl"):
        list(read(tmp_path / "b.jsonl"))
