"""`bertsmith evaluate` and `predict` on the command line: flags that would not be looked at."""

from pathlib import Path

import pytest
import torch

from bertsmith.cli import main
from bertsmith.files import write_json
from bertsmith.models.folder import load_config, save_model
from bertsmith.models.tuned import BertForTask
from bertsmith.tasks.features import Limits
from bertsmith.tasks.taught import TAUGHT, Taught
from bertsmith.text.tokenizer import Tokenizer


def classifier(small_model: Path, folder: Path, task: str) -> Path:
    labels = ("entailment", "not_entailment")
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), "classify", labels=labels)
    save_model(folder, model, Tokenizer.load(small_model), card="")
    limits = Limits(longest=64, stride=32)
    write_json(folder / TAUGHT, Taught(task=task, kind="classify", labels=labels, limits=limits))
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_columns_of_another_kind_are_refused(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = classifier(small_model, tmp_path / "own", "classify")
    official = classifier(small_model, tmp_path / "official", "rte")
    file = tmp_path / "in.csv"
    file.write_text("line,label\nred,entailment\n")
    answers = ["--out", tmp_path / "out.csv"]
    for arguments in (
        ["predict", own, file, *answers, "--text", "line", "--choices", "a,b"],
        ["evaluate", own, "--data", file, "--text", "line", "--choices", "a,b"],
    ):
        assert run(*arguments) == 2
        assert capsys.readouterr().err == (
            "error: --choices names a column that 'classify' does not read, which are those of "
            "--text, --text-pair, --label: leave it out.\n"
        )
    assert run("evaluate", official, "--data", file, "--text", "line") == 2
    assert "--text names a column, but official files have their own" in capsys.readouterr().err
    # A file of one's own may be asked about by any model.
    file.write_text("line,other\nred,old\n")
    columns = ["--text", "line", "--text-pair", "other"]
    assert run("predict", official, file, *answers, *columns) == 0
    assert (tmp_path / "out.csv").read_text().startswith("line,other,predicted,")
