import errno
import io
import os
import sys
from typing import Any

import pytest
from s3_server import serve

from bertsmith.core import remote
from bertsmith.core.errors import MissingExtra, SystemFault, UsageError
from bertsmith.core.remote import TRIES, RemoteFolder, open_url
from bertsmith.text import documents

fsspec: Any = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def server(store):
    store.requests.clear()
    store.faults.clear()
    yield store
    store.fault = lambda method, path, number: ""


def test_urls_and_paths_are_opened(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    with open_url(str(tmp_path / "a")) as file:
        assert file.read() == b"abc"
    with open_url(f"file://{tmp_path}/a") as file:
        assert file.read() == b"abc"
    with pytest.raises(SystemFault, match="no such file or folder"):
        open_url(str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"Cannot open nosuch://a: Protocol not known: nosuch\."):
        open_url("nosuch://a")
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(MissingExtra, match=r"s3://a needs .* `pip install 'bertsmith\[s3\]'`"):
        open_url("s3://a")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"s3://a needs .* `pip install 'bertsmith\[data\]'`"):
        open_url("s3://a")


class NoCredentials(Exception):
    """As botocore's: neither an OSError nor anything else that could be named here."""


def test_what_a_remote_file_system_raises_is_one_sentence_and_bounded():
    tries = []

    class Odd(fsspec.AbstractFileSystem):
        def info(self, path, **options):
            tries.append(path)
            if "mute" in path:
                raise NoCredentials
            if "slow" in path:
                raise TimeoutError
            return {"name": path, "size": 14, "type": "file"}

        def cat_file(self, path, start=None, end=None, **options):
            tries.append(path)
            raise NoCredentials("Unable to\n  locate credentials.")

        ls = cat_file

    fsspec.register_implementation("odd", Odd, clobber=True)
    for url, why in (("odd://mute/a.txt", "NoCredentials"), ("odd://slow/a.txt", "TimeoutError")):
        tries.clear()
        with pytest.raises(SystemFault, match=f"^Could not read {url}: {why}. This was try 4 of 4"):
            open_url(url)
        assert len(tries) == TRIES
    want = "^Could not read {}: Unable to locate credentials\\. .*; check the address, the network"
    with (
        open_url("odd://half/a.txt") as file,
        pytest.raises(SystemFault, match=want.format("odd://half/a.txt")),
    ):
        file.read()
    for name in ("half/a.txt", "half/a.txt.gz", "half/a.parquet"):
        with pytest.raises(SystemFault, match="odd://half/a"):
            list(documents.read(f"odd://{name}"))
    with pytest.raises(SystemFault, match=want.format("odd://folder")):
        documents.list_files(["odd://folder"])


def test_a_file_of_unknown_length_is_copied_first():
    class Endless(fsspec.AbstractFileSystem):
        opened = 0

        def info(self, path, **options):
            return {"name": path, "size": None, "type": "file"}

        def _open(self, path, mode="rb", **options):
            Endless.opened += 1
            if Endless.opened < 3:
                raise OSError(errno.ECONNRESET, "reset")
            return io.BytesIO(b"one\n\ntwo")

    fsspec.register_implementation("endless", Endless, clobber=True)
    assert [one.text for one in documents.read("endless://a.txt")] == ["one", "two"]
    assert Endless.opened == 3


def test_a_remote_file_can_be_read_in_any_order(monkeypatch):
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    data = bytes(range(256)) * 100
    fsspec.filesystem("memory").pipe("/in/a", data)
    with open_url("memory://in/a") as file:
        assert file.seek(-2, io.SEEK_END) == 25598
        assert file.read() == b"\xfe\xff"
        file.seek(256)
        assert file.tell() == 256
        assert file.read(20_000) == data[256:20_256]
        assert file.seek(-56, io.SEEK_CUR) == 20_200
        assert file.read() == data[20_200:]
    assert file.closed


def test_names_of_a_glob_are_matched_and_a_folder_of_nothing_is_empty(server):
    folder = RemoteFolder("s3://bucket/texts")
    assert folder.files() == {}
    system: Any = remote.file_system("s3://bucket")
    for name in ("b.txt", "a.txt", "deep/c.txt", "d.md"):
        system.pipe_file(f"bucket/texts/{name}", name.encode())
    assert {name: file.size for name, file in folder.files().items()} == {
        "a.txt": 5, "b.txt": 5, "d.md": 4, "deep/c.txt": 10
    }  # fmt: skip
    assert list(RemoteFolder("s3://bucket/texts/b.txt").files()) == [""]
    list_files = documents.list_files
    root = "s3://bucket/texts"
    assert list_files([root]) == [f"{root}/a.txt", f"{root}/b.txt", f"{root}/deep/c.txt"]
    assert list_files([f"{root}/*.txt"]) == [f"{root}/a.txt", f"{root}/b.txt"]
    assert list_files([f"{root}/**/c.txt"]) == [f"{root}/deep/c.txt"]


@pytest.mark.parametrize("fault", ["500", "cut", "drop"])
def test_faults_of_a_server_cost_tries_and_nothing_else(server, tmp_path, fault):
    data = os.urandom(20_000_000)
    (tmp_path / "a").write_bytes(data)
    server.fault = lambda method, path, number: fault if number <= 2 else ""
    url = f"s3://bucket/{fault}/a"
    folder = RemoteFolder(url.removesuffix("/a"))
    put = folder.put(tmp_path / "a", "a")
    assert server.files("bucket")[f"{fault}/a"] == data
    assert folder.files() == {"a": put}
    assert put.size == len(data)
    folder.fetch("a", put, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    with open_url(url) as file:
        assert file.read() == data
    assert server.faults[fault] >= 6
    folder.remove("a")
    folder.remove("a")
    assert folder.files() == {}


def test_a_server_that_is_down_is_asked_a_bounded_number_of_times(server, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    server.fault = lambda method, path, number: "500"
    folder = RemoteFolder("s3://bucket/down")
    for ask in (
        folder.files,
        lambda: folder.put(tmp_path / "a", "a"),
        lambda: open_url("s3://bucket/down/a"),
    ):
        server.requests.clear()
        with pytest.raises(SystemFault, match=r"s3://bucket/down.* 500 .*check the address"):
            ask()
        assert max(server.requests.values()) == TRIES * (1 + remote._REQUEST_RETRIES)


def test_a_bucket_that_is_not_there_is_no_empty_folder(server):
    with pytest.raises(SystemFault, match=r"s3://nobucket/a: .*NoSuchBucket"):
        RemoteFolder("s3://nobucket/a").files()
