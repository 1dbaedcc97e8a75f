"""A comparison whose runs lie side by side on Ray, here on this machine's cores."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from conftest import write_toy_corpus
from official_files import mrpc

from bertsmith.comparison.job import compare
from bertsmith.comparison.plan import Plan
from bertsmith.config import Phase
from bertsmith.errors import FolderError, MissingExtra, SystemFault


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus and a task."""
    root = tmp_path_factory.mktemp("cluster")
    write_toy_corpus(root / "corpus", unused=[f"x{number}" for number in range(3000)])
    mrpc(root / "data" / "MRPC")
    return root


def plan(files, **changes):
    values = {
        "corpus": str(files / "corpus"),
        "tasks": ("mrpc",),
        "data": str(files / "data"),
        "models": ("bert", "gpt"),
        "budget": "tokens=20000",
        "seeds": 1,
        "size": "tiny",
        "batch_size": 16,
        "phases": (Phase(1.0, 32),),
        "epochs": 1,
    }
    return Plan(**values | changes)


@pytest.fixture(scope="module")
def done(files):
    """A comparison that ran on Ray, of files that are named from where the command stands."""
    with contextlib.chdir(files):
        return compare(plan(files, corpus="corpus", data="data"), Path("out"), engine="ray")


def test_it_is_the_comparison_that_one_process_makes(done, files):
    again = compare(plan(files), files / "out", resume=True)
    assert [system.name for system in done.systems] == ["bert", "gpt"]
    assert all(len(system.runs["mrpc"]) == 1 for system in done.systems)
    # Nothing was left to do, and nothing had to be done again.
    kept = ("systems", "differences", "tasks")
    assert [msgspec.to_builtins(getattr(done, name)) for name in kept] == [
        msgspec.to_builtins(getattr(again, name)) for name in kept
    ]
    alone = compare(plan(files), files / "alone")
    for one, other in zip(done.systems, alone.systems, strict=True):
        assert one.tokens == other.tokens
        assert one.evaluation == pytest.approx(other.evaluation, rel=1e-3)


def test_what_a_run_raises_is_raised_here(done, files):
    out = files / "damaged"
    shutil.copytree(files / "out", out)
    (out / "compare.json").unlink()
    (out / "tuning" / "gpt" / "mrpc" / "job.json").write_text("{")
    with pytest.raises(FolderError, match=r"job\.json"):
        compare(plan(files), out, resume=True, engine="ray")
    assert not (out / "compare.json").exists()


def test_a_cluster_that_is_not_there_is_told(files, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(SystemFault, match="The Ray cluster at nonsense does not answer"):
        compare(plan(files), tmp_path / "out", engine="ray")


def test_without_ray_nothing_is_begun(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'bertsmith\[cluster\]'"):
        compare(plan(files), tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


def test_a_signal_lets_the_runs_save(files, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bertsmith", "compare", "--engine", "ray", "--out", str(out)]
    command += ["--corpus", str(files / "corpus"), "--data", str(files / "data")]
    command += ["--tasks", "mrpc", "--models", "bert,gpt", "--size", "tiny"]
    command += ["--phases", "32:1", "--batch-size", "16", "--budget", "tokens=5e7"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = out / "pretraining" / "bert" / "metrics.jsonl"
    limit = time.monotonic() + 90
    while not (metrics.exists() and '"train"' in metrics.read_text()):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM with 0 of 4 runs done" in said
    assert list((out / "pretraining" / "bert" / "checkpoints").glob("step-*"))
