"""A lock is held by one at a time, although every holder removes its file."""

import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from bertsmith.core import locks
from bertsmith.core.locks import try_lock, unlock


def test_one_holds_it_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    held = try_lock(path)
    assert held is not None
    assert try_lock(path) is None
    assert path.exists()
    unlock(path, held)
    assert list(tmp_path.iterdir()) == []
    again = try_lock(path)
    assert again is not None
    unlock(path, again)


def test_a_holder_that_was_killed_leaves_a_file_that_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    killed = try_lock(path)
    assert killed is not None
    os.close(killed)  # as the system does
    assert path.exists()
    held = try_lock(path)
    assert held is not None
    unlock(path, held)
    assert not path.exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """Between opening the file and locking it, its holder removes it and perhaps another comes."""
    path = tmp_path / ".lock"
    calls = []

    def late(descriptor: int, how: int) -> None:
        calls.append(os.fstat(descriptor).st_ino)
        if len(calls) == 1:
            path.unlink()
            if replaced:
                path.touch()
        fcntl.flock(descriptor, how)

    monkeypatch.setattr(locks, "fcntl", FakeFcntl(late))
    held = try_lock(path)
    assert held is not None
    assert calls[-1] == path.stat().st_ino == os.fstat(held).st_ino
    assert len(calls) == 2
    assert try_lock(path) is None
    unlock(path, held)


class FakeFcntl:
    LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, flock: object) -> None:
        self.flock = flock


TIMES = 50


def contend(folder: str, wrong: "multiprocessing.Queue[int]") -> None:
    """Takes and gives up the lock `TIMES` times; counts how often it was not alone."""
    path, inside = Path(folder) / ".lock", Path(folder) / "inside"
    taken = others = 0
    while taken < TIMES:
        held = try_lock(path)
        if held is None:
            continue
        try:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
        except OSError:
            others += 1
        taken += 1
        unlock(path, held)
    wrong.put(others)


def test_many_processes_are_never_in_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wrong = context.Queue()
    processes = [context.Process(target=contend, args=(str(tmp_path), wrong)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [wrong.get(timeout=120) for _ in processes] == [0] * 4
    for process in processes:
        process.join()
