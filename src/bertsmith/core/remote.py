"""Files behind URLs (`s3://`, `gs://`, anything fsspec knows): opened, listed, fetched and put.

Every request is tried `TRIES` times with growing pauses, and what goes wrong in the end is one
sentence with the URL in it. S3, Google's and Azure's stores are read by obstore, the rest by
whatever fsspec finds.
"""

import contextlib
import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

from bertsmith.core.errors import BertsmithError, SystemFault, UsageError, explain_os_error
from bertsmith.core.extras import require

T = TypeVar("T")

TRIES = 4
"""Of an operation on a file, each with at most `_REQUEST_RETRIES` more of a single request."""

_REQUEST_RETRIES = 3
_FIRST_PAUSE_SECONDS = 0.5
"""Before the second try; each further pause is twice as long."""
_REQUEST_SECONDS = 120
"""A request may take; also that of one part of a large file."""
_BLOCK = 8 << 20
"""Bytes of a request to read; a file that is not larger is written by one, too."""
_OBJECT_STORES = ("s3", "s3a", "gs", "az", "abfs")
"""Protocols that obstore serves."""
_SAME_AGAIN = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    BertsmithError,
)
"""Errors that another try would only repeat."""
# What file systems call the thing that changes with a file's content, the best first.
_VERSIONS = (
    "e_tag",
    "ETag",
    "etag",
    "md5Hash",
    "last_modified",
    "LastModified",
    "mtime",
    "created",
)


copies: dict[Path, str] = {}
"""Local copies that this process knows of, and the URLs that they are copies of; see `mirror`."""


def is_url(path: object) -> bool:
    """Whether fsspec, not the local disk, is asked."""
    return "://" in str(path)


def in_urls(text: str) -> str:
    """A text in which local copies are named by their URLs."""
    for copy, url in copies.items():
        text = text.replace(str(copy), url)
    return text


class RemoteFile(NamedTuple):
    """A file of a remote folder."""

    size: int
    """Bytes; -1 where the server does not tell."""
    version: str
    """Changes when the content does, as far as the server can tell."""


class RemoteFolder:
    """The files below a URL.

    Raises:
        MissingExtra: the package for the protocol is not installed.
        UsageError: there is no such protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._system = file_system(url)
        self._root = str(self._system._strip_protocol(self.url)).rstrip("/")

    def files(self) -> dict[str, RemoteFile]:
        """All files by their path in the folder; of a URL of a file, this one as ''.

        Empty where there is none.

        Raises:
            SystemFault: the server or the network refused.
        """
        found: dict[str, RemoteFile] = {}
        folders = [self._root]
        while folders:
            folder = folders.pop()
            # Not `find`: it takes a server that fails for a folder without files.
            for entry in _tried("read", self.url, partial(self._list, folder)):
                name = str(entry["name"]).rstrip("/")
                if entry["type"] == "directory":
                    folders.append(name)
                else:
                    found[name.removeprefix(self._root).lstrip("/")] = _described(entry)
        return found

    def _list(self, folder: str) -> list[dict[str, Any]]:
        try:
            return list(self._system.ls(folder, detail=True, refresh=True))
        except FileNotFoundError:
            pass
        with contextlib.suppress(FileNotFoundError):
            found = self._system.info(folder, refresh=True)
            return [found | {"name": folder}] if found["type"] == "file" else []
        return []

    def fetch(self, name: str, expected: RemoteFile, target: Path) -> None:
        """Copies a file to `target`, whole or not at all.

        Raises:
            SystemFault: the server or the network refused, or cut the file short each time.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if expected.size < 0:
            raise UsageError(f"{self._url(name)}: its server does not tell how long the file is.")
        half = target.with_name(f".{target.name}.{os.getpid()}.partial")
        path = self._path(name)
        try:
            with half.open("wb") as file:
                for start in range(0, expected.size, _BLOCK):
                    file.write(_range(self._system, path, self._url(name), start, expected.size))
            if expected.size > _BLOCK and self._described(path) != expected:
                raise SystemFault(
                    f"{self._url(name)} changed while it was read; run the same command again."
                )
            half.replace(target)
        except OSError as error:
            raise explain_os_error(error, "write", target) from error
        finally:
            half.unlink(missing_ok=True)

    def put(self, source: Path, name: str) -> RemoteFile:
        """Writes a file: whole or, as every object store promises, not at all.

        A large one goes up in parts, of which the server makes a file when it has the last.

        Raises:
            SystemFault: the server or the network refused, or `source` is gone.
        """
        path = self._path(name)

        def put() -> RemoteFile:
            # Not from the file itself where it is small: a log may grow meanwhile.
            data = source.read_bytes() if source.stat().st_size <= _BLOCK else None
            if data is None:
                self._system.put_file(str(source), path)
            else:
                self._system.pipe_file(path, data)
            there = self._described(path)
            if data is not None and there.size != len(data):
                raise ConnectionError(f"{there.size:,} of {len(data):,} bytes arrived")
            return there

        return _tried("write", self._url(name), put)

    def remove(self, name: str) -> None:
        """Removes a file if it is there.

        Raises:
            SystemFault: the server or the network refused.
        """

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._system.rm_file(self._path(name))

        _tried("remove", self._url(name), remove)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _url(self, name: str) -> str:
        return f"{self.url}/{name}" if name else self.url

    def _described(self, path: str) -> RemoteFile:
        return _described(self._system.info(path, refresh=True))


def file_system(url: str) -> Any:
    """fsspec's file system for a URL.

    Raises:
        MissingExtra: fsspec, or obstore for an object store, is not installed.
        UsageError: there is no such protocol, or no package for it.
    """
    protocol = url.partition("://")[0]
    fsspec = require("fsspec", extra="data", purpose=f"Opening {url}")
    options: dict[str, Any] = {}
    if protocol in _OBJECT_STORES:
        obstore = require("obstore.fsspec", extra="s3", purpose=f"Opening {url}")
        obstore.register(protocol)
        options = {
            "retry_config": {"max_retries": _REQUEST_RETRIES},
            # Without TLS where the address of the server says so.
            "client_options": {"timeout": f"{_REQUEST_SECONDS}s", "allow_http": True},
        }
        # What the user configures for fsspec (`FSSPEC_S3`) goes before.
        options |= fsspec.config.conf.get(protocol, {})
    with explained(url):
        return fsspec.filesystem(protocol, **options)


def open_url(url: str) -> IO[bytes]:
    """Opens a local path or, with the `data` extra, any fsspec URL (s3://, ...) for reading.

    Raises:
        SystemFault: it cannot be opened; a URL's file raises this while it is read, too.
        UsageError: nothing is known or installed for the URL's protocol.
        MissingExtra: it is a URL and fsspec, or obstore for s3:// and its like, is not installed.
    """
    if not is_url(url):
        try:
            return cast(IO[bytes], Path(url).open("rb"))
        except OSError as error:
            raise explain_os_error(error, "read", url) from error
    system = file_system(url)
    path = system._strip_protocol(url)
    size = _described(_tried("read", url, partial(system.info, path))).size
    if size < 0:
        return _tried("read", url, lambda: _downloaded(system, path))
    return cast(IO[bytes], io.BufferedReader(_Blocks(url, system, path, size)))


def _downloaded(system: Any, path: str) -> IO[bytes]:
    """A temporary copy of a file whose length is not known, so that it cannot be read in blocks."""
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile())
        with system.open(path, "rb") as file:
            shutil.copyfileobj(file, copy)
        copy.seek(0)
        stack.pop_all()
        return cast(IO[bytes], copy)


class _Blocks(io.RawIOBase):
    """A file behind a URL, a block in memory."""

    def __init__(self, url: str, system: Any, path: str, size: int) -> None:
        self._url, self._system, self._path, self._size = url, system, path, size
        self._place = 0
        self._first, self._block = 0, b""
        """Where in the file the block begins, and its bytes."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._size:
            return 0
        if not self._first <= self._place < self._first + len(self._block):
            self._first = self._place
            self._block = _range(self._system, self._path, self._url, self._place, self._size)
        start = self._place - self._first
        data = self._block[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place


def _range(system: Any, path: str, url: str, start: int, size: int) -> bytes:
    """The block of a file that begins at `start`, whole."""
    end = min(start + _BLOCK, size)
    return _tried(
        "read", url, lambda: _complete(system.cat_file(path, start=start, end=end), end - start)
    )


@contextlib.contextmanager
def explained(url: str, doing: str = "read") -> Iterator[None]:
    """Turns what a remote file system raises into one sentence.

    Raises:
        SystemFault: the server or the network refused.
        UsageError: nothing is known or installed for the URL's protocol.
    """
    try:
        yield
    except BertsmithError:
        raise
    except OSError as error:
        raise explain_os_error(error, doing, url) from error
    except (ImportError, ValueError) as error:  # fsspec: no package for the protocol, no such one
        raise UsageError(f"Cannot open {url}: {error}.") from error
    except Exception as error:
        # fsspec promises no class of errors: each file system lets through those of its own
        # library (obstore's UnauthenticatedError, aiohttp's ClientResponseError, gcsfs's HttpError,
        # ...), which share no root but Exception and may not be installed here.
        raise SystemFault(f"Could not {doing} {url}: {_in_a_line(error)}.") from error


def _tried(doing: str, url: str, action: Callable[[], T], *, tries: int = TRIES) -> T:
    """What the action gives, perhaps after further tries.

    Raises:
        SystemFault: the last try failed, too; with what to do.
        UsageError: nothing is known or installed for the URL's protocol.
    """
    with explained(url, doing):
        for number in itertools.count(1):
            try:
                return action()
            except _SAME_AGAIN:
                raise
            except Exception as error:
                if number == tries:
                    raise SystemFault(
                        f"Could not {doing} {url}: {_in_a_line(error)}. This was try {number} of "
                        f"{tries}; check the address, the network and the credentials, and run "
                        "the same command again."
                    ) from error
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (number - 1))
    raise AssertionError("the loop ends by itself")


def _complete(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ConnectionError(f"{len(data):,} of {size:,} bytes arrived")
    return data


def _described(entry: dict[str, Any]) -> RemoteFile:
    version = next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
    size = entry.get("size")
    return RemoteFile(-1 if size is None else int(size), version.strip('"'))


def _in_a_line(error: Exception) -> str:
    """The error in a line; what obstore adds for its developers is left out."""
    text = str(error).partition("\n\nDebug source:")[0]
    return " ".join(text.split()).rstrip(".") or type(error).__name__
