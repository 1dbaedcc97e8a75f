"""Checkpoints: a model folder with the trainer's state beside it, whole or absent.

`out/checkpoints/step-00000100/` holds what any model folder holds, the optimizer's moments by
parameter name (`trainer.safetensors`, or a file for each process of a sharded run in `moments/`)
and `trainer.json` (`TrainerState`, with a checksum of every other file and of its own), which is
written last. No random state: dropout is seeded by the step, data is a function of the step.
"""

import contextlib
import copy
import importlib.metadata
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

import msgspec
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bertsmith.checkpoints.tensors import load_tensors, save_tensors
from bertsmith.core.errors import FolderError
from bertsmith.core.storage import (
    atomic_folder,
    checksums,
    read_json,
    verify,
    write_sealed,
)
from bertsmith.training.optimizer import load_state_by_name, state_by_name
from bertsmith.training.parallel import sharding
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.schedule import Moment

VERSION = 3
_STATE = "trainer.json"
_MOMENTS = "trainer.safetensors"
_PARTS = "moments"
_NAME = re.compile(r"step-(\d{8,})")


class TrainerState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a run stands; the loop changes it in place, a checkpoint holds it."""

    version: int = VERSION
    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Real tokens trained on, over all processes."""
    elapsed: float = 0.0
    """Seconds on the run's clock."""
    busy: float = 0.0
    """Seconds spent in training steps alone."""
    phase_starts: list[int] = []
    """First step of each phase that has started."""
    cursors: list[dict[str, int]] = []
    """One hint per started phase, from which its batches continue without a search."""
    evaluation: dict[str, float] = {}
    """Result of the last evaluation."""
    evaluated_at: int = -1
    """Step of the last evaluation."""
    evaluated_progress: float = -1.0
    """Part of the run done at the last evaluation."""
    evaluation_seconds: float = 0.0
    """Seconds that the last evaluation took."""
    evaluation_ended: float = 0.0
    """When it ended, on the run's clock."""
    micro_tokens: int = 0
    """Tokens per micro-batch, as resolved; it determines the last bits of sums."""
    computed: str = ""
    """Device and precision, as resolved: `cpu in bf16`."""
    data: str = ""
    """SHA-256 of the training data."""
    schedule: str = ""
    """SHA-256 of the schedule's log up to here."""
    config: Any = None
    """The run's settings."""
    versions: dict[str, str] = {}
    """Versions of bertsmith, torch and Python, for information only."""
    checksums: dict[str, str] = {}
    """SHA-256 of every other file of the checkpoint."""

    def begin(self, moment: Moment) -> None:
        """Notes the time at which a step begins, and its phase where that is new."""
        self.elapsed = moment.elapsed
        while len(self.phase_starts) <= moment.phase and not moment.over:
            self.phase_starts.append(self.step)


class _Versioned(msgspec.Struct):
    version: int


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {
        "bertsmith": importlib.metadata.version("bertsmith"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of `step` lives under `root`."""
    return root / f"step-{step:08d}"


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints under `root`, ascending."""
    if not root.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in root.iterdir())
    return sorted(int(match[1]) for match in matches if match)


@contextlib.contextmanager
def written(root: Path, state: TrainerState, *, keep: int) -> Iterator[Path]:
    """Yields an empty folder that is the checkpoint of `state.step` when the block ends well.

    Whole or not at all; then all but the newest `keep` checkpoints are removed.

    Args:
        root: the folder of checkpoints.
        state: where the run stands.
        keep: how many of the newest checkpoints stay.

    Raises:
        SystemFault: the disk is full, the folder cannot be written, ...
    """
    with atomic_folder(folder_of(root, state.step)) as folder:
        yield folder
        finished = msgspec.structs.replace(state, checksums=checksums(folder), versions=versions())
        write_sealed(folder / _STATE, finished)
    for step in steps(root)[:-keep]:
        _remove(folder_of(root, step))


def save(
    root: Path,
    state: TrainerState,
    moments: dict[str, Tensor],
    *,
    write_model: Callable[[Path], object],
    keep: int,
) -> Path:
    """Writes a checkpoint of tensors that this process has whole; see `written`.

    Args:
        root: the folder of checkpoints.
        state: where the run stands.
        moments: the optimizer's tensors by parameter name.
        write_model: writes the model folder into the path that it is given.
        keep: how many of the newest checkpoints stay.
    """
    with written(root, state, keep=keep) as folder:
        write_model(folder)
        on_cpu = {name: moment.cpu() for name, moment in moments.items()}
        save_tensors(folder / _MOMENTS, on_cpu, {"format": "pt"})
    return folder_of(root, state.step)


class Saver:
    """Writes the checkpoints of a run: at once, or of a sharded model in the background.

    The moments of a sharded model are copied, then written while the run goes on, each process's by
    itself. Leaving the context waits until the last checkpoint is there.
    """

    def __init__(
        self, root: Path, parallel: Parallel[Any], optimizer: torch.optim.Optimizer, *, keep: int
    ) -> None:
        """Into the folder `root`, which keeps the newest `keep` of them."""
        self._root, self._parallel, self._optimizer, self._keep = root, parallel, optimizer, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bertsmith-checkpoints")
        self._pending: Future[None] | None = None
        # A group of its own: the background must not mix with the run's own exchanges.
        self._group = dist.new_group(backend="gloo") if parallel.sharded else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._thread:
            if kind is None:
                self._wait()
            elif self._pending is not None:
                # The error that ended the run goes on; the checkpoint is finished if it can be.
                wait([self._pending])

    def save(self, state: TrainerState, write_model: Callable[[Path], object]) -> None:
        """Saves the run at `state`; called by every process.

        Args:
            state: where the run stands.
            write_model: writes the model folder into the path that it is given.

        Raises:
            SystemFault: this checkpoint, or the one before it in the background, could not be
                written.
        """
        place = self._parallel.place
        moments = state_by_name(self._parallel.model, self._optimizer)
        if self._group is None:
            place.first_decides(
                lambda: save(self._root, state, moments, write_model=write_model, keep=self._keep)
            )
            return
        self._wait()
        with contextlib.ExitStack() as stack:
            folder = place.first_decides(lambda: self._begin(stack, state, write_model))
            unfinished = stack.pop_all()
        parts = sharding.save_parts(folder / _PARTS, moments, self._group)
        self._pending = self._thread.submit(_finish, unfinished, parts, folder)

    def _begin(
        self,
        stack: contextlib.ExitStack,
        state: TrainerState,
        write_model: Callable[[Path], object],
    ) -> Path:
        """Opens the checkpoint on `stack` and writes the model."""
        # The run changes its state while the moments are written.
        folder = stack.enter_context(written(self._root, copy.deepcopy(state), keep=self._keep))
        write_model(folder)
        (folder / _PARTS).mkdir()
        return folder

    def _wait(self) -> None:
        """Waits for the checkpoint in the background; all fail if the first could not finish."""
        if self._pending is not None:
            self._parallel.place.first_decides(self._pending.result)
            self._pending.result()
            self._pending = None


def _finish(unfinished: contextlib.ExitStack, parts: "Future[object]", folder: Path) -> None:
    """Ends a checkpoint when all processes have written their parts."""
    with unfinished, sharding.explained(folder):
        parts.result()


def load(folder: Path) -> TrainerState:
    """Verifies a checkpoint, every byte of it, and reads its state.

    Raises:
        FolderError: a file is missing, cut short or damaged, or of another version.
    """
    earlier = any(folder_of(folder.parent, step) < folder for step in steps(folder.parent))
    again = "continue from the checkpoint before it" if earlier else "restart the run"
    remedy = f"delete {folder} to {again}"
    try:
        # Another version has other fields.
        version = read_json(folder / _STATE, _Versioned).version
        current = version == VERSION
        state = read_json(folder / _STATE, TrainerState, sealed=True) if current else None
    except FolderError as error:
        raise FolderError(
            f"The checkpoint is damaged: {str(error).rstrip('.')}; {remedy}."
        ) from error
    if state is None:
        raise FolderError(
            f"{folder / _STATE} is of version {version}, expected {VERSION}; continue the run with "
            "the bertsmith that wrote it."
        )
    verify(folder, state.checksums, remedy=remedy)
    return state


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts back the optimizer's tensors, sharded as the model is; called by every process.

    Raises:
        FolderError: the file is missing or damaged, or does not fit the model.
    """
    if (folder / _PARTS).is_dir():
        moments = sharding.load_parts(folder / _PARTS, dict(model.named_parameters()))
    else:
        moments = load_tensors(folder / _MOMENTS)
    load_state_by_name(model, optimizer, moments, source=str(folder))


def _remove(folder: Path) -> None:
    # Renamed first: a kill in the middle of the removal must not leave a checkpoint with holes.
    doomed = folder.with_name(f".{folder.name}.partial")
    folder.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
