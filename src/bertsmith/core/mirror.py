"""Remote folders as local ones: jobs read and write a local copy, and know no URL.

`fetched` gives the copy of a remote folder to read. `written` gives the folder that a job writes
and keeps the remote one behind it: a thread puts there what has appeared, always in such an order
that what is there is what a kill might have left on a disk. Logs go first; the file that declares a
folder complete goes last, and is removed before anything beside it changes. Names that begin with a
dot are private to this machine: locks, half-written files, the parts of an unfinished corpus.

The copies are in a cache, `~/.cache/bertsmith` (`XDG_CACHE_HOME`), bounded by
`BERTSMITH_CACHE_GB`: when a new one does not fit, those that were not used for longest go, unless
a process uses them or they hold what is not remote yet.
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from bertsmith.core.errors import (
    RESUME,
    BertsmithError,
    SystemFault,
    UsageError,
    explain_os_error,
)
from bertsmith.core.locks import release, try_lock
from bertsmith.core.remote import RemoteFile, RemoteFolder, copies, in_urls, is_url
from bertsmith.core.runtime import world_from_environment
from bertsmith.core.storage import read_json, write_json
from bertsmith.core.terminal import say

SIZE = "BERTSMITH_CACHE_GB"
"""The environment variable with the bound of the cache, in gigabytes (10**9 bytes)."""

_DEFAULT_GIGABYTES = 50.0
_PUSH_SECONDS = 5.0
"""Between two looks for what has appeared."""
_COMPLETE = ("trainer.json", "manifest.json", "config.json", "compare.json")
"""Files that declare a folder complete."""
_LOG = ".jsonl"
_RECORD = ".record.json"
_LOCK = ".lock"
_LOOK_SECONDS = 0.2

_held_copies: dict[Path, int | None] = {}
"""Copies that this process keeps in the cache until it ends, and its locks on them."""


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """What was equal here and there; beside the copy, of a copy to read when it is whole."""

    url: str
    files: dict[str, tuple[RemoteFile, int, int]] = {}
    """By path: the remote file, and the local one's bytes and time of change in nanoseconds."""
    pushed: bool = True
    """Whether everything here is there."""


def fetched(path: str | os.PathLike[str]) -> Path:
    """A local folder or file as it is; of a remote one a local copy, whose sizes are compared.

    Processes of one machine share it. It stays in the cache as long as this process lives.

    Raises:
        UsageError: there is nothing at the URL, or it does not fit in the cache.
        SystemFault: the server or the network refused.
        MissingExtra: the package for the protocol is not installed.
    """
    url = _url_of(path)
    if not url or Path(path) in _held_copies:
        return Path(path)
    remote = RemoteFolder(url)
    files = remote.files()
    if not files:
        raise UsageError(f"{url} does not exist or is empty; check the address.")
    # What is there may change while this copy is used: its version is part of its name.
    entry = _entry(url, *sorted(f"{name} {file}" for name, file in files.items()))
    copy = entry / PurePosixPath(url).name
    if copy in _held_copies:
        return copy
    while not (entry / _RECORD).exists():
        with _locked(entry, shared=False) as mine:
            if mine and not (entry / _RECORD).exists():
                _fetch(remote, files, copy)
                write_json(entry / _RECORD, _Record(url))
        if not mine:
            time.sleep(_LOOK_SECONDS)
    os.utime(entry / _RECORD)
    _held_copies[copy] = try_lock(entry / _LOCK, shared=True)
    copies[copy] = url
    return copy


def local_path(out: str | os.PathLike[str]) -> Path:
    """The path of what a job writes: `out` itself or, of a URL, its place in the cache."""
    if not is_url(out):
        return Path(out)
    url = str(out).rstrip("/")
    copy = _entry(url) / PurePosixPath(url).name
    copies[copy] = url
    return copy


@contextlib.contextmanager
def written(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields the local folder for a job to write or to continue; a remote one follows it.

    Nothing of the remote folder is lost: what is there comes here first, unless only this machine
    has written it since. One job at a time may write a remote folder; that is not checked between
    machines.

    Raises:
        UsageError: what is there does not fit in the cache.
        SystemFault: the server or the network refused; what was written stays in the cache, and
            the next job in the folder brings it there.
    """
    url = _url_of(out)
    if not url:
        yield Path(out)
        return
    copy, world = local_path(url), world_from_environment()
    if world.local_rank:
        # It meets the first of its machine when they join, before any looks into the folder.
        yield copy
        return
    remote = RemoteFolder(url)
    with _locked(copy.parent, shared=False) as mine:
        if mine:
            _pull(remote, copy)
    # Of another process at work here: the job refuses by the lock of the folder itself.
    push = _Push(remote, copy).following() if mine and world.first else contextlib.nullcontext()
    with _locked(copy.parent, shared=True), push:
        try:
            yield copy
        except BertsmithError as error:
            error.args = tuple(in_urls(str(part)) for part in error.args)
            raise


def _url_of(path: str | os.PathLike[str]) -> str:
    """The URL, of one or of what `local_path` gave for one; empty: it is a local path."""
    return str(path).rstrip("/") if is_url(path) else copies.get(Path(path), "")


def _entry(*parts: str) -> Path:
    """A folder of the cache: the copy under its own name, the record and the lock."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
    return Path(root) / "bertsmith" / name


@contextlib.contextmanager
def _locked(entry: Path, *, shared: bool) -> Iterator[bool]:
    """Locks a cache entry, or yields False where another process has a lock that excludes it."""
    try:
        entry.mkdir(parents=True, exist_ok=True)
        lock = try_lock(entry / _LOCK, shared=shared)
    except OSError as error:
        raise explain_os_error(error, "write", entry) from error
    try:
        yield lock is not None
    finally:
        if lock is not None:
            release(entry / _LOCK, lock)


def _fetch(remote: RemoteFolder, files: dict[str, RemoteFile], copy: Path) -> None:
    """Copies files from there to here, but for those that are here."""
    size = sum(file.size for file in files.values())
    _make_room(size, remote.url, copy.parent)
    say(f"Fetching {remote.url}: {len(files)} files, {size / 1e6:,.1f} MB.")
    for name, file in files.items():
        if ".." in PurePosixPath(name).parts:
            raise UsageError(f"{remote.url}: the file name {name!r} leads out of the folder.")
        target = copy / name if name else copy
        if not (target.is_file() and target.stat().st_size == file.size):
            remote.fetch(name, file, target)


def _pull(remote: RemoteFolder, copy: Path) -> None:
    """Makes the folder here equal to the one there, unless only this machine has written since."""
    place = copy.parent / _RECORD
    record = read_json(place, _Record) if place.exists() else _Record(remote.url)
    there, here = remote.files(), _files(copy)
    if there == {name: file for name, (file, *_) in record.files.items()}:
        return
    for name, found in here.items():
        # Another machine has written: what was not put there from here gives way.
        known = record.files.get(name)
        if known is None or known[0] != there.get(name) or known[1:] != found:
            _local(copy, name).unlink()
    _fetch(remote, there, copy)
    here = _files(copy)
    record.files = {name: (file, *here[name]) for name, file in there.items()}
    write_json(place, record)


def _files(copy: Path) -> dict[str, tuple[int, int]]:
    """Bytes and time of change of all files here that are not hidden; one file is called ''."""
    if copy.is_file():
        return {"": _state(copy)}
    found = {}
    for path in copy.rglob("*"):
        inside = path.relative_to(copy)
        if any(part.startswith(".") for part in inside.parts):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if path.is_file():
                found[inside.as_posix()] = _state(path)
    return found


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _local(copy: Path, name: str) -> Path:
    return copy / name if name else copy


class _Push:
    """Puts what a job writes here there, as it appears."""

    def __init__(self, remote: RemoteFolder, copy: Path) -> None:
        self._remote, self._copy = remote, copy
        self._place = copy.parent / _RECORD
        place = self._place
        self._record = read_json(place, _Record) if place.exists() else _Record(remote.url)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Pushes while the block runs, and all that is left at its end."""
        self._record.pushed = False
        write_json(self._place, self._record)
        over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            over.set()
            thread.join()
            try:
                self._push()
            except BertsmithError as error:
                say(f"{error} What was written is in {self._copy}.")
            raise
        over.set()
        thread.join()
        try:
            self._push()
        except BertsmithError as error:
            raise SystemFault(
                f"{str(error).rstrip('.')}. The result is whole in {self._copy.parent}, and the "
                f"same command with {RESUME} puts it there."
            ) from error
        self._record.pushed = True
        write_json(self._place, self._record)

    def _follow(self, over: threading.Event) -> None:
        failed = False
        while not over.wait(_PUSH_SECONDS):
            try:
                self._push()
                failed = False
            except BertsmithError as error:
                # The job goes on: perhaps the server does, too, before it ends.
                if not failed:
                    say(f"Warning: {error}")
                failed = True

    def _push(self) -> None:
        here, known = _files(self._copy), self._record.files
        changed = [name for name, state in here.items() if known.get(name, ())[1:] != state]
        gone = [name for name in known if name not in here]
        # A folder that changes is not complete until the file that says so is there again.
        others = [name for name in changed if not _declares(name)]
        for name in [*changed, *gone]:
            if _declares(name) and name in known and any(_is_beside(one, name) for one in others):
                self._forget(name)
        for name in sorted(changed, key=_turn):
            path = _local(self._copy, name)
            try:
                file = self._remote.put(path, name)
            except SystemFault:
                if path.exists():
                    raise
                continue  # an old checkpoint that was removed meanwhile
            known[name] = (file, *here[name])
            write_json(self._place, self._record)
        for name in sorted(gone, key=_turn, reverse=True):
            if name in known:
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._remote.remove(name)
        del self._record.files[name]
        write_json(self._place, self._record)


def _declares(name: str) -> bool:
    """Whether the file declares its folder complete."""
    return PurePosixPath(name).name in _COMPLETE


def _is_beside(name: str, declaration: str) -> bool:
    return PurePosixPath(name).is_relative_to(PurePosixPath(declaration).parent)


def _turn(name: str) -> tuple[int, int, str]:
    """The order of putting files there: logs, all others, declarations from the inside out."""
    depth = len(PurePosixPath(name).parts)
    if name.endswith(_LOG):
        return 0, 0, name
    return (2, -depth, name) if _declares(name) else (1, 0, name)


def _make_room(size: int, url: str, entry: Path) -> None:
    """Removes copies that were not used for longest until `size` bytes more fit in the cache.

    Raises:
        UsageError: they do not fit.
    """
    bound = _bound()
    others = []
    for other in entry.parent.iterdir():
        if other != entry:
            with contextlib.suppress(FileNotFoundError):  # another process removes it now
                used = other / _RECORD if (other / _RECORD).exists() else other
                taken = sum(path.stat().st_size for path in other.rglob("*") if path.is_file())
                others.append((used.stat().st_mtime, taken, other))
    total = sum(taken for _, taken, _ in others)
    for _, taken, other in sorted(others):
        if total + size <= bound:
            return
        with _locked(other, shared=False) as mine:
            place = other / _RECORD
            if mine and (not place.exists() or read_json(place, _Record).pushed):
                shutil.rmtree(other, ignore_errors=True)
                total -= taken
    if total + size > bound:
        raise UsageError(
            f"{url} takes {size / 1e9:.3g} GB, and {total / 1e9:.3g} GB of the cache "
            f"{entry.parent} are in use; it may hold {bound / 1e9:g} GB. Set {SIZE} to at least "
            f"{(total + size) / 1e9:.3g}, or stop the jobs that use it."
        )


def _bound() -> float:
    """Bytes that the cache may hold."""
    text = os.environ.get(SIZE, str(_DEFAULT_GIGABYTES))
    try:
        return float(text) * 1e9
    except ValueError as error:
        raise UsageError(f"{SIZE} is '{text}', expected a number of gigabytes.") from error
