"""Scoring a folder: labelled files, official folders, and what does not go together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from heads import head_of
from official_files import WRITERS, text

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.core.errors import DataError, FolderError, UsageError
from bertsmith.core.storage import write_json
from bertsmith.inference.evaluation import CorpusScores, Evaluation, evaluate
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import pretrain_config
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, Columns, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.schedule import Phase

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 128,
}


def classifier(small_model: Path, folder: Path, *, task: str = "classification") -> Model:
    labels = ("entailment", "not_entailment") if task == "rte" else ("0", "1")
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), head_of("classification", labels=labels))
    save_model(folder, model, Tokenizer.load(small_model), card="")
    limits = Limits(max_length=64, stride=32)
    write_json(
        folder / TASK_CONFIG,
        TaskConfig(task=task, kind="classification", labels=labels, limits=limits),
    )
    return Model(folder)


def test_a_file_of_ones_own(small_model: Path, tmp_path: Path) -> None:
    predictor = classifier(small_model, tmp_path / "model")
    rows = [(f"{text(n)} {text(n // 10)}", str(n % 2)) for n in range(50)]
    lines = "".join(f"{words},{label}\n" for words, label in rows)
    (tmp_path / "own.csv").write_text(f"text,label\n{lines}")
    found = evaluate(predictor, tmp_path / "own.csv", columns=Columns())
    assert isinstance(found, Evaluation)
    scores = found.parts["own.csv"]
    from bertsmith.tasks.examples import TextExample

    said = predictor.predict([TextExample("", "", words) for words, _ in rows])
    right = np.mean([one.label == label for one, (_, label) in zip(said, rows, strict=True)])
    assert scores.examples == 50
    assert scores.scores["accuracy"] == pytest.approx(right)
    assert [row.support for row in scores.rows] == [25, 25]
    assert found.lines()[0] == "own.csv: 50 examples"
    assert found.lines()[1].startswith(f"  accuracy: {right:.4f} (95% interval ")
    assert found.lines()[1].endswith("), baseline 0.5000")
    assert scores.baseline == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}


def test_answers_that_are_misplaced_may_be_left_out(small_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), head_of("question-answering"))
    save_model(tmp_path / "model", model, Tokenizer.load(small_model), card="")
    path = tmp_path / "own.csv"
    path.write_text("question,context,answer\nred,old blue,blue\nred,old blue,green\n")
    predictor = Model(tmp_path / "model")
    with pytest.raises(DataError, match=r"own\.csv:3: the answer 'green' does not occur.*skip_bad"):
        evaluate(predictor, path)
    found = evaluate(predictor, path, skip_bad=True)
    assert isinstance(found, Evaluation)
    assert found.parts["own.csv"].examples == 1
    assert found.lines()[-1] == (
        "left out: 1 row (3): the answer 'green' does not occur in its context"
    )
    path.write_text("question,context,answer\nred,old blue,green\n")
    with pytest.raises(DataError, match=r"left out \(1 row \(2\): the answer 'green'"):
        evaluate(predictor, path, skip_bad=True)


def test_a_tagger_is_scored_whatever_the_scheme_of_its_tags(small_model, tmp_path):
    """CoNLL's own IOB1 begins an entity with I, and the shared task's labels have no B-PER."""
    labels = ("O", "B-LOC", "I-LOC", "I-PER")
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), head_of("token-classification", labels=labels))
    save_model(tmp_path / "model", model, Tokenizer.load(small_model), card="")
    task_config = TaskConfig(
        task="token-classification",
        kind="token-classification",
        labels=labels,
        limits=Limits(max_length=64, stride=32),
    )
    write_json(tmp_path / "model" / TASK_CONFIG, task_config)
    predictor = Model(tmp_path / "model")
    found = {}
    for scheme, mark in (("iob1", "I"), ("iob2", "B")):
        path = tmp_path / f"{scheme}.conll"
        path.write_text(f"red {mark}-PER\nblue O\n\ngreen {mark}-LOC\nold I-LOC\n")
        found[scheme] = evaluate(predictor, path).parts[path.name]
    assert found["iob1"].scores == found["iob2"].scores
    assert [(row.name, row.support) for row in found["iob1"].rows] == [("LOC", 1), ("PER", 1)]
    (tmp_path / "other.conll").write_text("red B-ORG\n")
    with pytest.raises(DataError, match=r"other\.conll.*the model does not know the label 'B-ORG'"):
        evaluate(predictor, tmp_path / "other.conll")


def test_labels_that_the_model_does_not_know(small_model: Path, tmp_path: Path) -> None:
    predictor = classifier(small_model, tmp_path / "model")
    (tmp_path / "own.csv").write_text("text,label\nred,1\nblue,2\n")
    with pytest.raises(DataError, match=r"own\.csv:3: the model does not know the label '2'"):
        evaluate(predictor, tmp_path / "own.csv", columns=Columns())
    (tmp_path / "none.csv").write_text("text\nred\n")
    with pytest.raises(DataError, match=r"none\.csv:1: no column 'label'; found 'text'"):
        evaluate(predictor, tmp_path / "none.csv", columns=Columns())


def test_an_official_test_file_has_no_labels(small_model: Path, tmp_path: Path) -> None:
    predictor = classifier(small_model, tmp_path / "model", task="rte")
    WRITERS["rte"](tmp_path / "rte")
    found = evaluate(predictor, tmp_path, columns=Columns())
    assert isinstance(found, Evaluation)
    assert found.parts["dev"].examples == 6
    with pytest.raises(DataError, match=r"test\.tsv:1: no column 'label'"):
        evaluate(predictor, tmp_path / "rte" / "test.tsv", columns=Columns())


def test_what_does_not_go_together(small_model: Path, toy_corpus: Path, tmp_path: Path) -> None:
    predictor = classifier(small_model, tmp_path / "model")
    with pytest.raises(UsageError, match="is a corpus, which scores models that predict words"):
        evaluate(predictor, toy_corpus, columns=Columns())
    with pytest.raises(UsageError, match="is a folder, but the model was fine-tuned on a file"):
        evaluate(predictor, tmp_path, columns=Columns())
    with pytest.raises(FolderError, match="was prepared with another tokenizer"):
        evaluate(Model(small_model), toy_corpus, columns=Columns())


def test_a_pretrained_model_on_its_corpus(toy_corpus: Path, tmp_path: Path) -> None:
    from bertsmith.models.bert.config import BertConfig
    from bertsmith.models.bert.heads import BertForPretraining

    tokenizer = Tokenizer.load(toy_corpus / "tokenizer")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    save_model(tmp_path / "model", BertForPretraining(config), tokenizer, card="")
    found = evaluate(Model(tmp_path / "model"), toy_corpus, columns=Columns())
    assert isinstance(found, CorpusScores)
    # Untrained: the loss of guessing among all pieces.
    assert found.scores["mlm_loss"] == pytest.approx(np.log(len(tokenizer)), abs=0.05)
    assert found.baseline["nsp_loss"] <= np.log(2)
    words = [line.split(":")[0] for line in found.lines()[:-2]]
    assert words == ["mlm loss", "mlm accuracy", "nsp loss", "nsp accuracy"]
    assert found.pair_task == "nsp"
    assert found.lines()[-2] == "on sequences of up to 64 tokens"
    assert found.lines()[-1] == (
        "nsp: the pairs are labelled as next sentences; the folder does not say which pair task "
        "the model was trained on (pretrain.json is not there)."
    )


@pytest.mark.parametrize(("pair_task", "whole_word_masking"), [("nsp", False), ("sop", True)])
def test_a_run_is_scored_as_it_scored_itself(
    toy_corpus: Path, tmp_path: Path, pair_task: str, whole_word_masking: bool
) -> None:
    write_json(tmp_path / "shape.json", SHAPE)
    config = pretrain_config(
        "modern",
        data=str(toy_corpus),
        size=str(tmp_path / "shape.json"),
        steps=2,
        batch_size=4,
        pair_task=pair_task,
        whole_word_masking=whole_word_masking,
        phases=(Phase(1.0, 48),),
        evaluate_sequences=2048,
        save_every=1,
    )
    done = pretrain.run(config, tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoints" / "step-00000002"):
        found = evaluate(Model(folder), toy_corpus)
        assert isinstance(found, CorpusScores)
        assert (found.pair_task, found.length) == (pair_task, 48)
        # The same examples as the run's own evaluation.
        assert found.scores == pytest.approx(done.metrics, abs=1e-4)
        sop = ["nsp: the pairs are labelled by sentence order (sop), as in training."]
        assert found.lines()[5:] == (sop if pair_task == "sop" else [])
