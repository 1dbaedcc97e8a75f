"""Where a run starts: in an empty folder, or at the newest complete checkpoint of its folder."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.parallel.place import Place
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule, read_log, read_replay, write_log

CHECKPOINTS = "checkpoints"
SCHEDULE = "schedule.jsonl"


def find_start(
    folder: JobFolder,
    config: msgspec.Struct,
    data: str,
    *,
    free: Collection[str],
    moved: Collection[str],
    resume: bool,
) -> tuple[TrainerState, Path | None]:
    """State and folder of the checkpoint to continue from; a new state and None without one.

    Writes nothing.

    Args:
        folder: the run's.
        config: the settings, which must equal those of the continued run.
        data: checksum of the training data.
        free: fields of the settings that may differ.
        moved: fields that may also differ if the data is the same: paths.
        resume: whether a run may be in the folder already.

    Raises:
        UsageError: the folder holds a run and `resume` is not set, or something else; or settings
            differ (every one is named).
        FolderError: the checkpoint is damaged, or the data has changed.
    """
    folder.check(resume=resume)
    new = TrainerState(config=config, data=data)
    if not folder.begun:
        return new, None
    root = folder.path / CHECKPOINTS
    steps = checkpoint.steps(root)
    saved = checkpoint.folder_of(root, steps[-1]) if steps else None
    state = checkpoint.load(saved) if saved else new
    folder.check_same(config, free={*free, *moved} if state.data == data else free)
    if state.data != data:
        raise FolderError(
            f"The training data of {saved} has changed since; restore the data, or start a new "
            "run in another folder."
        )
    state.config = config
    return state, saved


def note_place(state: TrainerState, place: Place) -> str:
    """Records in `state` the device and precision from now on.

    Returns:
        A message about a change, or an empty string.
    """
    before, state.computed = state.computed, f"{place.device.type} in {place.precision}"
    if before in ("", state.computed):
        return ""
    return (
        f"Steps up to {state.step:,} ran on {before}; later ones run on {state.computed}, so "
        "results will differ slightly from an uninterrupted run."
    )


@contextlib.contextmanager
def enter(
    folder: JobFolder,
    config: msgspec.Struct,
    *,
    wait_seconds: float = 0.0,
    replay: Path | None = None,
    phases: Sequence[Phase] = (),
) -> Iterator[None]:
    """Enters a run's folder, with the schedule of `replay` if given.

    Args:
        folder: the run's.
        config: the settings.
        wait_seconds: how long to wait for another process that is in the folder.
        replay: log of a schedule to follow, or None.
        phases: of the run that follows it.

    Raises:
        UsageError: another process trains in the folder, there is no log at `replay`, or the run
            in the folder follows another one.
        SystemFault: the folder cannot be written.
    """
    log = folder.path / SCHEDULE
    given = [] if replay is None else read_replay(replay, phases)
    if given and log.exists() and read_log(log, phases) != given:
        raise UsageError(
            f"{option('replay', replay)} is not the schedule of the run in {folder.path}; remove "
            f"{option('replay')} to continue that run."
        )
    with folder.enter(config, wait_seconds=wait_seconds):
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
    state: TrainerState,
) -> Iterator[tuple[Schedule, Reporter]]:
    """Enters a run's folder and opens its logs: the first process's. Every process raises its
    errors; the others get a schedule and a reporter that write nothing.

    Args:
        place: of this process.
        folder: what `enter` gives.
        schedule: opens the schedule on a log, or on none.
        reporter: opens the reporter on a folder, or on none.
        out: the run's folder.
        state: where the run stands, which the schedule's log must lead to.
    """
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Schedule, Reporter]] = []

        def open_first() -> None:
            stack.enter_context(folder)
            log = out / SCHEDULE
            mine = schedule(log)
            if state.schedule and mine.checksum(state.step) != state.schedule:
                mine.close()
                raise FolderError(
                    f"{log} is damaged or was replaced: it is not the schedule up to step "
                    f"{state.step:,} that the checkpoint was taken at. Restore it, or start again "
                    "in another folder."
                )
            opened.append((mine, reporter(out)))

        place.first_decides(open_first)
        mine = opened[0] if opened else (schedule(None), reporter(None))
        stack.callback(mine[0].close)
        stack.enter_context(mine[1])
        yield mine
