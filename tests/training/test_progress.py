"""What a run tells: metrics of every step once, rates as tokens over seconds, plain lines."""

import json
import shutil
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertsmith.core import terminal
from bertsmith.core.errors import FolderError, SystemFault
from bertsmith.training import progress
from bertsmith.training.progress import Metrics, Rate, Reporter, read_metrics


def test_rate_is_tokens_over_seconds_of_the_last_steps() -> None:
    rate = Rate(window=2)
    assert rate.tokens_per_second == 0
    rate.add(1000, 0.1)
    rate.add(300, 1.0)
    rate.add(500, 1.0)
    assert rate.tokens_per_second == 400


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, resume_step=-1)
    for step in range(1, 6):
        metrics.write("train", step, {"loss": 1 / step})
    metrics.write("evaluation", 5, {"mlm_loss": 2.0})
    metrics.close()
    with path.open("ab") as file:
        file.write(b'{"kind":"train","st')
    resumed = Metrics(path, resume_step=3)
    resumed.write("train", 4, {"loss": 0.5})
    resumed.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["step"], record["loss"]) for record in records] == [
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
        (4, 0.5),
    ]
    assert read_metrics(path) == records
    Metrics(path, resume_step=-1).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (b'{"kind":"train","st', "line 2 is not an object of a run's numbers .*; delete that line"),
        (b"[1]", "line 2 is not an object of a run's numbers"),
        (b'{"kind":"train"}', "line 2 has no kind or no step"),
        (b'{"kind":"train","step":"3"}', "line 2 has no kind or no step"),
    ],
)
def test_damage_before_the_last_line_is_named(tmp_path: Path, damage: bytes, found: str) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = b'{"kind":"train","step":1}\n'
    path.write_bytes(whole + damage + b"\n" + whole)
    with pytest.raises(FolderError, match=rf"metrics\.jsonl {found}"):
        Metrics(path, resume_step=9)
    path.write_bytes(whole + damage)
    assert read_metrics(path) == [{"kind": "train", "step": 1}]


def test_the_use_of_the_hardware_is_of_each_phase_s_own_operations() -> None:
    @dataclass
    class Batch:
        tokens: int

    rate = Rate(operations=lambda batches: 6 * sum(batch.tokens for batch in batches), peak=1200)
    rate.add(100, 1.0)
    assert rate.numbers(0, [Batch(10), Batch(40)]) == {"tokens_per_second": 100, "mfu": 0.5}
    # A later step does not count its operations again.
    assert rate.numbers(0, [])["mfu"] == 0.5
    slower = Rate(operations=lambda batches: 24.0, peak=1200)
    slower.add(100, 1.0)
    assert [slower.numbers(phase, [Batch(8 >> phase)])["mfu"] for phase in (0, 1)] == [0.25, 0.5]
    assert Rate().numbers(0, []) == {"tokens_per_second": 0}


def test_plain_lines_say_what_a_bar_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 20.0])
    monkeypatch.setattr(terminal, "time", types.SimpleNamespace(monotonic=lambda: next(times)))
    with Reporter(tmp_path) as reporter:
        for step in range(3):
            values = {"loss": 2.0, "tokens_per_second": 12345.6, "elapsed": 1.0}
            used = {"mfu": 0.614} if step else {}
            reporter.train(step + 1, step * 0.25, values | used)
        reporter.evaluation(3, {"mlm_loss": 1.5, "mlm_accuracy": 0.25})
    assert capsys.readouterr().err.splitlines() == [
        "  0%  step 1  loss 2.000  12,346 tokens/s  ETA -",
        # 50% in 20 seconds, so the other half takes 20 more
        " 50%  step 3  loss 2.000  12,346 tokens/s  61% MFU  ETA 0:00:20",
        "held-out at step 3: mlm loss 1.500  mlm accuracy 0.250",
    ]


def test_an_evaluation_is_called_by_its_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Reporter(tmp_path, evaluated="dev") as reporter:
        reporter.evaluation(3, {"f1": 0.5})
        reporter.evaluation(4, {})
    assert capsys.readouterr().err == "dev at step 3: f1 0.500\ndev at step 4: undefined\n"


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(None) as reporter:
        reporter.note("x")
        reporter.train(1, 0.5, {"loss": 2.0, "tokens_per_second": 1.0})
        reporter.evaluation(1, {})
        reporter.baseline({})
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_numbers_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            seen.append((folder, purge_step))

        def add_scalar(self, *scalar: object) -> None:
            seen.append(scalar)

        def close(self) -> None:
            seen.append(("closed",))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: name)
    with Reporter(tmp_path, resume_step=4) as reporter:
        reporter.evaluation(6, {"mlm_loss": 1.5})
    assert seen == [
        (str(tmp_path / "tensorboard"), 5),
        ("evaluation/mlm_loss", 1.5, 6),
        ("closed",),
    ]


def test_a_folder_that_is_removed_ends_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = {"loss": 2.0, "tokens_per_second": 1.0}
    with Reporter(tmp_path / "run") as reporter:
        reporter.train(1, 0.1, values)
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(SystemFault, match="removed or replaced"):
            reporter.train(2, 0.2, values)
    assert "Traceback" not in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
