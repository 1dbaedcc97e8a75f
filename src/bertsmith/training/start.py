"""Where a run begins: in an empty folder, or at the newest whole checkpoint of the folder's run."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bertsmith.core.errors import FolderError, UsageError, explain_os_error
from bertsmith.core.locks import try_lock, unlock
from bertsmith.core.storage import changed_fields, read_json, remove_leftovers, write_json
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.parallel import Place
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule, read_log, read_replay, write_log

CHECKPOINTS = "checkpoints"
SCHEDULE = "schedule.jsonl"

_LOCK = ".lock"


def find_start(
    out: Path,
    config: msgspec.Struct,
    data: str,
    *,
    settings: str,
    free: Collection[str],
    moved: Collection[str],
    resume: bool,
) -> tuple[TrainerState, Path | None]:
    """State and folder of the checkpoint to continue from; a new state and None without one.

    Writes nothing.

    Args:
        out: the run's folder.
        config: the settings, which must be those of the run that is continued.
        data: checksum of what is trained on.
        settings: name of the settings' file; its presence means that a run lives here.
        free: fields of the settings that may differ.
        moved: fields that may differ too where the data is the same: paths.
        resume: whether a run may be in `out` already.

    Raises:
        UsageError: `out` holds a run and `resume` is not set, or something else; or settings differ
            (every one is named).
        FolderError: the checkpoint is damaged, or the data has changed.
    """
    fresh = TrainerState(config=config, data=data)
    file = out / settings
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    if not file.is_file():
        # A hidden file is what a writer killed in its first moment leaves.
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise UsageError(
                f"--out {out} holds something else than a run of this command ({settings} is not "
                "there); choose another folder."
            )
        return fresh, None
    if not resume:
        raise UsageError(
            f"--out {out} already holds a run; add --resume to continue it, or choose another "
            "folder."
        )
    root = out / CHECKPOINTS
    steps = checkpoint.steps(root)
    folder = checkpoint.folder_of(root, steps[-1]) if steps else None
    state = checkpoint.load(folder) if folder else fresh
    allowed = {*free, *moved} if state.data == data else set(free)
    check_same_settings(file, config, free=allowed)
    if state.data != data:
        raise FolderError(
            f"What {folder} was trained on has changed since; restore it, or start a new run in "
            "another folder."
        )
    state.config = config
    return state, folder


def note_place(state: TrainerState, place: Place) -> str:
    """Writes into `state` where the run is computed from now on.

    Returns:
        What to tell of it: empty where it was computed so before.
    """
    before, state.computed = state.computed, f"{place.device.type} in {place.precision}"
    if before in ("", state.computed):
        return ""
    return (
        f"Up to step {state.step:,} this run was computed on {before}, from here on it is on "
        f"{state.computed}: its numbers will not be those of a run that was never interrupted."
    )


def check_same_settings(file: Path, config: msgspec.Struct, *, free: Collection[str] = ()) -> None:
    """Refuses to continue a run with settings that are not those in its `file`.

    Raises:
        UsageError: a field that is not `free` differs; every one is named.
    """
    changes = changed_fields(read_json(file, type(config)), config)
    changed = [change for change in changes if change.split(":")[0] not in free]
    if changed:
        raise UsageError(
            f"--resume with other settings than {file}: {'; '.join(changed)}; give the old "
            "ones, or start a new run in another folder."
        )


@contextlib.contextmanager
def enter(
    out: Path,
    config: msgspec.Struct,
    *,
    settings: str,
    replay: Path | None = None,
    phases: Sequence[Phase] = (),
) -> Iterator[None]:
    """Makes `out` the folder of this run: leftovers of a kill removed, settings written.

    While the block runs, no other process can enter; the system lifts the lock with the process,
    however it ends.

    Args:
        out: the run's folder.
        config: the settings, written as `settings`.
        settings: name of that file.
        replay: log of a schedule to follow, or None.
        phases: of the run that follows it.

    Raises:
        UsageError: another process trains in `out`, there is no log at `replay`, or the run in
            `out` follows another one.
        SystemFault: the folder cannot be written.
    """
    log = out / SCHEDULE
    given = [] if replay is None else read_replay(replay, phases)
    if given and log.exists() and read_log(log, phases) != given:
        raise UsageError(
            f"--replay {replay} is not the schedule that the run in {out} follows; leave --replay "
            "out to continue that run."
        )
    with alone_in(out):
        remove_leftovers(out)
        checkpoint.tidy(out / CHECKPOINTS)
        write_json(out / settings, config)
        if given:
            write_log(log, given)
        yield


@contextlib.contextmanager
def entered(
    place: Place,
    folder: AbstractContextManager[None],
    *,
    schedule: Callable[[Path | None], Schedule],
    reporter: Callable[[Path | None], Reporter],
    out: Path,
) -> Iterator[tuple[Schedule, Reporter]]:
    """Enters a run's folder and opens its logs: the first process's, and every other hears of
    damage there; the others get a schedule and a reporter that write nothing.

    Args:
        place: of this process.
        folder: what `enter` gives.
        schedule: opens the schedule on a log, or on none.
        reporter: opens the reporter on a folder, or on none.
        out: the run's folder.
    """
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Schedule, Reporter]] = []

        def open_first() -> None:
            stack.enter_context(folder)
            opened.append((schedule(out / SCHEDULE), reporter(out)))

        place.first_decides(open_first)
        mine = opened[0] if opened else (schedule(None), reporter(None))
        stack.callback(mine[0].close)
        stack.enter_context(mine[1])
        yield mine


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Makes `out` and keeps every other process out of it while the block runs.

    Raises:
        UsageError: another process is in it.
        SystemFault: the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = try_lock(out / _LOCK)
    except OSError as error:
        raise explain_os_error(error, "write", out) from error
    if lock is None:
        raise UsageError(
            f"--out {out}: another process is training in this folder; wait for it, stop it (it "
            "saves what it has reached), or choose another folder."
        )
    try:
        yield
    finally:
        unlock(out / _LOCK, lock)
