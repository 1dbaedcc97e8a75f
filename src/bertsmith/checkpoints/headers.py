"""The tensors of a model folder, in one safetensors file or several, from the headers alone."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.storage import checksum, read_json

WEIGHTS = "model.safetensors"
TASK_CONFIG = "task.json"
"""Of a fine-tuned model: see `tasks.task_config`."""
EXPORT = "export.json"
"""Of a folder whose graph a runtime computes; it has no weights to train."""
INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


class _Index(msgspec.Struct):
    """Of the index of weights in several files (shards), which file holds which tensor."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Stored:
    """What the header of a file says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """By safetensors' name, e.g. `F32`."""

    @property
    def is_float(self) -> bool:
        """Whether it holds plain floating-point numbers, as parameters do."""
        return self.dtype in _FLOATS


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of a model folder; the single file wins over an index.

    Raises:
        FolderError: there are none, or the index or one of its files is missing or damaged.
    """
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file() or not index.is_file():
        return [existing(single)]
    names = sorted(set(read_json(index, _Index).weight_map.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise FolderError(
                f"{index}: weight_map names the file {name!r}, expected a .safetensors file in the "
                "same folder; restore the index from a good copy."
            )
    if not names:
        raise FolderError(f"{index}: weight_map is empty; restore the index from a good copy.")
    return [existing(folder / name) for name in names]


def has_weights(folder: Path) -> bool:
    """Whether there are weights that can be read."""
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()


def weights_checksum(folder: Path) -> str:
    """Of the weights' file, or of all of them in order."""
    return " ".join(checksum(path) for path in weight_files(folder))


def read_headers(folder: Path) -> dict[str, Stored]:
    """The tensors of a model folder by name, from the headers alone.

    Raises:
        FolderError: weights are missing or damaged, or the index and its files disagree.
    """
    found: dict[str, Stored] = {}
    files = weight_files(folder)
    for path in files:
        for name, stored in read_header(path).items():
            if name in found:
                raise FolderError(
                    f"{path}: {name} is also in {found[name].file.name}; restore the folder from "
                    "a good copy."
                )
            found[name] = stored
    if files[0].name != WEIGHTS:
        for name, file in read_json(folder / INDEX, _Index).weight_map.items():
            if name not in found or found[name].file.name != file:
                raise FolderError(
                    f"{folder / file} lacks {name}, which {INDEX} says it holds; restore the "
                    "folder from a good copy."
                )
    return found


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name.

    Raises:
        FolderError: the file is missing, cut short or not a safetensors file.
    """
    try:
        with safe_open(existing(path), framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Stored(path, tuple(part.get_shape()), part.get_dtype())
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error


def existing(path: Path) -> Path:
    """The path of a safetensors file that is there.

    Raises:
        FolderError: it is not.
        SystemFault: it cannot be opened, which safetensors reports as a missing file.
    """
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError:
        pass
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if path.with_name(EXPORT).exists():
        raise exported(path.parent)
    pickled = path.with_name("pytorch_model.bin")
    hint = (
        f"{pickled.name} beside it is a pickle, which can run code, so bertsmith does not read "
        "it; convert the folder with `bertsmith convert`"
        if pickled.exists()
        else "check that the folder is the right one"
    )
    raise FolderError(f"{path} is missing; {hint}.")


def exported(folder: Path) -> FolderError:
    """The error for an exported folder where weights are needed."""
    return FolderError(
        f"{folder} is an exported model, which only answers; give the folder that it was exported "
        "from."
    )


def damaged(path: Path, error: Exception) -> FolderError:
    """The error for a file that cannot be read as safetensors."""
    return FolderError(
        f"{path} is damaged ({error}); restore it from a good copy or write it again."
    )
