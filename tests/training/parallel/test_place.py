"""A process's device, precision and random numbers; a launcher's restart under gloo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import World
from bertsmith.training.parallel.place import Place, join

CPU = torch.device("cpu")


def test_autocast_is_what_the_precision_says() -> None:
    product = {}
    for name in ("fp32", "bf16"):
        with Place(World(), CPU, name).autocast():  # type: ignore[arg-type]
            product[name] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert product == {"fp32": torch.float32, "bf16": torch.bfloat16}


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    # The one that would have a GPU says so too: the others may not speak.
    with (
        pytest.raises(UsageError, match=r"2 processes .* has 1 GPU.* --nproc-per-node 1"),
        join("fp32"),
    ):
        pass


def test_seeding_needs_no_stack_trace_and_decides_the_draws() -> None:
    place = Place(World(), CPU, "fp32")
    place.seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3))


_WORKER = """
import os, signal, sys, time
import torch
from bertsmith.core.errors import BertsmithError, DataError
from bertsmith.training.parallel.place import join
def refuse():
    raise DataError("of the second")
with join("fp32") as place:
    total = place.total([1.0, float(place.world.rank)])
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if place.world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        place.total([0.0])
    answer = place.first_decides(lambda: {"from": place.world.rank})
    done = []
    place.together(lambda: done.append(place.world.rank))
    try:
        place.together(lambda: refuse() if place.world.rank else None)
    except BertsmithError as error:
        answer["refused"] = str(error)
    open(sys.argv[1] + str(place.world.rank), "w").write(f"{total} {answer} {done}")
"""


def test_a_killed_worker_is_restarted_under_gloo(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(_WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--max-restarts=1", str(script), str(tmp_path / "out")],
        check=True,
        timeout=120,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "SystemFault: The connection to another process of this run was lost" in done.stderr
    expected = "[2.0, 1.0] {'from': 0, 'refused': 'of the second'}"
    assert (tmp_path / "out0").read_text() == f"{expected} [0]"
    assert (tmp_path / "out1").read_text() == f"{expected} [1]"
