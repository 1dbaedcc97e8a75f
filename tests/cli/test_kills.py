"""Kills of `predict`: nothing is left, at once or after the next run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from heads import head_of

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.core.storage import write_json
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def place(small_model: Path, tmp_path: Path) -> Path:
    """A folder with a classifier, many rows and a few."""
    torch.manual_seed(1)
    model = BertForTask(load_config(small_model), head_of("classification", labels=("no", "yes")))
    save_model(tmp_path / "model", model, Tokenizer.load(small_model), card="")
    limits = Limits(max_length=64, stride=32)
    task_config = TaskConfig(
        task="classification", kind="classification", labels=("no", "yes"), limits=limits
    )
    write_json(tmp_path / "model" / TASK_CONFIG, task_config)
    (tmp_path / "many.txt").write_text("the old sea and the sun\n" * 2_000_000)
    (tmp_path / "few.txt").write_text("the old sea\n" * 3)
    return tmp_path


def predict(place: Path, name: str) -> "subprocess.Popen[str]":
    words = f"-m bertsmith predict model {name} --out out.jsonl".split()
    return subprocess.Popen(
        [sys.executable, *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def killed(place: Path, number: signal.Signals) -> tuple[int, str]:
    """Exit code and messages of a `predict` that was killed while it wrote."""
    process = predict(place, "many.txt")
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in place.glob(".out.jsonl.*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


INPUTS = ["few.txt", "many.txt", "model"]


def test_sigterm_leaves_nothing(place: Path) -> None:
    code, said = killed(place, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert said == "Interrupted by SIGTERM; run the same command again.\n"
    assert names(place) == INPUTS


def test_what_sigkill_leaves_is_removed_by_the_next_run(place: Path) -> None:
    code, said = killed(place, signal.SIGKILL)
    assert (code, said) == (-signal.SIGKILL, "")
    assert len(list(place.glob(".out.jsonl.*.partial"))) == 1
    process = predict(place, "few.txt")
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert names(place) == sorted([*INPUTS, "out.jsonl"])
    assert len((place / "out.jsonl").read_text().splitlines()) == 3
