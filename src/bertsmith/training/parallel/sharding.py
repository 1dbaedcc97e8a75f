"""FSDP2: every process holds a part of each weight, of its gradient and of its moments.

The parts are saved by `torch.distributed.checkpoint`, each by the process that holds it, as
safetensors that any number of processes can read. Both libraries are imported when a run is
sharded: they take half as long as torch itself.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bertsmith.core.errors import SystemFault, explain_os_error
from bertsmith.core.extras import late

_FSDP, _CHECKPOINT = "torch.distributed.fsdp", "torch.distributed.checkpoint"
_FORWARDS = ("losses", "evaluate", "outputs")
"""What is called of a model instead of `forward`."""


def shard(model: nn.Module) -> None:
    """Leaves this process its part of each parameter, on its device, in place.

    Each repeated block is gathered when it computes and dropped again; what is outside of the
    blocks (embeddings, heads) stays gathered from the forward to the end of the backward pass.
    Parameters must be equal in all processes.
    """
    fsdp = late(_FSDP)
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fsdp.fully_shard(block)
    fsdp.fully_shard(model)
    _drop_after_forward(model, True)
    for name in _FORWARDS:
        if hasattr(model, name):
            fsdp.register_fsdp_forward_method(model, name)


def _drop_after_forward(model: Any, drop: bool) -> None:
    model.set_reshard_after_forward(drop)
    model.set_reshard_after_forward(False, recurse=False)


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Gives every process all weights while the block runs, to compute as often as each likes.

    All processes must enter. `state_dict` still gives the parts alone.
    """
    parts = [part for part in model.modules() if isinstance(part, late(_FSDP).FSDPModule)]
    _drop_after_forward(model, False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        _drop_after_forward(model, True)


def is_whole(tensor: Tensor) -> bool:
    """Whether the tensor is an ordinary one, and not sharded."""
    return not hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, in every process; any other as it is."""
    if is_whole(tensor):
        return tensor
    sharded: Any = tensor
    together: Tensor = sharded.full_tensor()
    return together


def save_parts(
    folder: Path, tensors: dict[str, Tensor], group: dist.ProcessGroup
) -> "Future[object]":
    """Writes tensors that are sharded over the processes of `group` into an empty folder.

    They are copied before this returns, and written in the background.
    """
    checkpoint = late(_CHECKPOINT)
    writer = checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    saved: Future[object] = checkpoint.async_save(
        tensors, storage_writer=writer, process_group=group
    )
    return saved


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what DCP raises when it writes to `folder` into one sentence.

    Raises:
        SystemFault: a process could not write its part.
    """
    try:
        yield
    except late(_CHECKPOINT).CheckpointException as error:
        failure = next(iter(error.failures.values()))[0]
        if isinstance(failure, OSError):
            raise explain_os_error(failure, "write", folder) from error
        raise SystemFault(f"Could not write {folder}: {failure}.") from error


def load_parts(folder: Path, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads what any number of processes wrote by `save_parts`.

    Args:
        folder: where they wrote.
        parameters: a tensor called `<name>.<anything>` comes sharded, or not, as parameter `<name>`
            is, if it has that one's shape; any other comes whole, on the CPU.
    """
    checkpoint = late(_CHECKPOINT)
    reader = checkpoint.HuggingFaceStorageReader(str(folder))
    tensors: dict[str, Tensor] = {}
    for key, found in reader.read_metadata().state_dict_metadata.items():
        parameter = parameters.get(key.rpartition(".")[0])
        if parameter is not None and parameter.shape == found.size:
            tensors[key] = torch.zeros_like(parameter)
        else:
            tensors[key] = torch.zeros(found.size)
    with warnings.catch_warnings():
        # It says that one process reads alone, which is what it should.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        checkpoint.load(tensors, storage_reader=reader)
    return tensors


def part_of(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a tensor that all have whole, sharded as `parameter` is."""
    if is_whole(parameter) or not tensor.ndim or not is_whole(tensor):
        return tensor
    sharded: Any = parameter
    part: Tensor = late("torch.distributed.tensor").distribute_tensor(
        tensor, sharded.device_mesh, sharded.placements, src_data_rank=None
    )
    return part
