"""Worker processes: every job once, errors as they were raised, nobody left behind."""

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bertsmith.core import extras, storage
from bertsmith.core.errors import FolderError, MissingExtra, SystemFault, UsageError
from bertsmith.core.workers import run


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    before = set(psutil.Process().children())  # helpers of tests that ran earlier
    descriptor = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    yield descriptor
    os.close(descriptor)
    assert set(psutil.Process().children()) <= before


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_answered_once(lock: int, workers: int) -> None:
    jobs = iter(range(-40, 0))
    assert sorted(run(abs, jobs, workers=workers, keep_open=lock)) == list(range(1, 41))


def test_large_jobs_pass(lock: int) -> None:
    jobs = [b"x" * (3 << 20) for _ in range(5)]
    assert list(run(len, jobs, workers=2, keep_open=lock)) == [3 << 20] * 5


def test_few_jobs_need_few_processes(lock: int) -> None:
    pids = set(run(_pid_of, [0], workers=4, keep_open=lock))
    assert pids == {os.getpid()}


def _pid_of(job: int) -> int:
    return os.getpid()


def test_jobs_are_read_as_they_are_needed(lock: int) -> None:
    read: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    answers = run(abs, jobs(), workers=2, keep_open=lock)
    next(answers)
    assert len(read) <= 4
    answers.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_as_it_was_raised(tmp_path: Path, lock: int, workers: int) -> None:
    absent = [tmp_path / "absent", tmp_path / "absent"]
    with pytest.raises(FolderError, match=r"absent is missing; write its folder again"):
        list(run(storage.checksum, absent, workers=workers, keep_open=lock))
    need = functools.partial(extras.require, extra="fast", purpose="This")
    with pytest.raises(MissingExtra, match=r"This needs an optional package: run `pip install"):
        list(run(need, ["no_such_a", "no_such_b"], workers=workers, keep_open=lock))


def test_an_error_in_the_reader_ends_the_workers(lock: int) -> None:
    def jobs() -> Iterator[int]:
        yield from range(4)
        raise FolderError("no more")

    with pytest.raises(FolderError, match="no more"):
        list(run(abs, jobs(), workers=2, keep_open=lock))


def test_a_worker_that_dies_is_reported(lock: int) -> None:
    with pytest.raises(SystemFault, match=r"killed by SIGKILL \(the machine may be out of memory"):
        list(run(signal.raise_signal, [9, 9], workers=2, keep_open=lock))
    with pytest.raises(SystemFault, match=r"ended with exit code 3; run the same command again"):
        list(run(os._exit, [3, 3], workers=2, keep_open=lock))


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(UsageError, match=r"workers is 0; it must be at least 1 and"):
        list(run(abs, [1], workers=0))


def test_a_plain_script_without_a_guard_uses_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from bertsmith.core.workers import run\nprint(sorted(run(abs, [-1, -2, -3], workers=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[1, 2, 3]\n", "")


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.5])
def test_ctrl_c_gives_no_traceback_but_the_callers_own(moment: float) -> None:
    """The signal goes to the whole group, as a terminal sends it.

    A shell that starts a job in the background makes it ignore Ctrl-C; the child listens again.
    """
    code = (
        "import itertools, signal, sys\nfrom bertsmith.core.workers import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    print('ready', flush=True)\n    list(run(abs, itertools.count(), workers=2))\n"
        "except KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()  # its workers end with it
    assert (process.returncode, said) == (7, b"")


def test_workers_of_a_killed_parent_say_nothing() -> None:
    """Their job fails after the parent was killed, as it does where the parent's folder is gone."""
    code = (
        "import os, signal, sys, time\nfrom bertsmith.core import workers\n"
        "def wait_and_fail(parent):\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        "    raise OSError('gone')\n"
    )
    child = (
        "import os, sys, time\nsys.path.insert(0, sys.argv[1])\nimport failing\n"
        "from bertsmith.core.workers import Worker\n"
        "worker = Worker.start()\nworker.send(failing.wait_and_fail)\nworker.send(os.getpid())\n"
        "print(worker.process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "failing.py").write_text(code)
        process = subprocess.Popen(
            [sys.executable, "-c", child, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"},
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        # Standard error ends with the worker, which has it too.
        _, said = process.communicate(timeout=120)
    assert said == b""


@pytest.mark.parametrize("workers", [0, 10**20])
def test_an_impossible_number_of_workers_is_refused(workers: int) -> None:
    with pytest.raises(UsageError, match=f"workers is {workers}; it must be"):
        list(run(abs, [1], workers=workers))
