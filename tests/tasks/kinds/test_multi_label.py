"""Several labels a text: read, trained, scored as scikit-learn scores, and computed elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from by_kind import build, decode, gold, read_own, said
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, label_ranking_average_precision_score
from transformers import AutoModelForSequenceClassification

import bertsmith
from bertsmith.checkpoints.folder import load_task, save_model
from bertsmith.cli.main import main
from bertsmith.core.errors import DataError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.tasks import BertForTask, TaskBatch, task_loss
from bertsmith.models.head_config import HeadConfig
from bertsmith.models.modules.packed import pack
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.kinds.multi_label import MULTI_LABEL, LabelsAnswer
from bertsmith.tasks.metrics import score
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

TOPICS = {
    "economy": "bank rates market trade",
    "sport": "match goal team cup",
    "weather": "rain storm wind snow",
}
LABELS = tuple(TOPICS)
FILLER = "a the today in again of late new".split()
WORDS = [word for words in TOPICS.values() for word in words.split()]
TOKENIZER = Tokenizer((*SPECIAL, *FILLER, *WORDS))
SHAPE = BertConfig(
    vocab_size=len(TOKENIZER),
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=32,
    initializer_range=0.2,
)


def news(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Texts whose words tell which topics they have, often none or several."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        labels = [label for label in LABELS if draw.random() < 0.4]
        words = [str(draw.choice(TOPICS[label].split())) for label in labels]
        words += draw.choice(FILLER, 4).tolist()
        found.append((" ".join(draw.permutation(words).tolist()), labels))
    return found


def put(path: Path, rows: list[tuple[str, list[str]]]) -> Path:
    path.write_text(
        "text,labels\n" + "".join(f"{text},{'|'.join(names)}\n" for text, names in rows)
    )
    return path


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(2, 5), st.integers(0, 10_000))
def test_scores_are_those_of_scikit_learn(count: int, labels: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    true = draw.random((count, labels)) < 0.5
    scores = draw.integers(0, 5, (count, labels)) / 4
    given = scores > 0.6
    found = score(list(MULTI_LABEL.metrics), true, np.stack([given, scores], 1))
    assert found["micro_f1"] == pytest.approx(
        f1_score(true, given, average="micro", zero_division=0)
    )
    macro = f1_score(true, given, average="macro", zero_division=0)
    assert found["label_macro_f1"] == pytest.approx(macro)
    assert found["lrap"] == pytest.approx(label_ranking_average_precision_score(true, scores))


def test_labels_are_lists_or_texts_with_a_separator(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", [("x", ["b", "a"]), ("y", []), ("z", ["a"])])
    columns = Columns(label_separator="|")
    found = list(read_own("multi-label", path, columns=columns))
    assert [example.labels for example in found] == [("b", "a"), (), ("a",)]
    assert MULTI_LABEL.classes(found) == ("a", "b")
    assert gold("multi-label", found, ("a", "b")).tolist() == [[1, 1], [0, 0], [1, 0]]
    rows = [{"text": "x", "topics": ["a", "b", "a"]}, {"text": "y", "topics": '["b"]'}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_own("multi-label", path, columns=Columns(label="topics")))
    assert [example.labels for example in found] == [("a", "b"), ("b",)]
    with pytest.raises(DataError, match=r"2 rows .*column 'labels' holds 'b\|a'.*separator"):
        list(read_own("multi-label", tmp_path / "a.csv", columns=Columns()))
    same = [TextExample(f"a:{n}", str(n), "x", label=("a",)) for n in range(3)]
    with pytest.raises(DataError, match="a:0: this and every other example"):
        MULTI_LABEL.check_learnable(same)


def test_thresholds_are_the_best_of_each_label() -> None:
    examples = [
        TextExample("", str(n), "x", label=label)
        for n, label in enumerate([("a",), (), ("a", "b")])
    ]
    answers = [
        LabelsAnswer([], {"a": 0.3, "b": 0.9}),
        LabelsAnswer([], {"a": 0.1, "b": 0.2}),
        LabelsAnswer([], {"a": 0.4, "b": 0.8}),
    ]
    config = TaskConfig(
        task="multi-label", kind="multi-label", labels=("a", "b"), limits=Limits(9, 4)
    )
    config, tuned = MULTI_LABEL.tuned(config, examples, list(answers))
    # Of a between 0.3 and 0.1; of b both 0.9 and 0.8 are given: F1 2/3.
    assert config.thresholds == pytest.approx((0.2, 0.5))
    assert [answer.columns["predicted"] for answer in tuned] == [["a", "b"], [], ["a", "b"]]
    assert said("multi-label", tuned, ("a", "b"))[:, 0].tolist() == [[1, 1], [0, 0], [1, 1]]


def test_the_loss_and_the_outputs_are_those_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = HeadConfig(level="text", loss="binary-cross-entropy", labels=LABELS)
    model = BertForTask(SHAPE, head)
    save_model(tmp_path, model, TOKENIZER, card="")
    keys = json.loads((tmp_path / "config.json").read_text())
    assert keys["problem_type"] == "multi_label_classification"
    assert keys["architectures"] == ["BertForSequenceClassification"]
    assert load_task(tmp_path).head == head
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = [TOKENIZER.cls_id, *TOKENIZER.encode("the team in snow").ids, TOKENIZER.sep_id]
    targets = torch.tensor([[0.0, 1.0, 1.0]])
    batch = TaskBatch(pack([ids], [[0] * len(ids)]), targets)
    with torch.no_grad():
        ours = model.eval().outputs(batch)
        found = theirs(torch.tensor([ids]), labels=targets)
    torch.testing.assert_close(ours, found.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(task_loss(head, ours, batch, None), found.loss)
    weights = torch.tensor([1.0, 2.0, 3.0])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        ours, targets, pos_weight=weights
    )
    torch.testing.assert_close(task_loss(head, ours, batch, weights), expected)


def test_windows_and_weights() -> None:
    examples = [
        TextExample("", "0", "a the team", label=("sport",)),
        TextExample("", "1", "rain", label=()),
    ]
    features = build("multi-label", examples, TOKENIZER, Limits(4, 1, "windows"), LABELS)
    assert features.targets is not None
    assert features.targets.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert MULTI_LABEL.class_weights(features, LABELS).tolist() == pytest.approx([3, 0.5, 3])
    outputs = np.array([[-1, 2, 0], [-1, 0, 0], [-1, -1, 3]], np.float32)
    first, second = decode("multi-label", features, outputs, examples, labels=LABELS)
    assert first.columns["predicted"] == ["sport", "weather"]
    assert first.columns["probabilities"]["sport"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert second.columns["predicted"] == ["weather"]


def test_a_fine_tuning_learns_the_topics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "model", BertForPretraining(SHAPE), TOKENIZER, card="")
    train, dev = put(tmp_path / "train.csv", news(320, 1)), put(tmp_path / "dev.csv", news(60, 2))
    flags = "--label-separator | --learning-rate 3e-3 --epochs 12 --batch-size 8 --dropout 0"
    flags += " --class-weights balanced --precision fp32 --json"
    out = tmp_path / "topics"
    files = ["--train", train, "--dev", dev, "--model", tmp_path / "model", "--out", out]
    assert main(["finetune", "multi-label", *map(str, files), *flags.split()]) == 0
    result = json.loads(capsys.readouterr().out)
    scores = result["runs"][0]["scores"]["dev"]
    assert scores["micro_f1"] > 0.9 > result["baseline"]["micro_f1"]
    assert scores["lrap"] > 0.9
    thresholds = json.loads((out / "task.json").read_text())["thresholds"]
    assert len(thresholds) == 3
    assert all(0 < one < 1 for one in thresholds)
    html = (out / "report.html").read_text()
    assert "Scores by label" in html
    assert "<td>weather</td>" in html
    model = bertsmith.load(out)
    answers = model.predict([text for text, _ in news(60, 2)])
    lines = (Path(result["runs"][0]["out"]) / "predictions.jsonl").read_text().splitlines()
    expected = [json.loads(line)["labels"] for line in lines]
    assert [answer.columns["predicted"] for answer in answers] == expected
    assert main(["evaluate", str(out), "--data", str(dev), "--json"]) == 0
    part = json.loads(capsys.readouterr().out)["parts"]["dev.csv"]
    assert part["scores"]["micro_f1"] == pytest.approx(scores["micro_f1"])
    assert [row["name"] for row in part["rows"]] == list(LABELS)
