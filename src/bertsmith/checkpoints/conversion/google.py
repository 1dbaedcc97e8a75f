"""Google's BERT: a checkpoint of TensorFlow 1, or its variables as `.npz`; also written as `.npz`.

Beside the weights stand `bert_config.json` and `vocab.txt`, as in Google's releases.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertsmith.checkpoints.conversion.source import (
    Source,
    bert_architecture,
    check_tokenizer,
    one_of,
)
from bertsmith.checkpoints.headers import Stored
from bertsmith.checkpoints.tensorflow import names
from bertsmith.checkpoints.tensorflow.bundle import INDEX, Bundle
from bertsmith.checkpoints.tensors import in_fp32
from bertsmith.checkpoints.weights import Weights
from bertsmith.core.errors import FolderError, UsageError, explain_os_error
from bertsmith.core.storage import atomic_file, read_json, write_bytes, write_json
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config_files import config_keys
from bertsmith.text.tokenizer.tokenizer import Tokenizer

NPZ, CONFIG, VOCAB = "bert_model.npz", "bert_config.json", "vocab.txt"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_LATEST = re.compile(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', re.MULTILINE)
_CASED = re.compile(r"(?<![a-z])(un)?cased(?![a-z])")
_OPTIMIZER = "optimizer state or training counter"
_UNKNOWN = "not a parameter of Google's BERT"
# What Google's modeling.py reads; it computes one epsilon and three activations only.
_GOOGLE_KEYS = (
    "attention_probs_dropout_prob hidden_act hidden_dropout_prob hidden_size initializer_range "
    "intermediate_size max_position_embeddings num_attention_heads num_hidden_layers "
    "type_vocab_size vocab_size"
).split()
_GOOGLE_ACTIVATIONS = ("gelu", "relu", "tanh")
_GOOGLE_EPSILON = 1e-12
_SCRIPTS = ("BertForSequenceClassification", "BertForQuestionAnswering")


def find_checkpoint(path: Path) -> Path | None:
    """The prefix of the checkpoint that a path means: itself, one of its files or its folder.

    Raises:
        UsageError: a folder holds several, and its file `checkpoint` names none of them.
    """
    if path.with_name(path.name + INDEX).is_file():
        return path
    for ending in (r"\.index", r"\.meta", r"\.data-\d+-of-\d+"):
        prefix = re.sub(f"{ending}$", "", path.name)
        if prefix not in ("", path.name):
            return path.with_name(prefix)
    if not path.is_dir():
        return None
    found = sorted(path.glob(f"*{INDEX}"))
    if len(found) > 1 and (path / "checkpoint").is_file():
        text = (path / "checkpoint").read_bytes()[:10_000].decode(errors="replace")
        latest = _LATEST.search(text)
        named = [file for file in found if latest and file.name == latest[1] + INDEX]
        found = named or found
    if not found:
        data = sorted(path.glob("*.data-*-of-*"))
        return data[0].with_name(data[0].name.partition(".data-")[0]) if data else None
    chosen = one_of(found, path, "checkpoint")
    return chosen.with_name(chosen.name.removesuffix(INDEX))


def open_checkpoint(prefix: Path, tokenizer: Path | None) -> Source:
    """A checkpoint of TensorFlow 1 by its prefix.

    Raises:
        FolderError: a file is missing, damaged or another model's.
        UsageError: the configuration describes something that is not computed here.
    """
    bundle = Bundle(prefix)
    entries = {name: bundle.entries[called] for name, called in _scoped(bundle.entries).items()}
    if _OBJECT_GRAPH in entries:
        raise FolderError(
            f"{bundle.index} is a TensorFlow 2 checkpoint (an object graph), which names its "
            "variables differently; expected one from Google's BERT scripts for TensorFlow 1. "
            "Convert it with the program that wrote it."
        )
    stored: dict[str, Stored] = {}
    for name, entry in entries.items():
        if names.to_ours(name) is not None:
            bundle.check(entry)
            stored[name] = Stored(bundle.shards[entry.shard], entry.shape, "F32")
        elif entry.sliced and not names.is_of_training(name):
            bundle.check(entry)
    return _opened(
        "Google's BERT, a TensorFlow 1 checkpoint",
        bundle.index,
        stored,
        others=[(name, entry.name) for name, entry in entries.items() if name not in stored],
        called={name: entry.name for name, entry in entries.items()},
        read=lambda name: bundle.read(entries[name]),
        tokenizer=tokenizer,
    )


def open_npz(path: Path, tokenizer: Path | None) -> Source:
    """Google's variables as arrays of an `.npz`, each by its name.

    Raises:
        FolderError: a file is missing, damaged or another model's.
        UsageError: the configuration describes something that is not computed here.
    """
    arrays = _npz_headers(path)
    scoped = _scoped(arrays)
    stored = {
        name: Stored(path, arrays[called], "F32")
        for name, called in scoped.items()
        if names.to_ours(name) is not None
    }
    return _opened(
        "Google's BERT, its TensorFlow 1 variables as .npz",
        path,
        stored,
        others=[(name, called) for name, called in scoped.items() if name not in stored],
        called=scoped,
        read=lambda name: _npz_array(path, scoped[name]),
        tokenizer=tokenizer,
    )


def _scoped(called: Mapping[str, object]) -> dict[str, str]:
    return names.without_scope(called)


def _opened(
    layout: str,
    path: Path,
    stored: dict[str, Stored],
    *,
    others: list[tuple[str, str]],
    called: dict[str, str],
    read: Callable[[str], Tensor],
    tokenizer: Path | None,
) -> Source:
    """What both layouts have in common; tensors by Google's names without a scope."""
    if names.WORDS not in stored:
        first = ", ".join(sorted(called.values())[:3]) or "none"
        raise FolderError(
            f"{path} lacks {names.WORDS}, so it is not a checkpoint of Google's BERT. Its first "
            f"names are {first}."
        )
    folder = path.parent
    config_file = _config_file(folder)
    config = BertConfig.from_keys(read_json(config_file, dict[str, Any]), str(config_file))
    ours = {name: names.to_ours(name) or "" for name in stored}
    turned = {
        ours[name]: Stored(one.file, one.shape[::-1], one.dtype)
        if name.endswith("/kernel")
        else one
        for name, one in stored.items()
    }
    in_file = {ours[name]: called[name] for name in stored}
    weights = Weights(folder, config, turned, in_file, str(path), config_file)
    weights.check_encoder()
    weights.check_complete(lambda name: names.to_theirs(name) or name)
    kind, notes = bert_architecture(set(turned)), []
    keys = config_keys(config) | {"architectures": [kind]}
    if kind == "BertForSequenceClassification":
        classes = (turned["classifier.weight"].shape or (1,))[0]
        keys["id2label"] = {str(number): f"LABEL_{number}" for number in range(classes)}
        keys["label2id"] = {f"LABEL_{number}": number for number in range(classes)}
        keys["problem_type"] = "single_label_classification" if classes > 1 else "regression"
        if classes > 1:
            notes.append(
                f"The checkpoint does not name its {classes} classes; they are LABEL_0 to "
                f"LABEL_{classes - 1}. Write their names into id2label of config.json."
            )
    place = tokenizer or folder
    if tokenizer is None and not (folder / VOCAB).is_file():
        raise FolderError(
            f"{folder} holds no {VOCAB}; put the model's vocabulary there, or give a tokenizer's "
            "folder as `tokenizer`."
        )
    lower_case = check_tokenizer(place, config.vocab_size, config_file).cleaning.lower_case
    notes.append(_casing(lower_case, path))

    def load() -> dict[str, Tensor]:
        return {
            ours[name]: in_fp32(names.turned(name, read(name)), f"{one.file}: {called[name]}")
            for name, one in stored.items()
        }

    return Source(
        layout=layout,
        weights=weights,
        keys=keys,
        load=load,
        tokenizer=place,
        dropped={
            known: _OPTIMIZER if names.is_of_training(name) else _UNKNOWN for name, known in others
        },
        notes=tuple(notes),
    )


def _casing(lower_case: bool, path: Path) -> str:
    """What is done to capitals; Google's releases say it in the folder's name only."""
    does = "lower-cases text" if lower_case else "keeps capitals"
    said = _CASED.search(path.resolve().parent.name.lower())
    if said is None or bool(said[1]) == lower_case:
        return f"The tokenizer {does}, as its vocabulary shows."
    return (
        f"The tokenizer {does}, as its vocabulary shows, though the folder's name says "
        f"{said[0]}: check do_lower_case in tokenizer_config.json and lowercase in tokenizer.json."
    )


def _config_file(folder: Path) -> Path:
    for name in (CONFIG, "config.json"):
        if (folder / name).is_file():
            return folder / name
    return one_of(sorted(folder.glob("*config*.json")), folder, CONFIG)


# --- .npz ---------------------------------------------------------------------------------------


def check_npz(source: Source) -> Tokenizer:
    """Checks that Google's code computes the model; returns the tokenizer.

    Raises:
        UsageError: it does not, or the tokenizer is another.
    """
    config, tokenizer = source.weights.config, Tokenizer.load(source.tokenizer)
    if not isinstance(config, BertConfig) or config.is_decoder:
        raise UsageError(
            f"{source.weights.where} is not a bidirectional BERT, the only model of Google's "
            "code; write it as `transformers`."
        )
    if config.layer_norm_eps != _GOOGLE_EPSILON or config.hidden_act not in _GOOGLE_ACTIVATIONS:
        raise UsageError(
            f"{source.weights.config_file}: layer_norm_eps is {config.layer_norm_eps:g} and "
            f"hidden_act {config.hidden_act!r}; Google's code computes {_GOOGLE_EPSILON:g}, and "
            f"{', '.join(_GOOGLE_ACTIVATIONS)}. Write the model as `transformers`."
        )
    if tokenizer.merges is not None or tokenizer.added:
        raise UsageError(
            f"{source.tokenizer}: the tokenizer is not WordPiece or has added tokens, which "
            f"Google's {VOCAB} cannot store; write the model as `transformers`."
        )
    return tokenizer


def write_npz(source: Source, folder: Path) -> None:
    """Writes the weights under Google's names, `bert_config.json` and `vocab.txt`.

    Raises:
        UsageError: as `check_npz`.
        SystemFault: the disk is full or the folder cannot be written.
    """
    tokenizer = check_npz(source)
    with atomic_file(folder / NPZ) as file, zipfile.ZipFile(file, "w") as archive:
        for ours, tensor in source.load().items():
            theirs = npz_name(ours, source)
            if theirs is not None:
                array = names.turned(theirs, tensor).numpy()
                with archive.open(f"{theirs}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    keys = {key: getattr(source.weights.config, key) for key in _GOOGLE_KEYS}
    write_json(folder / CONFIG, keys)
    write_bytes(folder / VOCAB, "".join(f"{piece}\n" for piece in tokenizer.vocab).encode())


NO_PLACE = "Google's scripts have no such head"


def npz_name(ours: str, source: Source) -> str | None:
    """Google's name of a parameter; its scripts classify texts and find answers, no more."""
    architectures = source.keys.get("architectures") or []
    if ours.startswith(("classifier.", "qa_outputs.")) and not set(architectures) & set(_SCRIPTS):
        return None
    return names.to_theirs(ours)


def _npz_headers(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each array; sizes are compared with the file before anything is read."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        length = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > length:
                    raise FolderError(
                        f"{path}: {name} is compressed; save the arrays again with numpy.savez."
                    )
                with archive.open(member) as file:
                    shape, dtype = _npy_header(file.read(1 << 12))
                if dtype.kind in "fi" and prod(shape) * dtype.itemsize > member.file_size:
                    raise ValueError(f"{name} is shorter than its shape {shape} says")
                found[name] = shape
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return found


def _npy_header(start: bytes) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    file = io.BytesIO(start)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _npz_array(path: Path, name: str) -> Tensor:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise _damaged(path, error) from error
    if array.dtype.kind != "f":
        raise FolderError(
            f"{path}: {name} holds {array.dtype}, expected floating-point numbers; the file is "
            "damaged or not a BERT's."
        )
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _damaged(path: Path, error: Exception) -> FolderError:
    why = " ".join(str(error).split())[:200]
    return FolderError(f"{path} is damaged or not an .npz ({why}); restore it from a good copy.")
