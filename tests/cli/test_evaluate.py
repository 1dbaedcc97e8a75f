"""`bertsmith evaluate` and `predict` on the command line: flags that would not be looked at."""

import json
from pathlib import Path

import pytest
import torch
from heads import head_of

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.cli.main import main
from bertsmith.core.storage import write_json
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def classifier(small_model: Path, folder: Path, task: str) -> Path:
    """A classifier of two classes, for a pair of texts if the task is `rte`."""
    labels = ("entailment", "not_entailment")
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), head_of("classification", labels=labels))
    save_model(folder, model, Tokenizer.load(small_model), card="")
    limits = Limits(max_length=64, stride=32)
    write_json(
        folder / TASK_CONFIG,
        TaskConfig(task=task, kind="classification", labels=labels, limits=limits),
    )
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_columns_of_another_kind_are_refused(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = classifier(small_model, tmp_path / "own", "classification")
    official = classifier(small_model, tmp_path / "official", "rte")
    file = tmp_path / "in.csv"
    file.write_text("line,label\nred,entailment\n")
    answers = ["--out", tmp_path / "out.csv"]
    for arguments in (
        ["predict", own, file, *answers, "--text", "line", "--choices", "a,b"],
        ["evaluate", own, "--data", file, "--text", "line", "--choices", "a,b"],
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: --choices names a column that 'classification' does not")
        assert "--text, --text-pair, --label" in error
    assert run("evaluate", official, "--data", file, "--text", "line") == 2
    assert "--text names a column, but official files have fixed" in capsys.readouterr().err
    # A file of one's own may be asked about by any model.
    file.write_text("line,other\nred,old\n")
    columns = ["--text", "line", "--text-pair", "other"]
    assert run("predict", official, file, *answers, *columns) == 0
    assert (tmp_path / "out.csv").read_text().startswith("line,other,predicted,")


def test_minimal_pairs(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.jsonl"
    pairs = [("red old", "blue new"), ("the kind", "the olds"), ("a cat", "a dog")]
    lines = [json.dumps({"sentence_good": a, "sentence_bad": b, "UID": "x"}) for a, b in pairs]
    path.write_text("\n".join(lines))
    asked = ["evaluate", small_model, "--minimal-pairs", path]
    assert run(*asked, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["overall"]["pairs"], found["chance"], found["precision"]) == (3, 0.5, "fp32")
    [paradigm] = found["paradigms"]
    assert (paradigm["name"], paradigm["ties"]) == ("x", 1)
    assert paradigm["score"] == pytest.approx(paradigm["right"] / 3)
    assert run(*asked, "--limit", 2) == 0
    assert "The first 2 pairs of each paradigm." in capsys.readouterr().out

    path.write_text('{"sentence_good": "red"}')
    assert run(*asked) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}:1: no key 'sentence_bad'")
    assert len(error.splitlines()) == 1


def test_what_does_not_go_with_minimal_pairs(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = ["--minimal-pairs", "some.jsonl"]
    for model, arguments, facts in (
        (small_model, [], ("--data", "--minimal-pairs")),
        (small_model, [*pairs, "--data", "x"], ("--data and --minimal-pairs cannot",)),
        (small_model, [*pairs, "--text", "x"], ("--text works only with --data",)),
        (small_model, [*pairs, "--skip-bad"], ("--skip-bad works only with --data",)),
        (small_model, ["--data", "x", "--limit", 3], ("--limit works only with --minimal-pairs",)),
        (
            classifier(small_model, tmp_path / "own", "classification"),
            pairs,
            (f"{tmp_path / 'own'} has no head that predicts words", "minimal pairs"),
        ),
    ):
        assert run("evaluate", model, *arguments) == 2
        error = capsys.readouterr().err
        assert all(fact in error for fact in facts), error
