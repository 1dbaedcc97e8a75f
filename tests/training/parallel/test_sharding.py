"""What one process alone can show of sharding; `tests/pretraining/test_worlds.py` has the rest."""

import errno
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import (
    CheckpointException,
    HuggingFaceStorageWriter,
    save,
)

from bertsmith.core.errors import FolderError, SystemFault
from bertsmith.training import checkpoint
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.sharding import explained, load_parts, part_of, whole

ADAMW = OptimizerConfig(weight_decay=0.1, beta1=0.9, beta2=0.99, epsilon=1e-6)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Could not write {}: the disk is full"),
        (RuntimeError("of some kind"), "Could not write {}: of some kind"),
    ],
)
def test_a_part_that_cannot_be_written_is_explained(
    tmp_path: Path, failure: Exception, words: str
) -> None:
    with pytest.raises(SystemFault) as caught, explained(tmp_path):
        raise CheckpointException("write", {3: (failure, None)})  # type: ignore[dict-item]
    assert words.format(tmp_path) in str(caught.value)


def test_an_ordinary_tensor_is_whole_and_its_own_part() -> None:
    tensor = torch.arange(6.0)
    assert whole(tensor) is tensor
    assert part_of(tensor, torch.zeros(6)) is tensor


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_moments_of_another_model_are_refused(tmp_path: Path) -> None:
    moments = {"weight.exp_avg": torch.ones(2, 3), "weight.step": torch.tensor(4.0)}
    writer = HuggingFaceStorageWriter(str(tmp_path / "moments"), save_distributed=True)
    save(moments, storage_writer=writer)
    loaded = load_parts(tmp_path / "moments", {})
    assert {name: value.tolist() for name, value in loaded.items()} == {
        "weight.exp_avg": [[1, 1, 1], [1, 1, 1]],
        "weight.step": 4,
    }
    fitting = torch.nn.Linear(3, 2, bias=False)
    optimizer = adamw(fitting, ADAMW)
    checkpoint.load_optimizer(tmp_path, fitting, optimizer)
    assert optimizer.state[fitting.weight]["exp_avg"].tolist() == [[1, 1, 1]] * 2
    assert optimizer.state[fitting.weight]["step"].item() == 4
    other = torch.nn.Linear(5, 2, bias=False)
    with pytest.raises(FolderError, match=r"weight\.exp_avg of shape \(2, 3\).*\(2, 5\)"):
        checkpoint.load_optimizer(tmp_path, other, adamw(other, ADAMW))
