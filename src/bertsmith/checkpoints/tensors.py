"""Safetensors files read into memory and written whole."""

import errno
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertsmith.checkpoints.headers import damaged, existing
from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.storage import atomic_path


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file into memory, floating point as fp32.

    Raises:
        FolderError: the file is missing, cut short or not a safetensors file, or a number in it is
            not finite.
    """
    try:
        tensors = load_file(existing(path))
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = in_fp32(tensor, f"{path}: {name}")
    return tensors


def in_fp32(tensor: Tensor, source: str) -> Tensor:
    """The tensor in fp32, checked; `source` is its file and name.

    Raises:
        FolderError: a number in it is not finite.
    """
    tensor = tensor.float()
    wrong = int((~tensor.isfinite()).sum())
    if wrong:
        raise FolderError(
            f"{source} holds {wrong:,} numbers that are not finite (NaN, infinity or beyond "
            "fp32). The weights are damaged or the training diverged. Restore the file from a "
            "good copy, or take an earlier checkpoint."
        )
    return tensor


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Raises:
        SystemFault: the disk is full or the path cannot be written.
    """
    with atomic_path(path) as temporary:
        # safetensors gives its file to the owner alone; every other file follows the umask.
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(tensors, temporary, metadata)
        except (SafetensorError, OSError) as error:
            # safetensors keeps the system's error number in its text only.
            number = re.search(r"os error (\d+)", str(error))
            fault = OSError(int(number[1]) if number else errno.EIO, str(error))
            raise explain_os_error(fault, "write", path) from error
        temporary.chmod(mode)
