"""The folder that `prepare` works in: whose it is, who holds it, what stays in it at the end."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bertsmith.core import storage
from bertsmith.core.errors import BertsmithError, Stopped, SystemFault, explain_os_error
from bertsmith.core.job_folder import JobFolder
from bertsmith.corpus.blocks import Input, Plan
from bertsmith.corpus.manifest import MANIFEST, TOKENIZER, UNIGRAMS, read_manifest
from bertsmith.corpus.near_duplicates import REPORT
from bertsmith.text.documents import check_apart

PARTS = ".parts"
"""Where the parts are stored until the corpus is complete."""

_PLAN = "plan.json"
_WAIT_SECONDS = 60.0
"""If only the parent is killed, its workers finish their current block; a rerun waits for them."""


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
        with _folder(out).alone(wait_seconds=_WAIT_SECONDS) as lock:
            # Perhaps finished by another process while this one waited: nothing is left to do.
            if not _finished(out, plan):
                _adopt(work, plan)
            try:
                yield lock
            except BaseException as error:
                _tidy(out, keep=_keeps_parts(error, work))
                raise
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise explain_os_error(error, "write", out) from error
    finally:
        if made:
            # Not empty: there is something to keep, or another process is at work.
            with contextlib.suppress(OSError):
                out.rmdir()


def _folder(out: Path) -> JobFolder:
    return JobFolder(out, "a corpus", MANIFEST)


def _keeps_parts(error: BaseException, work: Path) -> bool:
    """Whether finished parts are worth keeping: the same command can continue."""
    if isinstance(error, storage.FolderGone):
        return False
    wrong = isinstance(error, BertsmithError) and not isinstance(error, SystemFault | Stopped)
    return not wrong and any(work.glob("*.part"))


def _tidy(out: Path, *, keep: bool) -> None:
    work = out / PARTS
    shutil.rmtree(work / "assemble", ignore_errors=True)
    storage.remove_leftovers(out)
    if keep:
        return
    for path in (*out.glob("train-*"), *out.glob("heldout-*"), out / TOKENIZER):
        shutil.rmtree(path, ignore_errors=True)
    for name in (UNIGRAMS, REPORT):
        (out / name).unlink(missing_ok=True)
    # Last: it says whose the rest is.
    shutil.rmtree(work, ignore_errors=True)


def check_out(out: Path, inputs: Sequence[str]) -> None:
    """Checks that `out` can be written without harm to anything that is there.

    Raises:
        UsageError: it is a file, is inside an input folder, or holds something else than a corpus.
        SystemFault: it cannot be read.
    """
    check_apart(out, inputs)
    if not (out / PARTS).is_dir():
        _folder(out).check()


def _finished(out: Path, plan: Plan) -> bool:
    """Whether `out` holds the corpus of this plan, complete."""
    if not (out / MANIFEST).exists():
        return False
    manifest = read_manifest(out)
    _compare(
        msgspec.structs.replace(
            plan,
            tokenizer=manifest.tokenizer_fingerprint,
            language=manifest.language,
            segmenter=manifest.segmenter,
            text_field=manifest.text_field,
            held_out=manifest.held_out,
            near_duplicates=manifest.near_duplicates,
            inputs=[Input(source.path, source.bytes, None) for source in manifest.sources],
        ),
        msgspec.structs.replace(
            plan, inputs=[Input(source.path, source.bytes, None) for source in plan.inputs]
        ),
        _folder(out),
    )
    return True


def _adopt(work: Path, plan: Plan) -> None:
    """Takes over what an interrupted run left, or begins."""
    path, out = work / _PLAN, work.parent
    if path.exists():
        unfinished = JobFolder(out, "an unfinished corpus", f"{PARTS}/{_PLAN}")
        _compare(unfinished.read(Plan), plan, unfinished)
    storage.remove_leftovers(out)
    if not path.exists():
        storage.write_sealed(path, plan)


def _compare(old: Plan, new: Plan, folder: JobFolder) -> None:
    """Refuses other settings; of a fingerprint its beginning is shown, of inputs the first."""
    changes = storage.changed_fields(_brief(old), _brief(new))
    if old.inputs != new.inputs:
        changes.append(_changed_inputs(old.inputs, new.inputs))
    folder.refuse(changes)


def _brief(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, inputs=[], tokenizer=plan.tokenizer[:12])


def _changed_inputs(old: list[Input], new: list[Input]) -> str:
    before, now = [source.path for source in old], [source.path for source in new]
    for verb, paths, others in (("missing", before, set(now)), ("new", now, set(before))):
        absent = [path for path in paths if path not in others]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            return f"{verb} input: {absent[0]}{more}"
    if before != now:
        return "inputs: different order"
    other = next(a.path for a, b in zip(old, new, strict=True) if a != b)
    return f"input changed on disk: {other}"
