"""`bertsmith finetune` on the command line: what it says, what it refuses, how it is stopped."""

import json
from pathlib import Path

import official_files
import pytest

from bertsmith.checkpoints.folder import save_model
from bertsmith.cli.main import main
from bertsmith.core.storage import read_json
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_resume_of_nothing_says_so_and_glue_submit_comes_next(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    out = tmp_path / "out"
    flags = ["--model", small_model, "--data", tmp_path, "--out", out, "--epochs", 1, "--resume"]
    assert run("finetune", "rte", *flags) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"{out} has no fine-tuning to resume; starting a new one.\n")
    assert told.out.rstrip().splitlines()[-4:] == [
        f"  bertsmith evaluate {out} --data {tmp_path}",
        f"  bertsmith predict {out} INPUT --out answers.jsonl",
        f"  bertsmith serve {out}",
        f"  bertsmith glue-submit {out} RUN... --out submission.zip",
    ]
    assert run("finetune", "rte", *flags) == 0
    assert "starting a new one" not in capsys.readouterr().err
    # `info` tells how well the model does.
    assert run("info", out) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  dev ")]
    assert line.split("(")[0].split() == ["dev", "accuracy", told.out.split("accuracy: ")[1][:6]]
    assert ", baseline 0.5000" in line


@pytest.mark.parametrize(("lives", "again"), [(False, ""), (True, "with --resume ")])
def test_an_interrupt_outside_of_the_training_names_the_right_remedy(
    lives: bool,
    again: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(job: object, out: Path, *, resume: bool, language: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bertsmith.finetuning.job.finetune", interrupted)
    if lives:
        (tmp_path / "job.json").write_text("{}")
    flags = ["--model", "m", "--data", "d", "--out", tmp_path]
    assert run("finetune", "rte", *flags) == 130
    assert capsys.readouterr().err == (
        "Stopped by SIGINT at once; finished runs and the last checkpoint are saved. Run the same "
        f"command {again}to continue.\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--combine", "sum"], "--combine combines the layers of --features"),
        (
            ["--stride", 16],
            "--stride is for sliding windows, but long texts are truncated; add --long-texts",
        ),
        (["--max-length", 1], "--max-length is 1; it must be at least 8."),
        (["--learning-rate", "inf"], "--learning-rate is inf; it must be above 0 and at most 0.1."),
        (["--epochs", 10**9], "--epochs is 1000000000; it must be at most 10000"),
        (["--batch-size", 10**9], "--batch-size is 1000000000, but an epoch has 12 examples"),
        (["--words", "w"], "--words names a column, but official files have fixed columns"),
        (
            ["--frozen", "yes"],
            "--frozen applies only to ELMo; remove it. For a frozen BERT use --features",
        ),
        (["--skip-bad"], "--skip-bad is for files of your own, squad and squad2"),
    ],
)
def test_flags_that_mean_nothing_here_are_refused(
    flags: list[object],
    message: str,
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    place = ["--model", small_model, "--data", tmp_path, "--out", tmp_path / "out"]
    assert run("finetune", "rte", *place, *flags) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_a_bilstm_and_what_stays_frozen_are_flags(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    tokenizer = Tokenizer.load(small_model)
    shape = ElmoConfig(
        vocab_size=len(tokenizer), filters=((1, 4),), projection=8, lstm_width=8, characters=12
    )
    elmo = build(shape, pieces=tokenizer.vocab, pair_task=False)
    save_model(tmp_path / "elmo", elmo, tokenizer, card="")
    for number, (model, flags, expected) in enumerate(
        [
            (small_model, ["--bilstm"], (False, True)),
            (small_model, ["--frozen", "no"], (False, False)),
            (tmp_path / "elmo", [], (True, False)),
            (tmp_path / "elmo", ["--frozen", "no"], (False, False)),
        ]
    ):
        out = tmp_path / str(number)
        place = ["--model", model, "--data", tmp_path, "--out", out, "--epochs", 1]
        assert run("finetune", "rte", *place, *flags) == 0
        config = read_json(out / "results.json", FinetuneResult).config
        assert (config.frozen, config.bilstm) == expected
    saved = json.loads((tmp_path / "0" / "config.json").read_text())
    assert saved["bertsmith_task"] == {"level": "text", "bilstm": True}
    capsys.readouterr()
    assert run("finetune", "--help") == 0
    said = capsys.readouterr().out
    assert "--frozen {yes,no}" in said
    assert "--bilstm" in said
