"""Checkpoints are whole or absent, few, and damage is named with its remedy."""

import errno
from pathlib import Path

import msgspec
import pytest
import torch

from bertsmith.checkpoints.tensors import load_tensors
from bertsmith.core.errors import FolderError, SystemFault
from bertsmith.core.storage import checksums, remove_leftovers, write_json
from bertsmith.training import checkpoint
from bertsmith.training.checkpoint import TrainerState


def write_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    (folder / "config.json").write_text("{}")


def save(root: Path, step: int, keep: int = 2) -> Path:
    state = TrainerState(step=step, tokens=9 * step, phase_starts=[0], config={"seed": 1})
    moments = {"a.exp_avg": torch.arange(6.0).reshape(2, 3) * step}
    return checkpoint.save(root, state, moments, write_model=write_model, keep=keep)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    assert folder.name == "step-00000007"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "trainer.json",
        "trainer.safetensors",
    ]
    state = checkpoint.load(folder)
    assert (state.step, state.tokens, state.phase_starts, state.config) == (7, 63, [0], {"seed": 1})
    assert state.versions["torch"] == torch.__version__
    moments = load_tensors(folder / "trainer.safetensors")
    assert moments["a.exp_avg"].tolist() == [[0, 7, 14], [21, 28, 35]]


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in (3, 6, 9, 12):
        save(tmp_path, step)
    assert checkpoint.steps(tmp_path) == [9, 12]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000009", "step-00000012"]


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.safetensors", "config.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "missing"])
@pytest.mark.parametrize(
    ("steps", "again"),
    [((3, 6), "continue from the checkpoint before it"), ((6,), "restart the run")],
)
def test_damage_is_named_with_its_remedy(
    tmp_path: Path, name: str, how: str, steps: tuple[int, ...], again: str
) -> None:
    folder = [save(tmp_path, step) for step in steps][-1]
    path = folder / name
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if how == "cut" else bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(FolderError) as caught:
        checkpoint.load(folder)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(f"; delete {folder} to {again}.")


def test_a_state_cut_short_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 3)
    path = folder / "trainer.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FolderError, match=r"trainer\.json is not valid JSON.*delete "):
        checkpoint.load(folder)
    state = TrainerState(step=3, phase_starts=[0])
    write_json(path, msgspec.structs.replace(state, checksums=checksums(folder)))
    with pytest.raises(FolderError, match=r"trainer\.json has no checksum at its end.*delete "):
        checkpoint.load(folder)
    path.write_text('{"version": 99, "of_then": 1}')
    with pytest.raises(FolderError, match="is of version 99, expected 3"):
        checkpoint.load(folder)


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 3)

    def fill_disk(folder: Path) -> None:
        write_model(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    state = TrainerState(step=6)
    with pytest.raises(SystemFault, match="the disk is full"):
        checkpoint.save(tmp_path, state, {}, write_model=fill_disk, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    assert checkpoint.load(tmp_path / "step-00000003").step == 3


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / ".step-00000006.123.partial").mkdir()
    (tmp_path / ".step-00000006.123.partial" / "config.json").touch()
    remove_leftovers(tmp_path.parent)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
