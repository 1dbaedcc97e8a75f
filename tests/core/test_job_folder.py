"""Whether a job may write in a folder, alone, and continue what is there."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bertsmith.core.errors import SystemFault, UsageError
from bertsmith.core.job_folder import JobFolder, check_new_file
from bertsmith.core.storage import write_sealed


class Settings(msgspec.Struct):
    rate: float = 0.1
    seed: int = 0
    data: str = "here"


def job(path: Path) -> JobFolder:
    return JobFolder(path, "a brewing", "brew.json", own=("hops.json",))


def test_new_and_empty_folders_may_be_written(tmp_path: Path) -> None:
    (tmp_path / ".brew.json.7.partial").touch()
    (tmp_path / "hops.json").touch()
    for path in (tmp_path, tmp_path / "new" / "deep"):
        job(path).check(resume=False)
        assert not job(path).begun
    assert not (tmp_path / "new").exists()


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"a brewing \(thesis\.txt, and no brew\.json\)"):
        job(tmp_path).check()
    with pytest.raises(UsageError, match=r"a tokenizer \(thesis\.txt\)"):
        JobFolder(tmp_path, "a tokenizer", own=("vocab.txt",)).check()
    with pytest.raises(UsageError, match=r"thesis\.txt' is a file; give a folder"):
        job(tmp_path / "thesis.txt").check()


def test_a_job_is_continued_only_if_that_is_wanted(tmp_path: Path) -> None:
    with job(tmp_path).enter(Settings()):
        pass
    job(tmp_path).check(resume=True)
    with pytest.raises(UsageError, match="already holds a brewing; add resume=True"):
        job(tmp_path).check(resume=False)


def test_every_changed_setting_is_named(tmp_path: Path) -> None:
    write_sealed(tmp_path / "brew.json", Settings())
    job(tmp_path).check_same(Settings(data="there"), free={"data"})
    with pytest.raises(UsageError) as caught:
        job(tmp_path).check_same(Settings(0.2, 3, "there"), free={"data"})
    assert "(rate: 0.1 -> 0.2; seed: 0 -> 3)" in str(caught.value)


def test_entering_removes_what_a_kill_left_and_keeps_others_out(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / ".model.safetensors.7.partial").touch()
    (tmp_path / ".best.7.partial").mkdir()
    with job(tmp_path).enter(Settings()):
        names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
        assert names == [".lock", "best", "brew.json"]
        with pytest.raises(UsageError, match="another process is writing to this folder"):
            job(tmp_path).enter().__enter__()
        with (
            pytest.raises(UsageError, match="another process"),
            job(tmp_path).alone(wait_seconds=0.2),
        ):
            pass
    assert not (tmp_path / ".lock").exists()


def test_a_file_is_never_overwritten_and_leftovers_of_the_dead_go(tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.touch()
    with pytest.raises(UsageError, match="is the input itself"):
        check_new_file(source, source)
    with pytest.raises(UsageError, match="is a folder"):
        check_new_file(tmp_path, source)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".out.csv.{dead.pid}.partial").touch()
    running = tmp_path / f".out.csv.{os.getpid()}.partial"
    others = tmp_path / f".out.csv.gz.{dead.pid}.partial"
    running.touch()
    others.touch()
    check_new_file(out, source)
    assert sorted(tmp_path.iterdir()) == sorted([source, running, others])
    out.touch()
    with pytest.raises(UsageError, match="already exists"):
        check_new_file(out, source)
    check_new_file(out, source, overwrite=True)


def test_dangling_links_devices_and_proc_are_no_place_to_write(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe.csv"
    link.symlink_to(tmp_path / "nowhere")
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match=r"is a link to .*nowhere, which does not exist"):
        check_new_file(link, "in.csv")
    with pytest.raises(UsageError, match=r"link\.csv' is a link to"):
        job(link).check()
    with pytest.raises(UsageError, match=r"pipe\.csv' is a device"):
        check_new_file(pipe, "in.csv", overwrite=True)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", Path("/proc/x")):
        # At once: nobody is there to wait for.
        with (
            pytest.raises(SystemFault, match=f"Could not write {path}: "),
            job(path).alone(wait_seconds=float("inf")),
        ):
            pass
