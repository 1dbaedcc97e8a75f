"""Model folders of `transformers` and sentence-transformers, safetensors or pickles."""

import posixpath
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from bertsmith.checkpoints.conversion.pickles import pickled_files, read_pickles
from bertsmith.checkpoints.conversion.source import Source, bert_architecture, check_tokenizer
from bertsmith.checkpoints.headers import (
    EXPORT,
    TASK_CONFIG,
    WEIGHTS,
    Stored,
    exported,
    has_weights,
    read_headers,
    weight_files,
)
from bertsmith.checkpoints.sentence_modules import (
    MODULES,
    PROMPTS,
    TRANSFORMER,
    module_folder,
    read_modules,
)
from bertsmith.checkpoints.tensors import in_fp32, load_tensors
from bertsmith.checkpoints.weights import Weights, has_place
from bertsmith.core.errors import FolderError
from bertsmith.core.storage import read_json
from bertsmith.models import parameters
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config_files import config_from_keys

CONFIG, CARD = "config.json", "README.md"
_REPEATS = "repeats {}"
_UNKNOWN = "not a parameter of this model"
# Of the program that wrote them; the new folder is written by this one.
_GONE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
TOKENIZER_FILES = (
    "vocab.txt vocab.json merges.txt tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json"
).split()
# Of the programs that `transformers` once wrote for other frameworks, which are not read.
_ELSEWHERE = ("tf_model.h5", "flax_model.msgpack", "model.onnx", "rust_model.ot")
_PICKLED = (".bin", ".pt", ".pkl")


def open_folder(folder: Path, tokenizer: Path | None, *, allow_pickle: bool) -> Source:
    """A folder of `transformers`, or a folder of sentence-transformers with one inside.

    Raises:
        FolderError: a file is missing, damaged or another model's.
        UsageError: the model is not computed here, or its weights are pickles, which are not
            allowed.
    """
    if (folder / MODULES).is_file():
        return _open_modules(folder, tokenizer, allow_pickle=allow_pickle)
    return _open_transformer(folder, tokenizer, allow_pickle=allow_pickle)


def _open_transformer(folder: Path, tokenizer: Path | None, *, allow_pickle: bool) -> Source:
    config_file = folder / CONFIG
    keys = read_json(config_file, dict[str, Any])
    config = config_from_keys(keys, str(config_file))
    pickled = {} if has_weights(folder) else _pickled(folder, allow_pickle=allow_pickle)
    files = pickled_files(folder) if pickled else weight_files(folder)
    headers = _stored(pickled, files[0]) if pickled else read_headers(folder)
    where = str(files[0] if len(files) == 1 else folder)
    in_file = config.parameters.names_in_file(headers, where)
    names, kept, dropped = dict(in_file), {}, {}
    copies = {
        copy: first
        for copy, first in config.parameters.repeated.items()
        if copy in names and first in names
    }
    weights = Weights(
        folder, config, {n: headers[c] for n, c in names.items()}, names, where, config_file
    )
    weights.check_encoder()
    weights.check_complete()
    known = set(has_place(config, names))
    for name, called in names.items():
        if name in copies:
            dropped[called] = _REPEATS.format(names[copies[name]])
        elif name not in known:
            dropped[called] = _UNKNOWN
        else:
            kept[name] = called
    for called in headers.keys() - in_file.values():
        dropped[called] = "a constant, not a parameter"
    keys = {key: value for key, value in keys.items() if key not in _GONE}
    keys["model_type"] = config.model_type
    if isinstance(config, BertConfig) and not keys.get("architectures"):
        keys["architectures"] = [bert_architecture(set(kept))]
    place = tokenizer or folder
    check_tokenizer(place, config.vocab_size, config_file)

    def load() -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for path in [] if pickled else files:
            tensors |= load_tensors(path)
        for called, tensor in pickled.items():
            tensors[called] = _own(tensor, f"{where}: {called}")
        found = {name: tensors[called] for name, called in names.items() if name in known}
        return parameters.without_repeated(config, found, names, source=where)

    carried = {name: folder / name for name in (*TOKENIZER_FILES, CARD, TASK_CONFIG)}
    if tokenizer is not None:
        carried = {TASK_CONFIG: carried[TASK_CONFIG]}
    return Source(
        layout=f"a folder of `transformers`{', pickled' if pickled else ''}",
        weights=Weights(
            folder, config, {n: headers[c] for n, c in kept.items()}, kept, where, config_file
        ),
        keys=keys,
        load=load,
        tokenizer=place,
        dropped=dropped,
        carried={name: path for name, path in carried.items() if path.is_file()},
    )


def _pickled(folder: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    files = pickled_files(folder)
    if files:
        return read_pickles(files, allow_pickle=allow_pickle)
    if (folder / EXPORT).is_file():
        raise exported(folder)
    elsewhere = [name for name in _ELSEWHERE if (folder / name).is_file()]
    if elsewhere:
        raise FolderError(
            f"{folder} holds {elsewhere[0]}, which bertsmith does not read, and no "
            "model.safetensors or pytorch_model.bin; download one of these."
        )
    return {}


def _own(tensor: Tensor, source: str) -> Tensor:
    """In memory of its own and in order: tensors of a pickle may share theirs, or lie across it."""
    return in_fp32(tensor.clone(memory_format=torch.contiguous_format), source)


def _stored(tensors: dict[str, Tensor], path: Path) -> dict[str, Stored]:
    return {
        name: Stored(path, tuple(tensor.shape), "F32" if tensor.is_floating_point() else "I64")
        for name, tensor in tensors.items()
    }


# --- sentence-transformers ----------------------------------------------------------------------


def _open_modules(folder: Path, tokenizer: Path | None, *, allow_pickle: bool) -> Source:
    """The transformer inside, which moves to the root; the other modules are carried unchanged."""
    modules = read_modules(folder)
    inside = module_folder(folder, modules[0])
    source = _open_transformer(inside, tokenizer, allow_pickle=allow_pickle)
    carried = dict(source.carried)
    for place in (folder, inside):
        for name in (TRANSFORMER, PROMPTS, *([CARD] if place == folder else [])):
            if (place / name).is_file():
                carried[name] = place / name
    written: dict[str, bytes] = {}
    for module in modules[1:]:
        place = module_folder(folder, module)
        files = sorted(path for path in place.rglob("*") if path.is_file()) if module.path else []
        for path in files:
            name = posixpath.join(module.path, path.relative_to(place).as_posix())
            if path.suffix not in _PICKLED:
                carried[name] = path
            elif not path.with_name(WEIGHTS).is_file():
                tensors = read_pickles([path], allow_pickle=allow_pickle)
                own = {called: _own(one, f"{path}: {called}") for called, one in tensors.items()}
                written[posixpath.join(posixpath.dirname(name), WEIGHTS)] = save(own)
    listed = [msgspec.to_builtins(module) for module in modules]
    listed[0] |= {"path": ""}
    return replace(
        source,
        layout="a folder of sentence-transformers",
        carried=carried,
        written=written
        | {MODULES: msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"},
    )
