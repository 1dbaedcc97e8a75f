"""The table's rows, and finding their files in the folders that people have."""

import gzip
from pathlib import Path

import pytest

from bertsmith.core.errors import DataError, SystemFault, UsageError
from bertsmith.tasks.datasets import glue, registry
from bertsmith.tasks.datasets.registry import TASKS, find, get, load

KINDS = {
    "mnli": "classification",
    "qqp": "classification",
    "qnli": "classification",
    "sst-2": "classification",
    "cola": "classification",
    "sts-b": "regression",
    "mrpc": "classification",
    "rte": "classification",
    "wnli": "classification",
    "squad": "question-answering",
    "squad2": "question-answering",
    "swag": "multiple-choice",
    "conll2003": "token-classification",
}


def put(path: Path, data: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def message(folder: Path, name: str, part: str, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        load(folder, get(name), part)
    return str(caught.value)


def test_the_table_has_the_tasks_of_the_paper():
    assert len(TASKS) == 13
    assert {name: task.kind.name for name, task in TASKS.items()} == KINDS
    assert [name for name, task in TASKS.items() if task.pair] == [
        *("mnli", "qqp", "qnli", "sts-b", "mrpc", "rte", "wnli")
    ]
    assert [name for name, task in TASKS.items() if task.may_be_impossible] == ["squad2"]
    assert [(name, task.bounds) for name, task in TASKS.items() if task.bounds] == [
        ("sts-b", (0.0, 5.0))
    ]
    assert "ax" not in TASKS
    assert (glue.AX.labels, list(glue.AX.files)) == (get("mnli").labels, ["test"])


@pytest.mark.parametrize("name", TASKS)
def test_every_row_is_whole(name):
    task = TASKS[name]
    assert task.name == name
    assert task.title
    assert {"train", "dev", "test"} <= task.files.keys()
    assert all(names for names in task.files.values())
    assert task.metrics
    assert all(metric in task.kind.metrics for metric in task.metrics)
    assert set(task.deciding) <= set(task.metrics)
    assert bool(task.labels) == (task.kind.name == "classification")


def test_the_scores_are_those_of_the_paper():
    assert {name: task.metrics for name, task in TASKS.items()} == {
        "mnli": ("accuracy",),
        "qqp": ("f1", "accuracy"),
        "qnli": ("accuracy",),
        "sst-2": ("accuracy",),
        "cola": ("matthews",),
        "sts-b": ("pearson", "spearman", "mae"),
        "mrpc": ("f1", "accuracy"),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
        "squad": ("exact_match", "answer_f1"),
        "squad2": ("exact_match", "answer_f1"),
        "swag": ("accuracy",),
        "conll2003": ("entity_precision", "entity_recall", "entity_f1"),
    }
    assert [name for name, task in TASKS.items() if task.deciding] == ["sts-b", "conll2003"]
    assert get("conll2003").deciding == ("entity_f1",)
    assert get("mnli").labels == ("contradiction", "entailment", "neutral")
    assert get("rte").labels == get("qnli").labels == ("entailment", "not_entailment")


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        get("sst2")
    assert str(caught.value) == (
        "Unknown task 'sst2' (perhaps you meant 'sst-2'); expected one of mnli, qqp, qnli, sst-2, "
        "cola, sts-b, mrpc, rte, wnli, squad, squad2, swag, conll2003, or, for files of your own, "
        "classification, multi-label, regression, multiple-choice, token-classification or "
        "question-answering."
    )
    with pytest.raises(
        UsageError, match=r"Unknown task 'clasification' \(perhaps you meant 'classification'\)"
    ):
        get("clasification")
    for other, ours in (("text-classification", "classification"), ("NER", "token-classification")):
        with pytest.raises(UsageError, match=rf"perhaps you meant '{ours}'"):
            get(other)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mrpc", ""),
        ("mrpc", "MRPC"),
        ("mrpc", "mrpc"),
        ("sst-2", "SST-2"),
        ("sst-2", "sst2"),
        ("sts-b", "STS_B"),
        ("cola", "CoLA"),
    ],
)
def test_the_folder_of_the_task_or_the_one_around_it_may_be_given(tmp_path, name, folder):
    path = put(tmp_path / folder / "train.tsv")
    put(tmp_path / "other" / "train.tsv")
    assert find(tmp_path, get(name), "train") == path
    assert find(tmp_path, get(name), "dev") is None
    assert find(tmp_path, get(name), "none") is None


def test_the_nearest_name_of_a_folder_comes_first(tmp_path):
    both = put(tmp_path / "SQuAD" / "dev-v2.0.json")
    assert find(tmp_path, get("squad2"), "dev") == both
    own = put(tmp_path / "squad2" / "dev-v2.0.json")
    assert find(tmp_path, get("squad2"), "dev") == own
    assert find(tmp_path, get("squad"), "dev") is None


@pytest.mark.parametrize(
    ("name", "part", "file"),
    [
        ("mnli", "dev", "dev_matched.tsv"),
        ("mnli", "dev-mismatched", "dev_mismatched.tsv"),
        ("mnli", "test", "test_matched.tsv"),
        ("mnli", "test-mismatched", "test_mismatched.tsv"),
        ("mrpc", "dev", "msr_paraphrase_train.txt"),
        ("mrpc", "test", "msr_paraphrase_test.txt"),
        ("squad", "train", "train-v1.1.json"),
        ("squad2", "dev", "dev-v2.0.json"),
        ("swag", "dev", "val.csv"),
        ("conll2003", "dev", "valid.txt"),
        ("conll2003", "dev", "eng.testa"),
        ("conll2003", "test", "eng.testb"),
        ("conll2003", "train", "train.conll"),
    ],
)
def test_the_usual_names_are_found(tmp_path, name, part, file):
    path = put(tmp_path / file)
    assert find(tmp_path, get(name), part) == path


def test_of_several_names_the_first_is_taken_and_packed_files_are_read(tmp_path):
    put(tmp_path / "rte" / "dev.tsv.gz", gzip.compress(b"sentence1\tsentence2\tlabel\nA\tB\tx\n"))
    assert message(tmp_path, "rte", "dev") == (
        f"{tmp_path}/rte/dev.tsv.gz:2: the label 'x' is not one of 'entailment', 'not_entailment'; "
        "correct the row."
    )
    path = put(tmp_path / "rte" / "dev.tsv", "sentence1\tsentence2\tlabel\nA\tB\tentailment\n")
    assert [example.where for example in load(tmp_path, get("rte"), "dev")] == [f"{path}:2"]


def test_ax_is_found_beside_mnli(tmp_path):
    path = put(tmp_path / "diagnostic" / "diagnostic.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    assert find(tmp_path, glue.AX, "test") == path
    assert [example.key for example in load(tmp_path, glue.AX, "test")] == ["0"]


def test_files_that_are_missing_are_named(tmp_path):
    folder = tmp_path / "GLUE"
    assert message(folder, "mrpc", "dev") == (
        f"{folder} does not exist; expected a folder with the files of mrpc: check data."
    )
    put(folder)
    assert message(folder, "mrpc", "dev") == (
        f"{folder} is a file; expected a folder with the files of mrpc: check data."
    )
    folder = tmp_path / "data"
    folder.mkdir()
    assert message(folder, "rte", "dev") == (
        f"{folder} holds no dev file of rte; expected dev.tsv in it or in a folder rte inside, "
        "found nothing: check data."
    )
    put(folder / "a.txt")
    put(folder / "MRPC" / "train.tsv")
    assert message(folder, "mrpc", "dev") == (
        f"{folder} holds no dev file of mrpc; expected dev.tsv or msr_paraphrase_train.txt in it "
        "or in a folder mrpc inside, found MRPC, a.txt: check data."
    )
    for number in range(21):
        put(folder / f"b{number:02d}")
    found = ", ".join(["MRPC", "a.txt", *(f"b{number:02d}" for number in range(18))])
    assert message(folder, "rte", "dev").endswith(f", found {found} and 3 more: check data.")


def test_a_part_that_a_task_does_not_have_is_named(tmp_path):
    assert message(tmp_path, "mnli", "dev-matched", UsageError) == (
        "The task mnli has no part 'dev-matched' (perhaps you meant 'dev-mismatched'); expected "
        "one of train, dev, dev-mismatched, test, test-mismatched."
    )


def test_a_file_without_an_example_is_named(tmp_path):
    path = put(tmp_path / "dev.tsv", "index\tsentence1\tsentence2\tlabel\n")
    assert message(tmp_path, "rte", "dev") == (f"{path} is empty; give another file.")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SystemFault) as caught:
        load(tmp_path, registry.get("rte"), "dev")
    assert str(caught.value) == (
        f"Could not read {tmp_path}: permission denied; check the owner and mode of the path."
    )
