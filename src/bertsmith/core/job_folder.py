"""A job's output folder: whether it may write there, alone, and whether it resumes a job.

A job has a settings file, written first: its presence marks the folder as a job's, and the same
command continues that job. The next job to enter removes what a killed one left behind.
"""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bertsmith.core.errors import UsageError, explain_os_error, option
from bertsmith.core.locks import try_lock, unlock
from bertsmith.core.storage import (
    changed_fields,
    leftovers_of,
    read_json,
    remove_leftovers,
    write_sealed,
)

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)
_LOCK = ".lock"
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class JobFolder:
    """An output folder and the kind of job that writes it."""

    path: Path
    holds: str
    """Description of the job for messages: `a fine-tuning`."""
    marker: str = ""
    """Name of the settings file; empty: the job has none and always writes all of its files."""
    own: Collection[str] = ()
    """Other names that the folder may hold without a settings file: what a killed job leaves
    first."""

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.path / self.marker

    @property
    def begun(self) -> bool:
        """Whether the folder already holds such a job."""
        return bool(self.marker) and self.settings.is_file()

    def check(self, *, resume: bool = True) -> None:
        """Checks that the job may write here; writes nothing.

        Args:
            resume: whether a job that is here may be continued.

        Raises:
            UsageError: the folder is a file, holds something else, or a job that is not continued.
            SystemFault: it cannot be read.
        """
        out = self.path
        _refuse_dangling(out)
        if out.exists() and not out.is_dir():
            raise UsageError(f"{option('out', out)} is a file; give a folder.")
        if self.begun:
            if not resume:
                raise UsageError(
                    f"{option('out', out)} already holds {self.holds}; add "
                    f"{option('resume', True)} to continue it, or choose another folder."
                )
            return
        try:
            # A hidden file is what a writer killed in its first moment leaves.
            others = sorted(
                path.name
                for path in (out.iterdir() if out.exists() else ())
                if not path.name.startswith(".") and path.name not in self.own
            )
        except OSError as error:
            raise explain_os_error(error, "write", out) from error
        if others:
            missing = f", and no {self.marker}" if self.marker else ""
            raise UsageError(
                f"{option('out', out)} holds other files than {self.holds} "
                f"({others[0]}{missing}); choose another folder or empty it."
            )

    def check_same(self, settings: msgspec.Struct, *, free: Collection[str] = ()) -> None:
        """Refuses to continue the job with other settings than those in its file.

        Raises:
            UsageError: a field that is not `free` differs; every one is named.
            FolderError: the file is missing or damaged.
        """
        changes = changed_fields(self.read(type(settings)), settings)
        self.refuse([change for change in changes if change.partition(":")[0] not in free])

    def refuse(self, changes: Sequence[str]) -> None:
        """Refuses to continue if a setting has changed; each change reads `name: old -> new`.

        Raises:
            UsageError: there are changes.
        """
        if changes:
            raise UsageError(
                f"{option('out', self.path)} holds {self.holds} with other settings "
                f"({'; '.join(changes)}); use the same settings, or choose another folder."
            )

    @contextlib.contextmanager
    def enter(
        self, settings: msgspec.Struct | None = None, *, wait_seconds: float = 0.0
    ) -> Iterator[int]:
        """`alone`, with the leftovers of a kill removed and the settings, if any, written."""
        with self.alone(wait_seconds=wait_seconds) as lock:
            remove_leftovers(self.path)
            if settings is not None:
                self.write(settings)
            yield lock

    def read(self, kind: type[SettingsT]) -> SettingsT:
        """The settings.

        Raises:
            FolderError: the file is missing or damaged.
        """
        return read_json(self.settings, kind, sealed=True)

    def write(self, settings: msgspec.Struct) -> None:
        """Writes the settings, with their checksum."""
        write_sealed(self.settings, settings)

    @contextlib.contextmanager
    def alone(self, *, wait_seconds: float = 0.0) -> Iterator[int]:
        """Makes the folder and keeps every other process out of it while the block runs.

        The system lifts the lock with the last process that holds it, however that ends.

        Args:
            wait_seconds: how long to wait for another process to leave.

        Yields:
            The lock's descriptor: a worker that inherits it holds the lock too.

        Raises:
            UsageError: another process is in it.
            SystemFault: the folder cannot be made.
        """
        deadline = time.monotonic() + wait_seconds
        while (lock := self._try_lock()) is None:
            if time.monotonic() >= deadline:
                raise UsageError(
                    f"{option('out', self.path)}: another process is writing to this folder. Wait "
                    "for it, stop it (it saves its progress), or choose another folder."
                )
            time.sleep(_LOOK_SECONDS)
        try:
            yield lock
        finally:
            unlock(self.path / _LOCK, lock)

    def _try_lock(self) -> int | None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                return try_lock(self.path / _LOCK)
            except FileNotFoundError:
                # Another process has just removed the folder.
                return None
        except OSError as error:
            raise explain_os_error(error, "write", self.path) from error


def check_new_file(out: Path, source: Path | str, *, overwrite: bool = False) -> None:
    """Checks that `out` can be written from `source`, and removes what a killed job left of it.

    Raises:
        UsageError: it is a folder, the source itself or, without `overwrite`, there already.
    """
    _refuse_dangling(out)
    if out.is_dir():
        raise UsageError(f"{option('out', out)} is a folder; give a file name.")
    if out.exists() and not out.is_file():
        raise UsageError(f"{option('out', out)} is a device; give a file name.")
    if out.is_file() and Path(source).exists() and out.samefile(source):
        raise UsageError(f"{option('out', out)} is the input itself; choose another name.")
    if out.is_file() and not overwrite:
        raise UsageError(
            f"{option('out', out)} already exists; choose another name, or add "
            f"{option('overwrite', True)}."
        )
    for leftover, process in leftovers_of(out):
        if not _is_running(process):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _refuse_dangling(out: Path) -> None:
    if out.is_symlink() and not out.exists():
        raise UsageError(
            f"{option('out', out)} is a link to {out.readlink()}, which does not exist; remove "
            "the link or choose another name."
        )


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
