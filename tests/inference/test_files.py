"""Files through models: the same rows out, in order, whatever the format."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from heads import head_of
from official_files import text

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.core.errors import BertsmithError, DataError, UsageError
from bertsmith.core.storage import write_json
from bertsmith.inference.files import embed_file, predict_file
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.tasks.datasets import reading
from bertsmith.tasks.examples import Limits, TagExample, TextExample
from bertsmith.tasks.kinds.answer_spans import SpanAnswer
from bertsmith.tasks.task_config import TASK_CONFIG, Columns, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ROWS = 1100  # more than two blocks


def tuned(small_model: Path, folder: Path, kind: str, labels: tuple[str, ...] = ()) -> Model:
    torch.manual_seed(1)
    model = BertForTask(load_config(small_model), head_of(kind, labels=labels))
    save_model(folder, model, Tokenizer.load(small_model), card="")
    write_json(folder / TASK_CONFIG, task_config(kind, labels))
    return Model(folder)


def task_config(kind: str, labels: tuple[str, ...] = ()) -> TaskConfig:
    return TaskConfig(task=kind, kind=kind, labels=labels, limits=Limits(max_length=64, stride=32))


@pytest.fixture
def classifier(small_model: Path, tmp_path: Path) -> Model:
    return tuned(small_model, tmp_path / "model", "classification", ("no", "yes"))


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_rows_keep_their_order_columns_and_number(
    classifier: Model, tmp_path: Path, ending: str
) -> None:
    with (tmp_path / "in.jsonl").open("w") as file:
        for number in range(ROWS):
            words = f'{text(number)} {text(number // 10)}, "{"old " * (number % 5)}"'
            file.write(json.dumps({"id": number, "text": words}) + "\n")
    out = tmp_path / f"out{ending}"
    seen: list[int] = []
    done = predict_file(
        classifier, tmp_path / "in.jsonl", out, columns=Columns(), progress=seen.append
    )
    assert done.rows == ROWS
    assert seen == [512, 1024, ROWS]
    if ending == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    elif ending == ".parquet":
        rows = parquet.read_table(out).to_pylist()
        rows = [row | {"probabilities": json.loads(row["probabilities"])} for row in rows]
    else:
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="," if ending == ".csv" else "\t"))
            rows = [row | {"probabilities": json.loads(row["probabilities"])} for row in rows]
    assert list(rows[0]) == ["id", "text", "predicted", "probability", "probabilities"]
    assert [int(row["id"]) for row in rows] == list(range(ROWS))
    for row in rows[::97]:
        alone = classifier.predict([TextExample("", "0", row["text"])])[0]
        assert row["predicted"] == alone.label
        expected = alone.probabilities[alone.label]
        assert float(row["probability"]) == pytest.approx(expected, abs=1e-5)
        assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_a_text_a_line(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("red green\nblue\n")
    predict_file(classifier, tmp_path / "in.txt", tmp_path / "out.jsonl", columns=Columns())
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["red green", "blue"]


def test_a_line_is_the_text_whatever_its_column_was_called(
    classifier: Model, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("red green\nblue\n")
    (tmp_path / "in.csv").write_text("review\nred green\nblue\n")
    said = []
    for name in ("in.txt", "in.csv"):
        out = tmp_path / f"{name}.jsonl"
        predict_file(classifier, tmp_path / name, out, columns=Columns(text="review"))
        said.append([json.loads(line)["probability"] for line in out.read_text().splitlines()])
    assert said[0] == said[1]
    pair, choices = Columns(text="a", text_pair="b"), Columns(choices=("a", "b"))
    for kind, columns in (
        ("classification", pair),
        ("question-answering", Columns()),
        ("multiple-choice", choices),
    ):
        with pytest.raises(UsageError) as caught:
            list(reading.asked(task_config(kind), tmp_path / "in.txt", columns=columns))
        assert str(caught.value) == (
            f"{tmp_path / 'in.txt'} has one text per line, but this model needs several per input; "
            "give them as columns of a .csv, .tsv, .jsonl or .parquet."
        )
    [(_, example), _] = reading.asked(
        task_config("token-classification"), tmp_path / "in.txt", columns=Columns(words="text")
    )
    assert example == TagExample(
        f"{tmp_path / 'in.txt'}:1", "0", ("red", "green"), text="red green", places=((0, 3), (4, 9))
    )


def test_a_file_that_is_there_is_not_replaced(classifier: Model, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "mine.csv"
    source.write_text("red green\n")
    out.write_text("kept")
    with pytest.raises(UsageError) as caught:
        predict_file(classifier, source, out, columns=Columns())
    assert str(caught.value) == (
        f"out='{out}' already exists; choose another name, or add overwrite=True."
    )
    with pytest.raises(UsageError, match=r"mine\.csv' already exists"):
        embed_file(classifier, source, out, text="text", pooling="mean", layers=(-1,))
    assert out.read_text() == "kept"


def test_what_loses_its_end_is_told(classifier: Model, tmp_path: Path) -> None:
    max_length = classifier.task_config.limits.max_length
    (tmp_path / "in.txt").write_text(f"red green\n{'red ' * max_length}\n")
    done = predict_file(classifier, tmp_path / "in.txt", tmp_path / "out.jsonl", columns=Columns())
    assert (done.rows, done.truncated) == (2, 1)
    assert "maximum length: 1." in done.told
    (tmp_path / "in.txt").write_text("red green\n")
    done = predict_file(classifier, tmp_path / "in.txt", tmp_path / "out2.jsonl", columns=Columns())
    assert done.told == ""


def test_running_text_is_cut_into_words_for_a_tagger(small_model: Path, tmp_path: Path) -> None:
    predictor = tuned(small_model, tmp_path / "model", "token-classification", ("O", "B-X"))
    (tmp_path / "in.txt").write_text("red, green!\n我喜欢 blue\n")
    predict_file(predictor, tmp_path / "in.txt", tmp_path / "out.jsonl", columns=Columns())
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["predicted_words"] == ["red", ",", "green", "!"]
    assert rows[1]["predicted_words"] == ["我", "喜", "欢", "blue"]
    assert all(len(row["predicted_tags"]) == len(row["predicted_words"]) for row in rows)


@pytest.mark.parametrize("name", ["in.txt", "in.tsv", "in.conll"])
def test_columns_are_columns_for_a_tagger(small_model: Path, tmp_path: Path, name: str) -> None:
    predictor = tuned(small_model, tmp_path / "model", "token-classification", ("O", "B-X"))
    (tmp_path / name).write_text("red B-X\nold O\n\nblue O\n")
    done = predict_file(predictor, tmp_path / name, tmp_path / "out.jsonl", columns=Columns())
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert done.rows == 2
    assert [row["predicted_words"] for row in rows] == [["red", "old"], ["blue"]]


def test_columns_without_a_name_are_kept(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(",text,\n7,red,x\n")
    predict_file(classifier, tmp_path / "in.csv", tmp_path / "out.csv", columns=Columns())
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header.startswith("column 1,text,column 3,predicted,")
    assert row.startswith("7,red,x,")


def test_a_url_is_named_as_it_was_given(classifier: Model, tmp_path: Path) -> None:
    for source in ("memory://none/in.csv", "nowhere://none/in.csv"):
        with pytest.raises(BertsmithError) as caught:
            predict_file(classifier, source, tmp_path / "out.csv", columns=Columns())
        assert source in str(caught.value)


def test_nothing_is_left_of_a_failed_prediction(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n" + "red\n" * 600 + '""\n')
    with pytest.raises(DataError, match=r"in\.csv:602: the text in column 'text' is empty"):
        predict_file(classifier, tmp_path / "in.csv", tmp_path / "out.csv", columns=Columns())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "model"]


def test_what_cannot_be_written_or_asked_is_refused(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,predicted\nred,1\n")
    with pytest.raises(UsageError, match=r"in\.csv:2: the file has a column 'predicted' already"):
        predict_file(classifier, tmp_path / "in.csv", tmp_path / "out.csv", columns=Columns())
    with pytest.raises(
        UsageError, match=r"out\.xls': the ending is not supported; expected \.jsonl"
    ):
        predict_file(classifier, tmp_path / "in.csv", tmp_path / "out.xls", columns=Columns())
    columns = Columns(text="txt")
    with pytest.raises(DataError, match=r"no column 'txt' \(perhaps you meant 'text'\)"):
        predict_file(classifier, tmp_path / "in.csv", tmp_path / "out.csv", columns=columns)
    (tmp_path / "mixed.jsonl").write_text('{"text": "red"}\n{"text": "red", "id": 3}\n')
    with pytest.raises(UsageError, match="The column 'id' is not in every row"):
        predict_file(classifier, tmp_path / "mixed.jsonl", tmp_path / "o.csv", columns=Columns())


def test_a_model_that_was_not_fine_tuned(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("red\n")
    with pytest.raises(UsageError, match="has not been fine-tuned on a task; run `bertsmith finet"):
        predict_file(Model(small_model), tmp_path / "in.txt", tmp_path / "o.csv", columns=Columns())


def test_vectors_of_a_file(small_model: Path, tmp_path: Path) -> None:
    lines = [f"{text(number)} {'old ' * (number % 90)}" for number in range(700)]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    predictor = Model(small_model)
    for name in ("out.npy", "out.parquet"):
        done = embed_file(
            predictor,
            tmp_path / "in.txt",
            tmp_path / name,
            text="text",
            pooling="mean",
            layers=(-1,),
        )
        assert done.rows == 700
    vectors = np.load(tmp_path / "out.npy")
    assert vectors.shape == (700, 32)
    assert vectors.dtype == np.float32
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["text"] for row in rows] == lines
    np.testing.assert_array_equal([row["embedding"] for row in rows], vectors)
    np.testing.assert_allclose(predictor.embed([lines[77]])[0], vectors[77], atol=1e-5)
    with pytest.raises(UsageError, match=r"expected \.npy or \.parquet"):
        embed_file(
            predictor,
            tmp_path / "in.txt",
            tmp_path / "out.csv",
            text="text",
            pooling="mean",
            layers=(-1,),
        )


def test_an_answer_as_columns() -> None:
    answer = SpanAnswer("red", 4, 0.75, "red", 4, 0.75, 0.0, -3.0)
    assert answer.columns == {"predicted": "red", "predicted_start": 4, "probability": 0.75}
