"""`pytorch_model.bin`, through torch's weights-only loader, which runs no code of the pickle."""

import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bertsmith.core.errors import FolderError, UsageError, explain_os_error
from bertsmith.core.storage import read_json

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# Under what name trainers put the weights beside other things.
_INSIDE = ("state_dict", "model_state_dict", "model")


def pickled_files(folder: Path) -> list[Path]:
    """The pickles with the weights of a folder; none if there are none.

    Raises:
        FolderError: the index of several is damaged, or one is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        return []
    found = read_json(folder / INDEX, dict[str, Any]).get("weight_map")
    named = sorted({str(name) for name in found.values()}) if isinstance(found, dict) else []
    if not named:
        raise FolderError(f"{folder / INDEX} names no files; restore it from a good copy.")
    for name in named:
        if Path(name).name != name or not (folder / name).is_file():
            raise FolderError(
                f"{folder / name} is missing, but {INDEX} names it; restore it from a good copy."
            )
    return [folder / name for name in named]


def read_pickles(paths: list[Path], *, allow_pickle: bool) -> dict[str, Tensor]:
    """The tensors of all files, mapped from disk where they can be.

    Raises:
        UsageError: pickles are not allowed.
        FolderError: one is damaged, or holds something other than plain tensors.
        SystemFault: one cannot be read.
    """
    if not allow_pickle:
        raise UsageError(
            f"{paths[0]} is a pickle, a format that can run code. If you trust its source, allow "
            "it with `allow_pickle`: torch's weights-only loader then reads it and runs no code."
        )
    found: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in _tensors(path).items():
            if name in found:
                raise FolderError(f"{path}: another file of the folder also holds {name}.")
            found[name] = tensor
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    whole = _load(path)
    for name in _INSIDE:
        if isinstance(whole, dict) and isinstance(whole.get(name), dict):
            whole = whole[name]
    if not isinstance(whole, dict) or not whole:
        raise FolderError(
            f"{path} holds {type(whole).__name__}, expected tensors by their names; save the "
            "model's state_dict."
        )
    length, total = path.stat().st_size, 0
    for name, tensor in whole.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise FolderError(
                f"{path}: {name!r:.60} is {type(tensor).__name__}, expected a tensor; save only "
                "the model's state_dict."
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise FolderError(
                f"{path}: {name} is sparse or quantized; save the model in fp32, fp16 or bf16."
            )
        # A tensor can repeat a few numbers without end; none of a checkpoint does.
        size = math.prod(tensor.shape) * tensor.itemsize
        total += size
        if size > tensor.untyped_storage().nbytes() or total > 4 * length + (1 << 20):
            raise FolderError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, more than the file holds; "
                "restore it from a good copy."
            )
    return whole


def _load(path: Path) -> Any:
    try:
        path.open("rb").close()
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if member.compress_type != zipfile.ZIP_STORED:
                        raise FolderError(
                            f"{path}: {member.filename} in it is compressed, which torch never "
                            "writes; restore the file from a good copy."
                        )
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except FolderError:
        raise
    except pickle.UnpicklingError as error:
        raise FolderError(
            f"{path} is damaged or holds more than weights, which the weights-only loader "
            "refuses. Load it with the program that wrote it and save only the state_dict."
        ) from error
    except Exception as error:
        # A damaged pickle makes the loader raise whatever its next instruction meets, also OSError.
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise FolderError(f"{path} is damaged ({why}); restore it from a good copy.") from error
