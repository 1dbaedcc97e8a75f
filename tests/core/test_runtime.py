import os
import subprocess
import sys

import pytest

from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import (
    World,
    core_count,
    derive_seed,
    share_cores,
    world_from_environment,
)


def test_seeds_are_the_same_everywhere():
    """Golden: a change would give every run of the past other data and dropout."""
    assert derive_seed(0) == 6711488920161924273
    assert derive_seed(0, "dropout", 1) == 1429410265734651799
    code = "from bertsmith.core.runtime import derive_seed; print(derive_seed(7, 'pairs', 3))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert seen == {f"{derive_seed(7, 'pairs', 3)}\n"}


def test_seeds_differ_and_fill_63_bits():
    seeds = [derive_seed(seed, "mask", step) for seed in range(20) for step in range(100)]
    assert len(set(seeds)) == 2000
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    for bit in range(63):
        ones = sum(seed >> bit & 1 for seed in seeds)
        assert 850 < ones < 1150  # 1000 expected, standard deviation 22


def test_parts_of_a_seed_do_not_run_together():
    given = [("a", "b"), ("ab",), ("a", "", "b"), (1, 2), (12,), ("1", 2), (1, "2"), ("b", "a")]
    assert len({derive_seed(*parts) for parts in given}) == len(given)


def test_a_lone_process_is_a_world_of_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world_from_environment() == World(rank=0, size=1, local_rank=0)
    assert world_from_environment().first


def test_torchrun_tells_the_place_in_the_world(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    world = world_from_environment()
    assert (world.rank, world.size, world.local_rank, world.first) == (5, 8, 1, False)
    assert world.local_size == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert world_from_environment().local_size == 4


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("RANK", "one", "RANK is 'one', expected a number from 0 up"),
        ("RANK", "-1", "RANK is '-1'"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0', expected a number from 1 up"),
        ("BERTSMITH_TIMEOUT_SECONDS", "0", "SECONDS is '0', expected a number from 1 up"),
        ("LOCAL_RANK", "", "LOCAL_RANK is ''"),
        ("RANK", "3", "says RANK=3 of WORLD_SIZE=1; start the processes with `torchrun`"),
    ],
)
def test_a_place_that_torchrun_would_not_give_is_refused(monkeypatch, name, value, found):
    for other in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=found):
        world_from_environment()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_the_cores_that_may_be_used_are_counted():
    code = (
        "import os\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from bertsmith.core.runtime import core_count\n"
        "print(core_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert core_count() == len(os.sched_getaffinity(0))


def test_the_ground_needs_no_torch():
    code = (
        "import sys\n"
        "import bertsmith.core.errors, bertsmith.core.storage, bertsmith.core.runtime\n"
        "import bertsmith.text.documents, bertsmith.text.sentences\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is what keeps memory")
@pytest.mark.parametrize("keeps", [False, True])
def test_freed_memory_goes_back_to_the_system(keeps):
    # What lies between blocks in use stays for now; what is at the heap's end only if it is kept.
    code = (
        "from pathlib import Path\n"
        "from bertsmith.core.runtime import keep_freed_memory, return_freed_memory\n"
        "def mebibytes():\n"
        "    rows = Path('/proc/self/status').read_text().split('\\n')\n"
        "    return next(int(row.split()[1]) for row in rows if 'RssAnon' in row) // 1024\n"
        f"if {keeps}: keep_freed_memory()\n"
        "blocks = [b'x' * 100_000 for _ in range(2000)]\n"
        f"kept = [] if {keeps} else blocks[::50]\n"
        "del blocks\n"
        "before = mebibytes()\n"
        "return_freed_memory()\n"
        "print(before, mebibytes())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 150
    assert after < 60


def test_idle_threads_sleep_unless_the_user_wants_them_to_spin(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "0")  # So that it is put back.
        monkeypatch.delenv(name)
    share_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    share_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
