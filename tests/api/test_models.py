from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pytest

import bertsmith
from bertsmith.core.errors import DataError, UsageError

ROWS = [
    {"review": f"film {number} was {word}", "stars": stars}
    for number in range(12)
    for word, stars in (("good", 5), ("bad", 1))
]
TEXTS = [str(row["review"]) for row in ROWS]
CLASSES = datasets.ClassLabel(names=["1", "5"])
TABLES = {
    "rows": ROWS,
    "columns": {"review": [row["review"] for row in ROWS], "stars": [row["stars"] for row in ROWS]},
    "pandas": pandas.DataFrame(ROWS),
    "pyarrow": pyarrow.Table.from_pylist(ROWS),
    "datasets": datasets.Dataset.from_list(
        [{"review": row["review"], "stars": int(row["stars"] == 5)} for row in ROWS],
        features=datasets.Features({"review": datasets.Value("string"), "stars": CLASSES}),
    ),
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "out"
    finetune(ROWS, out)
    return out


def finetune(train: object, out: Path, **more: Any) -> bertsmith.FinetuneResult:
    settings: dict[str, Any] = {
        "text": "review",
        "label": "stars",
        "epochs": 1,
        "batch_size": 8,
    } | more
    return bertsmith.finetune(
        "classification", train=train, model="tiny-en", out=out, show=lambda line: None, **settings
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_any_package_is_trained_on_as_a_file_is(name: str, tmp_path: Path) -> None:
    result = finetune(TABLES[name], tmp_path / "out", dev=TABLES[name])
    assert result.labels == ("1", "5")
    # The same as the list of dicts: same rows, same order, same weights.
    again = finetune(ROWS, tmp_path / "again", dev=ROWS)
    assert result.runs[0].scores == again.runs[0].scores
    mine, other = ((tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert mine.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_predicted_and_scored(name: str, tuned: Path) -> None:
    model = bertsmith.load(tuned)
    answers = model.predict(TABLES[name])
    assert len(answers) == 24
    one = model.predict(TEXTS[0])
    assert isinstance(one, bertsmith.ClassAnswer)
    assert isinstance(answers[0], bertsmith.ClassAnswer)
    assert one.label == answers[0].label
    assert one.probabilities == pytest.approx(answers[0].probabilities, rel=1e-5)
    assert answers == model.predict(TEXTS)
    found = bertsmith.evaluate(model, TABLES[name])
    assert isinstance(found, bertsmith.Evaluation)
    right = sum(
        answer.label == str(row["stars"]) for answer, row in zip(answers, ROWS, strict=True)
    )
    assert found.parts["data.jsonl"].scores["accuracy"] == right / 24


def test_mistakes_in_a_table_are_named_by_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^train:2: "):
        finetune([ROWS[0], ROWS[1] | {"review": " "}], tmp_path / "out")
    with pytest.raises(DataError, match=r"'review' has 1, 'stars' has 2"):
        finetune({"review": ["a"], "stars": [1, 2]}, tmp_path / "out")
    with pytest.raises(DataError, match="train is empty"):
        finetune([], tmp_path / "out")
    with pytest.raises(UsageError, match="train is of type int"):
        finetune(5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_misspelled_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no setting drop_out \(perhaps you meant 'dropout'\)"):
        finetune(ROWS, tmp_path / "out", drop_out=0.1)
    with pytest.raises(UsageError, match=r"no setting phase \(perhaps you meant 'phases'\)"):
        bertsmith.pretrain("corpus", tmp_path / "out", steps=1, phase=())
    with pytest.raises(UsageError, match="no setting colour"):
        bertsmith.evaluate("tiny-en", [], colour="text")


def test_a_device_that_is_not_there_is_refused() -> None:
    for device in ("cuda:99", "gpu", "meta"):
        with pytest.raises(UsageError, match=f"device='{device}': this machine has no such device"):
            bertsmith.load("tiny-en", device=device)
    assert bertsmith.load("tiny-en", device="cpu").place.precision == "fp32"


def test_a_bert_without_pretraining_is_fine_tuned_by_its_size(tmp_path: Path) -> None:
    how: dict[str, Any] = {"text": "review", "label": "stars", "epochs": 1, "show": list}
    plain = bertsmith.finetune(
        "classification", train=ROWS, out=tmp_path / "a", size="tiny", vocab_size=90, **how
    )
    assert bertsmith.load(tmp_path / "a").config.vocab_size <= 90
    assert plain.config.initial_weights == "structured"
    named = bertsmith.finetune(
        "classification",
        train=ROWS,
        out=tmp_path / "b",
        size="tiny",
        tokenizer="tiny-en",
        initial_weights="paper",
        **how,
    )
    assert named.config.initial_weights == "paper"
    loaded = bertsmith.load(tmp_path / "b")
    assert loaded.tokenizer.vocab == bertsmith.load("tiny-en").tokenizer.vocab
    for wrong, said in (
        ({}, "size a BERT without pre-training; give one of them"),
        ({"model": "tiny-en", "size": "tiny"}, "leave one of them out"),
        ({"model": "tiny-en", "tokenizer": tmp_path}, "tokenizer is for size"),
    ):
        with pytest.raises(UsageError, match=said):
            bertsmith.finetune("classification", train=ROWS, out=tmp_path / "c", **wrong, **how)


def test_several_labels_in_one_text(tmp_path: Path) -> None:
    rows = [{"text": f"red {n}", "label": ("a|b", "a", "b")[n % 3]} for n in range(30)]
    result = bertsmith.finetune(
        "multi-label",
        train=rows,
        out=tmp_path / "out",
        size="tiny",
        vocab_size=60,
        label_separator="|",
        epochs=1,
        show=list,
    )
    assert result.labels == ("a", "b")
