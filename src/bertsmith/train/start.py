"""Where a run begins: in an empty folder, or at the newest whole checkpoint of the folder's run."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from bertsmith.config import PretrainConfig, changed_fields
from bertsmith.errors import FolderError, UsageError, explain_os_error
from bertsmith.files import read_json, remove_leftovers, write_json
from bertsmith.train import checkpoint
from bertsmith.train.checkpoint import TrainerState
from bertsmith.train.schedule import read_log, read_replay, write_log

SETTINGS = "pretrain.json"
CHECKPOINTS = "checkpoints"
SCHEDULE = "schedule.jsonl"

# What may differ on a resume: it moves no weight or, as how much is computed at once, only the last
# bits of sums and where dropout falls, and a run that has met the end of memory must go on.
_FREE = frozenset({"evaluate_every", "evaluate_sequences", "save_every", "keep", "micro_tokens"})


def find_start(
    out: Path, config: PretrainConfig, corpus: str, *, resume: bool
) -> tuple[TrainerState, Path | None]:
    """State and folder of the checkpoint to continue from; a new state and None without one.

    Writes nothing.

    Args:
        out: the run's folder.
        config: the settings, which must be those of the run that is continued.
        corpus: checksum of the corpus' manifest; the corpus may have moved, not changed.
        resume: whether a run may be in `out` already.

    Raises:
        UsageError: `out` holds a run and `resume` is not set, or something else; or settings differ
            (every one is named).
        FolderError: the checkpoint is damaged, or the corpus has changed.
    """
    fresh = TrainerState(config=config, corpus=corpus)
    settings = out / SETTINGS
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    if not settings.is_file():
        # A hidden file is what a writer killed in its first moment leaves.
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise UsageError(
                f"--out {out} holds something that is not a pre-training run; choose another "
                "folder."
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
    free = _FREE | {"data"} if state.corpus == corpus else _FREE
    changes = changed_fields(read_json(settings, PretrainConfig), config)
    changed = [change for change in changes if change.split(":")[0] not in free]
    if changed:
        raise UsageError(
            f"--resume with other settings than {settings}: {'; '.join(changed)}; give the old "
            "ones, or start a new run in another folder."
        )
    if state.corpus != corpus:
        raise FolderError(
            f"The corpus {config.data} has changed since {folder} was trained on it; restore it, "
            "or start a new run in another folder."
        )
    state.config = config
    return state, folder


@contextlib.contextmanager
def enter(out: Path, config: PretrainConfig, replay: Path | None) -> Iterator[None]:
    """Makes `out` the folder of this run: leftovers of a kill removed, settings written.

    While the block runs, no other process can enter; the system lifts the lock with the process,
    however it ends.

    Args:
        out: the run's folder.
        config: the settings.
        replay: log of a schedule to follow, or None.

    Raises:
        UsageError: another process trains in `out`, there is no log at `replay`, or the run in
            `out` follows another one.
        SystemFault: the folder cannot be written.
    """
    log = out / SCHEDULE
    given = [] if replay is None else read_replay(replay, config.phases)
    if given and log.exists() and read_log(log, config.phases) != given:
        raise UsageError(
            f"--replay {replay} is not the schedule that the run in {out} follows; leave --replay "
            "out to continue that run."
        )
    with _alone_in(out):
        remove_leftovers(out)
        checkpoint.tidy(out / CHECKPOINTS)
        write_json(out / SETTINGS, config)
        if given:
            write_log(log, given)
        yield


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("wb")
    except OSError as error:
        raise explain_os_error(error, "write", out) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"--out {out}: another process is training in this folder; wait for it, stop it "
                "(it saves what it has reached), or choose another folder."
            ) from error
        yield
