"""A comparison whose runs lie side by side on Ray, here on this machine's cores."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest
from conftest import write_toy_corpus
from official_files import mrpc

from bertsmith.comparison.cluster import check_side_by_side, progress_line, share
from bertsmith.comparison.job import compare
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.systems import MODELS
from bertsmith.core.errors import FolderError, MissingExtra, SystemFault, UsageError
from bertsmith.training.parallel import precision
from bertsmith.training.parallel.precision import has_native_bf16
from bertsmith.training.schedule import Phase

# On busy cores, starting Ray and its workers takes minutes.
pytestmark = pytest.mark.timeout(900)


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


def test_hours_for_everything_can_be_shared_out_side_by_side():
    check_side_by_side(Plan(corpus="c", tasks=("mrpc",), data="d", hours=2.0))
    with pytest.raises(UsageError, match="hours=2"):
        check_side_by_side(Plan(corpus="c", tasks=("mrpc",), data="d", budget="hours=2"))


@pytest.fixture(scope="module")
def done(files, ray_address):
    """A comparison that ran on Ray, of files that are named from where the command stands."""
    with contextlib.chdir(files), pytest.MonkeyPatch.context() as changes:
        changes.setenv("RAY_ADDRESS", ray_address)
        return compare(plan(files, corpus="corpus", data="data"), Path("out"), engine="ray")


def test_it_is_the_comparison_that_one_process_makes(done, files, monkeypatch):
    # The workers take the precision of their hardware, so this process must too.
    monkeypatch.setattr(precision, "has_native_bf16", has_native_bf16)
    precision.bf16_is_faster.cache_clear()
    assert [system.name for system in done.systems] == ["bert", "gpt"]
    assert all(len(system.runs["mrpc"]) == 1 for system in done.systems)
    assert "Runs shared machines" in (files / "out" / "compare.html").read_text()
    again = compare(plan(files), files / "out", resume=True)
    # Nothing was left to do, and nothing had to be done again.
    kept = ("systems", "differences", "tasks")
    assert [msgspec.to_builtins(getattr(done, name)) for name in kept] == [
        msgspec.to_builtins(getattr(again, name)) for name in kept
    ]
    alone = compare(plan(files), files / "alone")
    for one, other in zip(done.systems, alone.systems, strict=True):
        assert one.tokens == other.tokens
        # The precision is whichever is faster when it is measured: fp32 and bf16 differ by less.
        for name in ("mlm_loss", "lm_loss"):
            if name in one.evaluation:
                assert one.evaluation[name] == pytest.approx(other.evaluation[name], rel=0.02)


def test_what_a_run_raises_is_raised_here(done, files, ray_address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    out = files / "damaged"
    shutil.copytree(files / "out", out)
    (out / "compare.json").unlink()
    (out / "tuning" / "gpt" / "mrpc" / "job.json").write_text("{")
    with pytest.raises(FolderError, match=r"job\.json"):
        compare(plan(files), out, resume=True, engine="ray")
    assert not (out / "compare.json").exists()


def test_what_cannot_be_done_side_by_side_leaves_nothing(files, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"budget='hours=0\.1' would be unfair"):
        compare(plan(files, budget="hours=0.1"), out, engine="ray")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(SystemFault, match="The Ray cluster at nonsense does not answer"):
        compare(plan(files), out, engine="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'bertsmith\[cluster\]'"):
        compare(plan(files), out, engine="ray")
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_run_starts_again_and_a_signal_lets_all_save(files, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bertsmith", "compare", "--engine", "ray", "--out", str(out)]
    command += ["--corpus", str(files / "corpus"), "--data", str(files / "data")]
    command += ["--tasks", "mrpc", "--models", "bert,gpt", "--size", "tiny"]
    command += ["--phases", "32:1", "--batch-size", "16", "--budget", "tokens=5e7"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = [out / "pretraining" / name / "metrics.jsonl" for name in ("bert", "gpt")]

    def wait_for_steps(*paths: Path) -> None:
        limit = time.monotonic() + 300
        while not all(path.exists() and '"train"' in path.read_text() for path in paths):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.2)

    # On one core the runs follow each other.
    several = len(os.sched_getaffinity(0)) > 1
    wait_for_steps(*metrics[: 1 + several])
    children = psutil.Process(process.pid).children(recursive=True)
    runs = [child for child in children if "ray::_pretrain" in " ".join(child.cmdline())]
    assert len(runs) == 1 + several
    metrics[0].unlink()
    for run in runs:
        run.kill()
    wait_for_steps(metrics[0])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert "waiting for the runs to save what they have" in said
    assert "Stopped by SIGTERM with 0 of 4 runs done" in said
    assert list((out / "pretraining" / "bert" / "checkpoints").glob("step-*"))
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive


@pytest.mark.parametrize(
    ("machines", "runs", "cores", "gpus"),
    [
        ([{"CPU": 2}], 5, 1, 0),
        ([{"CPU": 64}], 3, 21, 0),
        ([{"CPU": 3}, {"CPU": 3}], 3, 1, 0),
        ([{"CPU": 8}, {"CPU": 4}], 3, 4, 0),
        ([{"CPU": 64}, {"CPU": 4, "GPU": 1}], 3, 4, 1),
        ([{"CPU": 16, "GPU": 4}], 3, 5, 1),
        ([{"CPU": 16, "GPU": 2}, {"GPU": 1}], 5, 8, 1),
    ],
)
def test_runs_get_the_cores_that_leave_room_for_all(machines, runs, cores, gpus):
    assert share(machines, runs) == (cores, gpus)


def test_a_cluster_without_cores_is_told():
    with pytest.raises(SystemFault, match="No machine of the Ray cluster offers a core"):
        share([{"memory": 1.0}, {"CPU": 0}], 2)


def test_how_far_the_pretrainings_are(tmp_path):
    def one(name):
        return SimpleNamespace(system=MODELS[name], config=SimpleNamespace(steps=50))

    todo = [one("bert"), one("gpt"), one("elmo")]
    assert progress_line(todo, tmp_path) == ""
    for name, steps in (("bert", 10), ("gpt", 50)):
        folder = tmp_path / "pretraining" / name
        folder.mkdir(parents=True)
        lines = [f'{{"kind": "train", "step": {step + 1}}}\n' for step in range(steps)]
        (folder / "metrics.jsonl").write_text("".join(lines))
    (tmp_path / "pretraining" / "gpt" / "config.json").touch()
    assert progress_line(todo, tmp_path) == "pre-training: BERT 20%"
