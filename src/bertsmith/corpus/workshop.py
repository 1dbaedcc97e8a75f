"""The folder that `prepare` works in: whose it is, who holds it, what stays in it at the end."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bertsmith import files
from bertsmith.corpus import shards
from bertsmith.corpus.blocks import Input, Plan
from bertsmith.errors import BertsmithError, SystemFault, UsageError, explain_os_error

PARTS = ".parts"
"""Where the parts lie until the corpus is complete."""

_PLAN = "plan.json"
_LOCK_SECONDS = 60.0


@contextlib.contextmanager
def workshop(out: Path, plan: Plan) -> Iterator[int]:
    """Yields the descriptor of the lock on `out`, with `.parts/` there and this plan in it.

    What is left at the end: everything after success or an interrupt, finished parts when the
    system refused, nothing when the user's data or settings were wrong.
    """
    made = not out.exists()
    work = out / PARTS
    try:
        if not _finished(out, plan):
            work.mkdir(parents=True, exist_ok=True)
            with _locked(work) as lock:
                # Finished by another process while this one waited: nothing is left to do.
                if not _finished(out, plan):
                    _adopt(work, plan)
                try:
                    yield lock
                except BaseException as error:
                    _tidy(out, made=made, keep=_keeps_parts(error, work))
                    raise
                shutil.rmtree(work)
        else:
            shutil.rmtree(work, ignore_errors=True)
            yield -1
    except OSError as error:
        raise explain_os_error(error, "write", out) from error


def _keeps_parts(error: BaseException, work: Path) -> bool:
    """Whether finished parts are worth keeping: the same command can continue."""
    wrong = isinstance(error, BertsmithError) and not isinstance(error, SystemFault)
    return not wrong and any(work.glob("*.part"))


def _tidy(out: Path, *, made: bool, keep: bool) -> None:
    work = out / PARTS
    shutil.rmtree(work / "assemble", ignore_errors=True)
    for folder in (out, work):
        if folder.exists():
            files.remove_leftovers(folder)
    if keep:
        return
    shutil.rmtree(work, ignore_errors=True)
    for path in (*out.glob("train-*"), *out.glob("heldout-*"), out / shards.TOKENIZER):
        shutil.rmtree(path, ignore_errors=True)
    (out / shards.UNIGRAMS).unlink(missing_ok=True)
    if made:
        with contextlib.suppress(OSError):
            out.rmdir()


def check_place(out: Path, inputs: Sequence[str]) -> None:
    """Checks that `out` can be written without harm to anything that is there.

    Raises:
        UsageError: it lies inside an input folder, or holds something else than a corpus.
        SystemFault: it is a file, or cannot be read.
    """
    for name in inputs:
        if Path(name).is_dir() and out.resolve().is_relative_to(Path(name).resolve()):
            raise UsageError(
                f"--out {out} lies inside the input folder {name}, so that a rerun would read its "
                "own output; choose a place outside it."
            )
    try:
        ours = (out / shards.MANIFEST).exists() or (out / PARTS).exists()
        if not ours and out.exists() and any(out.iterdir()):
            raise UsageError(
                f"--out {out} is not empty and holds no corpus; choose another folder or empty it."
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
        _compare(files.read_json(path, Plan), plan, f"{work.parent} holds an unfinished corpus")
    files.remove_leftovers(work)
    files.remove_leftovers(work.parent)
    if not path.exists():
        files.write_json(path, plan)


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
            "another --out, or remove the folder to start again."
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
    """Holds the folder's lock; the workers hold it too.

    After a kill of the parent alone its workers end with the block in hand; a rerun waits for them.
    """
    descriptor = os.open(work / "lock", os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"Another process is preparing {work.parent}; wait for it or choose "
                        "another --out."
                    ) from error
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)
