"""Locks on folders: one process at a time, and no stale files.

A lock is a file with `flock` on it, which the system releases when its holder ends, however that
happens. Its holder removes the file. That alone would let two in, one that had opened the old file
and one that made a new one; so the new holder checks that its file is still the one at the path.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_held: dict[Path, int] = {}
"""Locks of this process: file and descriptor."""


def lost_folder(path: Path) -> Path | None:
    """The locked folder around `path` that was removed, or replaced, since this process locked it.

    None where there is none: what a job writes then would be the beginning of a new folder.
    """
    place = path.absolute()
    for lock, descriptor in list(_held.items()):
        if place.is_relative_to(lock.parent) and not _is_at(lock, descriptor):
            return lock.parent
    return None


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Takes a lock.

    Args:
        path: its file, created if missing.
        shared: whether others may share it; then it is given up by `release`.

    Returns:
        The descriptor, for `unlock` or to be closed; None while another process holds
        the lock. A process that inherits the descriptor holds the lock too.

    Raises:
        OSError: the file cannot be made; FileNotFoundError if its folder is missing.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                _held[path.absolute()] = descriptor
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock(path: Path, descriptor: int) -> None:
    """Gives up a lock that this process holds, and removes its file.

    In this order, so another holder's file is never removed.
    """
    if _held.pop(path.absolute(), None) is not None and _is_at(path, descriptor):
        with contextlib.suppress(OSError):
            path.unlink()
    os.close(descriptor)


def release(path: Path, descriptor: int) -> None:
    """Gives up a lock whose file stays, because others may share it or wait for it."""
    _held.pop(path.absolute(), None)
    os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
