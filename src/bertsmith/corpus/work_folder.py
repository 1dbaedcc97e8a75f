"""The folder that `prepare` works in: whose it is, who holds it, what stays in it at the end."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bertsmith.core import storage
from bertsmith.core.errors import (
    BertsmithError,
    Stopped,
    SystemFault,
    UsageError,
    explain_os_error,
    option,
)
from bertsmith.core.locks import try_lock
from bertsmith.corpus import shards
from bertsmith.corpus.blocks import Input, Plan
from bertsmith.text.documents import check_apart

PARTS = ".parts"
"""Where the parts lie until the corpus is complete."""

_PLAN = "plan.json"
_LOCK = "lock"
_LOCK_SECONDS = 60.0


@contextlib.contextmanager
def work_folder(out: Path, plan: Plan) -> Iterator[int | None]:
    """Yields the descriptor of the lock on `out`, with `.parts/` there and this plan in it.

    None when `out` holds the finished corpus of this plan and nothing is left to put away. What is
    left at the end: everything after success or an interrupt, finished parts when the system
    refused, nothing when the user's data or settings were wrong.

    Raises:
        UsageError: `out` holds a corpus of another plan, or another process is at work in it.
        FolderError: the manifest or the plan that lies there is damaged.
        SystemFault: the folder cannot be written.
    """
    made = not out.exists()
    work = out / PARTS
    try:
        if _finished(out, plan) and not work.exists():
            yield None
            return
        with _locked(work) as lock:
            # Perhaps finished by another process while this one waited: nothing is left to do.
            if not _finished(out, plan):
                _adopt(work, plan)
            try:
                yield lock
            except BaseException as error:
                _tidy(out, made=made, keep=_keeps_parts(error, work))
                raise
            _remove(work)
    except OSError as error:
        raise explain_os_error(error, "write", out) from error


def _keeps_parts(error: BaseException, work: Path) -> bool:
    """Whether finished parts are worth keeping: the same command can continue."""
    wrong = isinstance(error, BertsmithError) and not isinstance(error, SystemFault | Stopped)
    return not wrong and any(work.glob("*.part"))


def _tidy(out: Path, *, made: bool, keep: bool) -> None:
    work = out / PARTS
    shutil.rmtree(work / "assemble", ignore_errors=True)
    for folder in (out, work):
        if folder.exists():
            storage.remove_leftovers(folder)
    if keep:
        return
    for path in (*out.glob("train-*"), *out.glob("heldout-*"), out / shards.TOKENIZER):
        shutil.rmtree(path, ignore_errors=True)
    (out / shards.UNIGRAMS).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _remove(work)
    if made:
        with contextlib.suppress(OSError):
            out.rmdir()


def _remove(work: Path) -> None:
    """Removes `.parts/`, whose lock this process holds.

    The lock goes last: from then on another process may take a new one, and nothing of its own is
    touched.
    """
    for path in work.iterdir():
        if path.name != _LOCK:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    (work / _LOCK).unlink(missing_ok=True)
    # Not empty: the other process is there already.
    with contextlib.suppress(OSError):
        work.rmdir()


def check_out(out: Path, inputs: Sequence[str]) -> None:
    """Checks that `out` can be written without harm to anything that is there.

    Raises:
        UsageError: it lies inside an input folder, or holds something else than a corpus.
        SystemFault: it is a file, or cannot be read.
    """
    check_apart(out, inputs)
    try:
        ours = (out / shards.MANIFEST).exists() or (out / PARTS).exists()
        if not ours and out.exists() and any(out.iterdir()):
            raise UsageError(
                f"{option('out', out)} is not empty and holds no corpus; choose another folder or "
                "empty it."
            )
    except OSError as error:
        raise explain_os_error(error, "write", out) from error


def _finished(out: Path, plan: Plan) -> bool:
    """Whether `out` holds the corpus of this plan, complete."""
    if not (out / shards.MANIFEST).exists():
        return False
    manifest = shards.read_manifest(out)
    _compare(
        msgspec.structs.replace(
            plan,
            tokenizer=manifest.tokenizer_fingerprint,
            language=manifest.language,
            segmenter=manifest.segmenter,
            text_field=manifest.text_field,
            held_out=manifest.held_out,
            inputs=[Input(source.path, source.bytes, None) for source in manifest.sources],
        ),
        msgspec.structs.replace(
            plan, inputs=[Input(source.path, source.bytes, None) for source in plan.inputs]
        ),
        f"{out} already holds a corpus",
    )
    return True


def _adopt(work: Path, plan: Plan) -> None:
    """Takes over what an interrupted run left, or begins."""
    path = work / _PLAN
    if path.exists():
        _compare(storage.read_json(path, Plan), plan, f"{work.parent} holds an unfinished corpus")
    storage.remove_leftovers(work)
    storage.remove_leftovers(work.parent)
    if not path.exists():
        storage.write_json(path, plan)


def _compare(old: Plan, new: Plan, what: str) -> None:
    changed = [
        f"{field}: {getattr(old, field)!r} -> {getattr(new, field)!r}"
        for field in ("language", "segmenter", "text_field", "held_out", "block_characters")
        if getattr(old, field) != getattr(new, field)
    ]
    if old.tokenizer != new.tokenizer:
        changed.append(f"tokenizer: {old.tokenizer[:12]} -> {new.tokenizer[:12]}")
    if old.inputs != new.inputs:
        changed.append(_changed_inputs(old.inputs, new.inputs))
    if changed:
        raise UsageError(
            f"{what} made with other settings ({'; '.join(changed)}); give the same settings, "
            f"another {option('out')}, or remove the folder to start again."
        )


def _changed_inputs(old: list[Input], new: list[Input]) -> str:
    before, now = [source.path for source in old], [source.path for source in new]
    for verb, paths, others in (("missing", before, set(now)), ("new", now, set(before))):
        absent = [path for path in paths if path not in others]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            return f"{verb} input: {absent[0]}{more}"
    if before != now:
        return "inputs: in another order"
    other = next(a.path for a, b in zip(old, new, strict=True) if a != b)
    return f"input changed on disk: {other}"


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[int]:
    """Makes the folder if need be and holds its lock; the workers hold it too.

    After a kill of the parent alone its workers end with the block in hand; a rerun waits for them.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        descriptor = _try_lock(work)
        if descriptor is not None:
            break
        if time.monotonic() > deadline:
            raise UsageError(
                f"Another process is preparing {work.parent}; wait for it or choose another "
                f"{option('out')}."
            )
        time.sleep(0.05)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(work: Path) -> int | None:
    """The lock's descriptor, or None while another process holds it or is removing the folder."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        return try_lock(work / _LOCK)
    except FileNotFoundError:
        return None
