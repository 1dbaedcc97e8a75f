"""Local copies of remote folders: what is there when, and what stays in the cache."""

import itertools
from pathlib import Path

import pytest

from bertsmith.core import mirror, remote
from bertsmith.core.errors import SystemFault, UsageError
from bertsmith.core.mirror import fetched, local_path, written

fsspec = pytest.importorskip("fsspec")
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.0)
    return tmp_path / "cache" / "bertsmith"


@pytest.fixture
def url():
    """An empty remote folder."""
    return f"memory://bucket{next(_numbers)}/runs/one"


def there(url: str) -> dict[str, bytes]:
    system = remote.file_system(url)
    root = system._strip_protocol(url)
    return {name.removeprefix(f"{root}/"): system.cat_file(name) for name in system.find(root)}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def elsewhere(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes on as another machine, which has nothing in its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine{next(_numbers)}"))


def test_local_paths_are_themselves(tmp_path, cache):
    assert fetched(tmp_path) == local_path(str(tmp_path)) == tmp_path
    with written(tmp_path / "out") as out:
        assert out == tmp_path / "out"
    assert not cache.exists()


def test_what_a_job_writes_is_there_at_its_end_and_what_is_there_comes_first(
    url, tmp_path, monkeypatch
):
    with written(url) as out:
        assert out.name == "one"
        write(out, a="1", deep__b="2", config_json="{}")
        (out / ".parts").mkdir()
        (out / ".parts" / "1").write_text("private")
    assert there(url) == {"a": b"1", "deep/b": b"2", "config.json": b"{}"}
    assert (fetched(url) / "deep" / "b").read_text() == "2"
    elsewhere(url, tmp_path, monkeypatch)
    with written(url) as out:
        assert (out / "deep" / "b").read_text() == "2"
        (out / "a").unlink()
        write(out, deep__b="3")
    assert there(url) == {"deep/b": b"3", "config.json": b"{}"}


def test_a_copy_to_read_is_of_one_version(url):
    with written(url) as out:
        write(out, a="1")
    first = fetched(url)
    assert fetched(url) == fetched(first) == first
    with written(url) as out:
        write(out, a="22")
    assert (fetched(url) / "a").read_text() == "22"
    assert (first / "a").read_text() == "1"


def test_a_folder_is_complete_there_only_when_all_of_it_is(url, monkeypatch):
    with written(url) as out:
        write(out, w="old", config_json="old")
    seen = []
    plain = remote.RemoteFolder.put, remote.RemoteFolder.remove

    def put(self, source, name):
        found = plain[0](self, source, name)
        seen.append((name, sorted(there(url))))
        return found

    monkeypatch.setattr(remote.RemoteFolder, "put", put)
    with written(url) as out:
        write(out, w="new", x="new", config_json="new", checkpoints__1__trainer_json="{}")
        write(out, checkpoints__1__w="1")
        (out / "log.jsonl").write_text("1\n")
    assert [name for name, _ in seen] == [
        "log.jsonl", "checkpoints/1/w", "w", "x", "checkpoints/1/trainer.json", "config.json"
    ]  # fmt: skip
    assert all("config.json" not in found for _, found in seen[:-1])


def test_what_appears_is_there_while_the_job_runs_and_outages_pass(url, monkeypatch, capsys):
    monkeypatch.setattr(mirror, "_PUSH_SECONDS", 0.01)
    plain, down = remote.RemoteFolder.put, [True]

    def put(self, source, name):
        if down[0]:
            down[0] = False
            raise SystemFault("The server is down.")
        return plain(self, source, name)

    monkeypatch.setattr(remote.RemoteFolder, "put", put)
    with written(url) as out:
        write(out, a="1")
        for _ in range(3000):
            if there(url):
                break
            mirror.time.sleep(0.01)
        assert there(url) == {"a": b"1"}
    assert "Warning: The server is down." in capsys.readouterr().err


def test_work_of_a_job_whose_server_died_is_kept_and_put_there_by_the_next(url, monkeypatch):
    with monkeypatch.context() as changes:

        def down(self, source, name):
            raise SystemFault("Could not write: it is down.")

        changes.setattr(remote.RemoteFolder, "put", down)
        with (
            pytest.raises(SystemFault, match=r"it is down\. The result is whole in .*resume=True"),
            written(url) as out,
        ):
            write(out, a="1")
    assert there(url) == {}
    with written(url) as out:
        assert (out / "a").read_text() == "1"
    assert there(url) == {"a": b"1"}


def test_what_another_machine_has_written_since_goes_before(url, tmp_path, monkeypatch):
    with written(url) as out:
        write(out, a="1", b="1")
    remote.file_system(url).pipe_file(f"{url}/a", b"another")
    with written(url) as out:
        assert (out / "a").read_text() == "another"
        assert (out / "b").read_text() == "1"


def test_errors_and_messages_name_the_url(url, capsys):
    with pytest.raises(UsageError) as caught, written(url) as out:
        raise UsageError(f"{out}/x is wrong.")
    assert str(caught.value) == f"{url}/x is wrong."
    with pytest.raises(UsageError, match=f"{url}/none does not exist or is empty"):
        fetched(f"{url}/none")


def test_a_name_that_leads_out_of_the_folder_is_refused(url, monkeypatch):
    files = {"../x": remote.RemoteFile(1, "")}
    monkeypatch.setattr(remote.RemoteFolder, "files", lambda self: files)
    with pytest.raises(UsageError, match=r"'\.\./x' leads out of the folder"):
        fetched(url)


def test_the_cache_is_bounded_and_the_longest_unused_goes_first(cache, monkeypatch):
    urls = [f"memory://lru{next(_numbers)}/m" for _ in range(4)]
    for one in urls:
        remote.file_system(one).pipe_file(f"{one}/w", b"x" * 1000)
    monkeypatch.setenv(mirror.SIZE, "3.2e-6")
    copies = [fetched(one) for one in urls[:3]]
    # All are in use by this process.
    with pytest.raises(UsageError, match=r"Set BERTSMITH_CACHE_GB to at least 4"):
        fetched(urls[3])
    for number, copy in enumerate(copies):
        mirror.os.utime(copy.parent / ".record.json", (number, number))
    for descriptor in [mirror._held_copies.pop(copy) for copy in copies]:
        mirror.os.close(descriptor)
    fetched(urls[3])
    assert [copy.exists() for copy in copies] == [False, True, True]
    monkeypatch.setenv(mirror.SIZE, "much")
    with pytest.raises(UsageError, match="'much', expected a number of gigabytes"):
        fetched(urls[0])
