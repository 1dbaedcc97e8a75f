import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bertsmith.core import storage
from bertsmith.core.errors import (
    FolderError,
    SystemFault,
)
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.storage import FolderGone, atomic_folder, write_bytes


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Stop(BaseException):
    """Stands for Ctrl-C: not an Exception."""


# Files.


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    with storage.atomic_file(path) as file:
        file.write(b"ab")
        file.flush()
        assert not path.exists()
        file.write(b"c")
    assert content(tmp_path) == {"new/folder/a.bin": b"abc"}


def test_a_file_replaces_the_old_one(tmp_path):
    storage.write_bytes(tmp_path / "a", b"old")
    storage.write_bytes(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("error", [ValueError("x"), Stop(), KeyboardInterrupt()])
def test_a_failure_inside_the_block_leaves_the_old_file_or_nothing(tmp_path, error):
    def fail(path: Path) -> None:
        with storage.atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail(tmp_path / "a")
    assert content(tmp_path) == {}
    storage.write_bytes(tmp_path / "a", b"old")
    with pytest.raises(type(error)):
        fail(tmp_path / "a")
    assert content(tmp_path) == {"a": b"old"}


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL = (
    r"Could not write .*a: the disk is full; free some space and run the command again \(pretrain"
)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    storage.write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(SystemFault, match=FULL):
        storage.write_bytes(tmp_path / "a", b"new")
    with pytest.raises(SystemFault, match=FULL), storage.atomic_path(tmp_path / "a") as path:
        path.write_bytes(b"new")
    with pytest.raises(SystemFault, match=FULL):
        storage.write_json(tmp_path / "a", {"new": 1})
    assert content(tmp_path) == {"a": b"old"}


def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path):
    """A limit on the size of files is a full disk to a process: write() fails half-way."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bertsmith.core import storage as files\n"
        "from bertsmith.core.errors import SystemFault\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "out = Path(sys.argv[1])\n"
        "def folder(path):\n"
        "    with files.atomic_folder(path) as inside:\n"
        "        (inside / 'x').write_bytes(bytes(200_000))\n"
        "def place(path):\n"
        "    with files.atomic_path(path) as inside:\n"
        "        inside.write_bytes(bytes(200_000))\n"
        "for write in (\n"
        "    lambda path: files.write_bytes(path, bytes(200_000)),\n"
        "    place,\n"
        "    folder,\n"
        "):\n"
        "    try:\n"
        "        write(out / 'a')\n"
        "    except SystemFault as fault:\n"
        "        print(fault)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(f"{tmp_path}/a: the file is larger than this shell" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemFault, match=r"Could not write .*file/a: "):
        storage.write_bytes(tmp_path / "file" / "a", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemFault, match=r"folder: this is a folder where a file was expected"):
        storage.write_bytes(tmp_path / "folder", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_writer_with_a_path_of_its_own_is_atomic_too(tmp_path):
    with storage.atomic_path(tmp_path / "a") as path:
        path.write_bytes(b"abc")
    assert content(tmp_path) == {"a": b"abc"}

    def stopped() -> None:
        with storage.atomic_path(tmp_path / "a") as path:
            path.write_bytes(b"half")
            raise Stop

    with pytest.raises(Stop):
        stopped()
    assert content(tmp_path) == {"a": b"abc"}


# Folders.


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    for name in ("one", "two"):
        with storage.atomic_folder(tmp_path / "sub" / "out") as inside:
            (inside / "deep").mkdir()
            (inside / "deep" / name).write_text(name)
    assert content(tmp_path) == {"sub/out/deep/two": b"two"}
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("x"), Stop()])
def test_a_failure_leaves_the_old_folder_or_nothing(tmp_path, error):
    def fail() -> None:
        with storage.atomic_folder(tmp_path / "out") as inside:
            (inside / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list(tmp_path.iterdir()) == []
    with storage.atomic_folder(tmp_path / "out") as inside:
        (inside / "whole").write_text("old")
    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == {"out/whole": b"old"}


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    with storage.atomic_folder(tmp_path / "a") as inside:
        (inside / "whole").write_text("old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(SystemFault, match=FULL), storage.atomic_folder(tmp_path / "a") as inside:
        (inside / "half").write_text("new")
    assert content(tmp_path) == {"a/whole": b"old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_old_folder_comes_back_when_the_exchange_fails(tmp_path, monkeypatch):
    with storage.atomic_folder(tmp_path / "a") as inside:
        (inside / "whole").write_text("old")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == tmp_path / "a" and "old" not in self.name:
            _full()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SystemFault, match=FULL), storage.atomic_folder(tmp_path / "a") as inside:
        (inside / "half").write_text("new")
    assert content(tmp_path) == {"a/whole": b"old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path):
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from bertsmith.core import storage as files\n"
        "with files.atomic_folder(Path(sys.argv[1]) / 'out') as inside:\n"
        "    (inside / 'x').write_text('x')\n"
        "    with files.atomic_file(Path(sys.argv[1]) / 'a') as file:\n"
        "        file.write(b'x')\n"
        "        file.flush()\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert not (tmp_path / "out").exists()
    for name in ("kept", ".hidden", "a.partial"):
        (tmp_path / name).write_text("x")
    storage.remove_leftovers(tmp_path)
    assert sorted(content(tmp_path)) == [".hidden", "a.partial", "kept"]


# JSON.


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    layers: int


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    hidden_size: int
    name: str = "x"
    inner: Inner | None = None


def test_json_is_written_for_people_and_read_back(tmp_path):
    path = tmp_path / "a.json"
    storage.write_json(path, Shape(hidden_size=3, name="中"))
    want = '{\n  "hidden_size": 3,\n  "name": "中",\n  "inner": null\n}\n'
    assert path.read_text() == want
    assert storage.read_json(path, Shape) == Shape(3, "中")
    assert storage.read_json(path, dict) == {"hidden_size": 3, "name": "中", "inner": None}


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (
            b'{"hiden_size": 3}',
            "unknown key 'hiden_size' (perhaps you meant 'hidden_size'); remove it or correct its",
        ),
        (b'{"hidden_size": 3, "zebra": 1}', "unknown key 'zebra'; remove it or correct its name."),
        (b'{"hidden_size": "3"}', "'hidden_size' is a string, expected an integer; correct it."),
        (b"{}", "no key 'hidden_size'; add it, or restore the file from a good copy."),
        (b"[]", "found a list, expected an object; correct it."),
    ],
)
def test_json_that_does_not_fit_is_named(tmp_path, data, want):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(FolderError) as caught:
        storage.read_json(path, Shape)
    assert str(caught.value).startswith(f"{path}: {want}")


def test_an_unknown_key_inside_an_inner_object_is_named(tmp_path):
    with pytest.raises(FolderError) as caught:
        storage.parse_json(b'{"hidden_size": 1, "inner": {"layer": 2}}', Shape, "a.json")
    assert str(caught.value) == (
        "a.json: unknown key 'layer' in 'inner'; remove it or correct its name."
    )


@pytest.mark.parametrize("data", [b"", b'{"hidden_size": 3', b'{"hidden_size": 3}}', b"\xff"])
def test_json_that_is_cut_or_broken_is_named(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(
        FolderError, match=r"a\.json is not valid JSON \(.*\); it may have been cut"
    ):
        storage.read_json(path, Shape)


@pytest.mark.parametrize("data", [b'{"a": "\xff"}', b'{"a": ' + b"[" * 100_000])
def test_json_of_any_shape_that_is_not_utf8_or_too_deep_is_named(data):
    with pytest.raises(
        FolderError, match=r"a\.json is not valid JSON \(.*\); it may have been cut"
    ):
        storage.parse_json(data, dict[str, object], "a.json")


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(FolderError, match=r"none\.json is missing; check that the folder is the"):
        storage.read_json(tmp_path / "none.json", Shape)
    with pytest.raises(SystemFault, match="this is a folder where a file was expected"):
        storage.read_json(tmp_path, Shape)


# Checksums.


def test_checksums(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 1_000_000)
    assert storage.checksum(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    with pytest.raises(FolderError, match=r"none is missing; write its folder again"):
        storage.checksum(tmp_path / "none")
    with pytest.raises(SystemFault, match="this is a folder where a file was expected"):
        storage.checksum(tmp_path)


def test_a_locked_folder_that_was_removed_is_not_begun_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with JobFolder(out, "a brewing").alone():
        write_bytes(out / "deep" / "a", b"1")
        shutil.rmtree(out)
        with pytest.raises(FolderGone, match=r"out was removed or replaced"):
            write_bytes(out / "b", b"")
        with pytest.raises(FolderGone, match=r"out was"), atomic_folder(out / "c"):
            pass
    assert list(tmp_path.iterdir()) == []
    write_bytes(out / "a", b"1")
