"""The job: a checkpoint of any known layout to a model folder, or to another program's layout.

SOURCE is recognised by its files. A model folder is written beside its place, loaded as a whole,
and moved there only then.
"""

import shutil
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from bertsmith.checkpoints.conversion.folders import CONFIG, open_folder
from bertsmith.checkpoints.conversion.google import (
    NO_PLACE,
    NPZ,
    check_npz,
    find_checkpoint,
    npz_name,
    open_checkpoint,
    open_npz,
    write_npz,
)
from bertsmith.checkpoints.conversion.openai import SHAPES, open_openai
from bertsmith.checkpoints.conversion.published_elmo import (
    ENCODER_ALONE,
    elmo_names,
    is_elmo,
    open_elmo,
    write_elmo,
)
from bertsmith.checkpoints.conversion.source import Source
from bertsmith.checkpoints.folder import load_any, parameter_count
from bertsmith.checkpoints.headers import WEIGHTS
from bertsmith.checkpoints.sentence_modules import MODULES
from bertsmith.checkpoints.sources import resolve, root
from bertsmith.checkpoints.tensors import save_tensors
from bertsmith.core.errors import FolderError, ModelWarning, UsageError
from bertsmith.core.storage import atomic_folder, write_bytes, write_json
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.family import encoder_of
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Layout = Literal["transformers", "tensorflow-npz", "elmo"]
DType = Literal["fp32", "fp16", "bf16"]
_TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_SEQUENCES, _LENGTH = 16, 64


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A parameter that is kept."""

    source: str
    shape: tuple[int, ...]
    """Data types of a model folder."""
    dest: str


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a checkpoint."""

    source: str
    layout: str
    """Description of the recognized source."""
    dest: str
    to: Layout
    family: str
    architecture: str
    """Name of the model's class in `transformers`."""
    mapped: list[Mapped]
    dropped: dict[str, str]
    """Name in the source -> why it is left out."""
    notes: list[str]
    dry_run: bool
    dtype: DType
    files: list[str] = field(default_factory=list)
    parameters: int = 0
    bytes: int = 0
    """Total size of the files."""
    difference: float | None = None
    """With a smaller `dtype`: the largest change of an output over random inputs, relative to how
    much the outputs vary (their standard deviation)."""


def convert(
    source: str | Path,
    dest: str | Path,
    *,
    to: Layout = "transformers",
    dtype: DType = "fp32",
    tokenizer: str | Path | None = None,
    allow_pickle: bool = False,
    dry_run: bool = False,
) -> Conversion:
    """Converts a checkpoint; `dest` is whole or absent.

    Args:
        source: a folder of Google's BERT (TensorFlow 1, or `.npz`), `transformers`,
            sentence-transformers, a published ELMo or OpenAI's GPT; a checkpoint's prefix or one of
            its files; or a model's name that `sources.resolve` knows.
        dest: a new folder.
        to: the layout to write.
        dtype: of the weights in a model folder. Whoever loads it computes in fp32.
        tokenizer: a tokenizer's folder, for a source that has none.
        allow_pickle: whether `pytorch_model.bin` may be read, through torch's weights-only loader.
        dry_run: only open the source and say what maps to what.

    Raises:
        UsageError: `dest` exists, the source is of no known layout, or the target does not fit it.
        FolderError: a file is missing or damaged, files contradict each other, or a smaller `dtype`
            changes what the model computes.
        SystemFault: the disk is full or a path cannot be read or written.
        MissingExtra: `h5py` is not installed, for an ELMo.
    """
    dest = Path(dest)
    _check(to, dtype, dest)
    place = None if tokenizer is None else resolve(tokenizer)
    opened = _open(source, place, allow_pickle=allow_pickle)
    dropped, mapped = _plan(opened, to)
    result = Conversion(
        source=str(source),
        layout=opened.layout,
        dest=str(dest),
        to=to,
        family=opened.weights.config.family,
        architecture=next(iter(opened.keys.get("architectures") or []), ""),
        mapped=mapped,
        dropped=dropped,
        notes=list(opened.notes),
        dry_run=dry_run,
        dtype=dtype,
    )
    if dry_run:
        return result
    with atomic_folder(dest) as folder:
        difference, parameters = None, 0
        match to:
            case "transformers":
                parameters, difference = _write_folder(opened, folder, dtype, str(source))
            case "tensorflow-npz":
                write_npz(opened, folder)
            case "elmo":
                write_elmo(opened, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        names = [path.relative_to(folder).as_posix() for path in files]
    return replace(result, files=names, parameters=parameters, bytes=size, difference=difference)


def _check(to: str, dtype: str, dest: Path) -> None:
    for name, value, known in (("to", to, Layout), ("dtype", dtype, DType)):
        if value not in get_args(known):
            raise UsageError(f"{name} is {value!r}; expected one of {', '.join(get_args(known))}.")
    if to != "transformers" and dtype != "fp32":
        raise UsageError(f"The layout {to} stores only fp32; remove `dtype`.")
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} already exists; give a new folder, or remove this one first.")


def _open(source: str | Path, tokenizer: Path | None, *, allow_pickle: bool) -> Source:
    """The source, recognised by its files."""
    prefix = find_checkpoint(Path(source))
    if prefix is not None:
        return open_checkpoint(prefix, tokenizer)
    path = root(source)
    if path.is_file():
        if path.suffix == ".npz":
            return open_npz(path, tokenizer)
        raise UsageError(
            f"{path} is not in a known layout; give the folder of the model, the .npz of a BERT, "
            "or the .index of a TensorFlow checkpoint."
        )
    if (path / NPZ).is_file():
        return open_npz(path / NPZ, tokenizer)
    if (path / MODULES).is_file() or (path / CONFIG).is_file():
        return open_folder(path, tokenizer, allow_pickle=allow_pickle)
    if is_elmo(path):
        return open_elmo(path, tokenizer)
    if (path / SHAPES).is_file():
        return open_openai(path)
    there = ", ".join(sorted(one.name for one in path.iterdir())[:6]) or "nothing"
    raise UsageError(
        f"{path} holds no checkpoint in a known layout: config.json (`transformers`), "
        "modules.json (sentence-transformers), *.ckpt.index or bert_model.npz (Google's BERT), "
        f"weights.hdf5 (ELMo), {SHAPES} (OpenAI's GPT). It holds {there}."
    )


def _plan(source: Source, to: Layout) -> tuple[dict[str, str], list[Mapped]]:
    """What is left out and why, and where the rest goes."""
    dropped, mapped = dict(source.dropped), []
    weights = source.weights
    names: dict[str, str | None] = {name: name for name in weights.names}
    why = ""
    if to == "tensorflow-npz":
        check_npz(source)
        names, why = {name: npz_name(name, source) for name in names}, NO_PLACE
    elif to == "elmo":
        places = elmo_names(source)
        names, why = {name: places.get(name) for name in names}, ENCODER_ALONE
    for name, called in weights.names.items():
        dest = names[name]
        if dest is None:
            dropped[called] = why
        else:
            mapped.append(Mapped(source=called, shape=weights.stored[name].shape, dest=dest))
    return dropped, mapped


# --- a model folder -----------------------------------------------------------------------------


def _write_folder(
    source: Source, folder: Path, dtype: DType, origin: str
) -> tuple[int, float | None]:
    """Writes the folder and loads it; the number of parameters, and what `dtype` changed."""
    tensors = source.load()
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    for name, path in source.carried.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    for name, data in source.written.items():
        write_bytes(folder / name, data)
    if not (folder / "tokenizer.json").is_file():
        place = folder if source.carried.keys() & {"vocab.txt", "vocab.json"} else source.tokenizer
        max_length = source.weights.config.max_position_embeddings
        Tokenizer.load(place).save(folder, model_max_length=max_length)
    if not (folder / "README.md").is_file():
        write_bytes(folder / "README.md", _card(source, origin).encode())
    # By this whoever loads the folder computes in fp32, whatever the weights are stored as.
    write_json(folder / CONFIG, source.keys | {"dtype": "float32"})
    if dtype == "fp32":
        del tensors
        return _proved(folder, origin)[0], None
    parameters, before = _proved(folder, origin)
    small = {name: _rounded(tensor, name, dtype) for name, tensor in tensors.items()}
    save_tensors(folder / WEIGHTS, small, {"format": "pt"})
    del tensors, small
    _, after = _proved(folder, origin)
    difference = float((after - before).abs().max() / before.std().clamp(min=1e-30))
    if not difference <= 1:
        raise FolderError(
            f"{origin}: in {dtype} an output changes by {difference:.3g} times its standard "
            "deviation; keep this model in fp32."
        )
    return parameters, difference


def _rounded(tensor: Tensor, name: str, dtype: DType) -> Tensor:
    small = tensor.to(_TORCH[dtype])
    if not bool(small.isfinite().all()):
        raise FolderError(f"{name} has weights beyond 65,504, which {dtype} cannot hold.")
    return small


def _proved(folder: Path, origin: str) -> tuple[int, Tensor]:
    """Loads the whole folder; its number of parameters, and outputs for random inputs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            model = load_any(folder)
    except (FolderError, UsageError) as error:
        # The folder is a temporary one, which whoever reads the message cannot look into.
        raise type(error)(str(error).replace(str(folder), origin)) from error
    rows = len(Tokenizer.load(folder))
    length = min(_LENGTH, model.config.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(rows, (_SEQUENCES, length), generator=generator)
    with torch.inference_mode():
        hidden_TD: Tensor = encoder_of(model)(pack(ids.tolist()))
        if isinstance(model, BertForPretraining):
            hidden_TD = model.logits(hidden_TD)
    return parameter_count(model), hidden_TD


def _card(source: Source, origin: str) -> str:
    name = Path(origin).name
    return (
        f"# {name}\n\nConverted by [bertsmith](https://pypi.org/project/bertsmith/) from {name}, "
        f"which was {source.layout}.\n"
    )
