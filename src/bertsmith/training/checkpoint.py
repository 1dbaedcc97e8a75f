"""Checkpoints: a model folder with the trainer's state beside it, whole or absent.

`out/checkpoints/step-00000100/` holds what any model folder holds, `trainer.safetensors` (the
optimizer's moments by parameter name) and `trainer.json` (`TrainerState`, with a checksum of every
other file). No random state: dropout is seeded by the step, data is a function of the step.
"""

import importlib.metadata
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from bertsmith.checkpoints.tensors import load_tensors, save_tensors
from bertsmith.core.errors import FolderError
from bertsmith.core.storage import (
    atomic_folder,
    checksum,
    read_json,
    write_json,
)
from bertsmith.training.optimizer import load_state_by_name
from bertsmith.training.schedule import Moment

VERSION = 2
_STATE = "trainer.json"
_MOMENTS = "trainer.safetensors"
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


def save(
    root: Path,
    state: TrainerState,
    moments: dict[str, Tensor],
    *,
    write_model: Callable[[Path], object],
    keep: int,
) -> Path:
    """Writes the checkpoint of `state.step`, whole or not at all; then removes all but `keep`.

    Args:
        root: the folder of checkpoints.
        state: where the run stands.
        moments: the optimizer's tensors by parameter name.
        write_model: writes the model folder into the path it is given.
        keep: how many of the newest checkpoints stay.

    Raises:
        SystemFault: the disk is full, the folder cannot be written, ...
    """
    target = folder_of(root, state.step)
    with atomic_folder(target) as folder:
        write_model(folder)
        save_tensors(folder / _MOMENTS, moments, {"format": "pt"})
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums = {str(path.relative_to(folder)): checksum(path) for path in files}
        whole = msgspec.structs.replace(state, checksums=sums, versions=versions())
        write_json(folder / _STATE, whole)
    for step in steps(root)[:-keep]:
        _remove(folder_of(root, step))
    return target


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
        state = read_json(folder / _STATE, TrainerState) if version == VERSION else None
    except FolderError as error:
        raise FolderError(
            f"The checkpoint is damaged: {str(error).rstrip('.')}; {remedy}."
        ) from error
    if state is None:
        raise FolderError(
            f"{folder / _STATE} is of version {version}, expected {VERSION}; continue the run with "
            "the bertsmith that wrote it."
        )
    for name, expected in state.checksums.items():
        path = folder / name
        if not path.is_file():
            raise FolderError(f"The checkpoint is damaged: {path} is missing; {remedy}.")
        if checksum(path) != expected:
            raise FolderError(
                f"The checkpoint is damaged: {path} ({path.stat().st_size} bytes) does not have "
                f"the checksum in {_STATE}; {remedy}."
            )
    return state


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts back the optimizer's tensors.

    Raises:
        FolderError: the file is missing or damaged, or does not fit the model.
    """
    moments = load_tensors(folder / _MOMENTS)
    load_state_by_name(model, optimizer, moments, source=str(folder))


def _remove(folder: Path) -> None:
    # Renamed first: a kill in the middle of the removal must not leave a checkpoint with holes.
    doomed = folder.with_name(f".{folder.name}.partial")
    folder.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
