"""Writing so that a file is whole or absent, reading so that damage is named.

Every writer goes to a temporary name beside the target, syncs it and renames it; a folder's
manifest is written last, so its existence means that the folder is complete.
"""

import contextlib
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from bertsmith.core import seal
from bertsmith.core.errors import (
    FolderError,
    SystemFault,
    explain_os_error,
    nearest,
)
from bertsmith.core.locks import lost_folder

T = TypeVar("T")

_TEMPORARY = ".partial"
_ASIDE = f".old{_TEMPORARY}"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that becomes `path` when the block ends well, and vanishes if not.

    Raises:
        SystemFault: the disk is full, the folder cannot be written, ...
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """As `atomic_file`, for writers that want a path of their own to write."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        _check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain_os_error(error, "write", path) from error
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `path` when the block ends well, and vanishes if not.

    The old folder, if any, is moved aside first and removed last, so that at every moment either
    the old or the new one is whole on disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    aside = path.with_name(f".{path.name}.{os.getpid()}{_ASIDE}")
    try:
        _check_place(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        _sync(temporary)
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
        _sync(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            aside.replace(path)
        if isinstance(error, OSError):
            raise explain_os_error(error, "write", path) from error
        raise


class FolderGone(SystemFault):
    """The folder that a job writes was removed or replaced while it ran."""

    @classmethod
    def at(cls, folder: Path) -> "FolderGone":
        """The error for that folder."""
        return cls(f"{folder} was removed or replaced while the job ran; run the command again.")


def _check_place(path: Path) -> None:
    """Refuses to begin a job's folder again, of which everything else is gone."""
    folder = lost_folder(path)
    if folder is not None:
        raise FolderGone.at(folder)


def standing(path: Path) -> Path:
    """Where the folder `path` is now: a kill may have fallen between two renames of
    `atomic_folder`, and the next `remove_leftovers` puts the old one back.
    """
    asides = path.parent.glob(f".{glob.escape(path.name)}.*{_ASIDE}")
    return path if path.exists() else next(asides, path)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed writers left anywhere in `folder` (temporary files and folders)."""
    for leftover in list(folder.rglob(f".*{_TEMPORARY}")):
        name = leftover.name.removesuffix(_ASIDE).rpartition(".")[0].removeprefix(".")
        place = leftover.with_name(name or leftover.name)
        if leftover.name.endswith(_ASIDE) and not place.exists():
            leftover.replace(place)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def leftovers_of(path: Path) -> list[tuple[Path, int]]:
    """Temporary files of writers of `path`, each with the process that made it."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+){re.escape(_TEMPORARY)}")
    if not path.parent.is_dir():
        return []
    matches = ((other, pattern.fullmatch(other.name)) for other in path.parent.iterdir())
    return [(other, int(match[1])) for other, match in matches if match]


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON document (indented, keys in the order given), whole or not at all."""
    write_bytes(path, _document(value))


def write_sealed(path: Path, value: Any) -> None:
    """As `write_json`, an object with its own checksum (see `core.seal`)."""
    write_bytes(path, seal.sealed(_document(value)))


def _document(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def read_json(path: Path, kind: type[T], *, sealed: bool = False) -> T:
    """Reads a JSON document strictly as `kind`: a wrong type or an unknown key is an error.

    Where the document carries its own checksum, that is compared.

    Args:
        path: the file.
        kind: of the document.
        sealed: whether it must carry its checksum.

    Raises:
        FolderError: the file is missing, cut short, damaged, not JSON, or does not fit `kind`.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FolderError(f"{path} is missing; check that the folder is the right one.") from error
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    return parse_json(seal.unsealed(data, str(path), required=sealed), kind, str(path))


def parse_json(data: bytes, kind: type[T], source: str) -> T:
    """As `read_json`, from bytes; `source` is named in errors."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise FolderError(f"{source}: {describe_validation(error, kind)}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FolderError(
            f"{source} is not valid JSON ({error}); it may have been cut short: restore it from "
            "a good copy or write the folder again."
        ) from error


def read_json_lines(path: Path, kind: type[T], what: str) -> list[T]:
    """Reads a log of one JSON document a line; a last line that a kill cut short is left out.

    Args:
        path: the file; every whole line of it ends in a line break.
        kind: what each line is read as, strictly.
        what: what a line should be and, after a semicolon, what to do if one is not; for errors.

    Raises:
        FolderError: a line is damaged; it is named by its number.
        SystemFault: the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    records = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            records.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            expected, _, remedy = what.partition("; ")
            raise FolderError(
                f"{path} line {number} is not {expected} ({error}); {remedy}."
            ) from error
    return records


def describe_validation(error: msgspec.ValidationError, kind: Any) -> str:
    """What does not fit `kind`, in JSON's own words, and after a semicolon what to do about it."""
    what, _, place = str(error).partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    inside = f" in '{key}'" if key else ""
    if named := re.fullmatch("Object contains unknown field `(.*)`", what):
        known = [] if key else _keys(kind)
        return (
            f"unknown key '{named[1]}'{inside}{nearest(named[1], known)}; remove it or correct its "
            "name"
        )
    if named := re.fullmatch("Object missing required field `(.*)`", what):
        return f"no key '{named[1]}'{inside}; add it, or restore the file from a good copy"
    if types := re.fullmatch("Expected `(.*)`, got `(.*)`", what):
        wanted, got = (
            " or ".join(_called(name) for name in names.split(" | ")) for names in types.groups()
        )
        found = f"'{key}' is {got}" if key else f"found {got}"
        return f"{found}, expected {wanted}; correct it"
    what = re.sub("`(.*?)`", lambda found: _called(found[1]), what[0].lower() + what[1:])
    return f"{what}{inside}; correct it"


def _keys(kind: Any) -> list[str]:
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return [field.encode_name for field in msgspec.structs.fields(kind)] if is_struct else []


def _called(type_name: str) -> str:
    """A type of msgspec's messages as one would say it of JSON."""
    names = {"int": "an integer", "float": "a number", "str": "a string", "bool": "a boolean"}
    names |= {"array": "a list", "object": "an object"}
    return names.get(type_name, type_name)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; constant memory."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FolderError(f"{path} is missing; write its folder again.") from error
    except OSError as error:
        raise explain_os_error(error, "read", path) from error


def checksums(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """SHA-256 of files of a folder by their names in it, which may have slashes; by default all."""
    if names is None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
    return {name: checksum(folder / name) for name in names}


def verify(folder: Path, expected: Mapping[str, str], *, remedy: str) -> None:
    """Compares files of a folder with their checksums.

    Args:
        folder: where they are.
        expected: name -> SHA-256.
        remedy: what to do if one does not fit, for the error.

    Raises:
        FolderError: a file is missing or damaged.
        SystemFault: one cannot be read.
    """
    for name, wanted in expected.items():
        path = folder / name
        if not path.is_file():
            raise FolderError(f"{path} is missing; {remedy}.")
        found = checksum(path)
        if found != wanted:
            raise FolderError(
                f"{path} ({path.stat().st_size:,} bytes) is damaged or was replaced: its SHA-256 "
                f"is {found[:12]}..., expected {wanted[:12]}...; {remedy}."
            )


def _sync(path: Path) -> None:
    """Makes a file's bytes, or the renames inside a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def changed_fields(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    """`name: old -> new` for every field that differs."""
    return [
        f"{field.name}: {getattr(old, field.name)!r} -> {getattr(new, field.name)!r}"
        for field in msgspec.structs.fields(new)
        if getattr(old, field.name) != getattr(new, field.name)
    ]
