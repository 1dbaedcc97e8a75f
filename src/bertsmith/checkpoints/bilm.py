"""The published ELMo files, `options.json` and `weights.hdf5` (bilm-tf, AllenNLP), both ways.

One table says where each parameter is in the file; a row serves reading and writing. The softmax is
not in these files. HDF5 comes through `h5py` (extra `elmo`).
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertsmith.core.errors import FolderError, UsageError, explain_os_error, nearest
from bertsmith.core.extras import require
from bertsmith.core.storage import atomic_path, read_json, write_json
from bertsmith.models.elmo.characters import CHARACTER_IDS
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo

OPTIONS, WEIGHTS = "options.json", "weights.hdf5"

# Keys of options.json that say how the model was trained, and nothing of what it computes.
_TRAINING_KEYS = frozenset(
    "all_clip_norm_val batch_size n_epochs n_negative_samples_batch n_train_tokens sample_softmax "
    "unroll_steps".split()
)
_LSTM_KEYS = {
    "dim": "lstm_width",
    "n_layers": "lstm_layers",
    "projection_dim": "projection",
    "cell_clip": "cell_clip",
    "proj_clip": "projection_clip",
}
_CNN_KEYS = {
    "filters": "filters",
    "n_highway": "highways",
    "activation": "cnn_act",
    "max_characters_per_token": "characters",
}
_THEIR_NAMES = {ours: f"lstm.{theirs}" for theirs, ours in _LSTM_KEYS.items()}
_THEIR_NAMES |= {ours: f"char_cnn.{theirs}" for theirs, ours in _CNN_KEYS.items()}
_THEIR_NAMES |= {"skip_connections": "lstm.use_skip_connections"}
_THEIR_NAMES |= {"char_width": "char_cnn.embedding.dim", "vocab_size": "n_tokens_vocab"}
# Where an error names a key: behind the file's name, and in quotes.
_OPTIONS_HERE = "<options>"
_OUR_KEY = re.compile(rf"(?<={_OPTIONS_HERE}: )\w+|(?<=')\w+")


class _Row(NamedTuple):
    """Where parameters of ours are in the file."""

    ours: tuple[str, ...]
    """Side by side along the last axis, they are the one there."""
    theirs: str
    from_theirs: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _turned(tensor: Tensor) -> Tensor:
    return tensor.mT


def _rows(config: ElmoConfig) -> Iterator[_Row]:
    # Theirs has no row for the mask.
    yield _Row(
        ("encoder.embedding.weight",),
        "char_embed",
        lambda theirs: torch.cat([theirs.new_zeros(1, theirs.shape[1]), theirs]),
        lambda ours: ours[1:],
    )
    for i in range(len(config.filters)):
        # [1, characters, in, out] there, [out, in, characters] here.
        yield _Row(
            (f"encoder.convolutions.{i}.weight",),
            f"CNN/W_cnn_{i}",
            lambda theirs: theirs[0].permute(2, 1, 0),
            lambda ours: ours.permute(2, 1, 0)[None],
        )
        yield _Row((f"encoder.convolutions.{i}.bias",), f"CNN/b_cnn_{i}", _same, _same)
    linear = [
        (f"encoder.highways.{i}.{name}", f"CNN_high_{i}", name)
        for i in range(config.highways)
        for name in ("carry", "transform")
    ]
    if sum(number for _, number in config.filters) != config.projection:
        linear.append(("encoder.projection", "CNN_proj", "proj"))
    for ours, folder, name in linear:
        yield _Row((f"{ours}.weight",), f"{folder}/W_{name}", _turned, _turned)
        yield _Row((f"{ours}.bias",), f"{folder}/b_{name}", _same, _same)
    for direction, way in enumerate(("forward", "backward")):
        for layer in range(config.lstm_layers):
            ours = f"{way}_lstms.{layer}"
            theirs = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            # Input and state are one matrix there; the gates' order is ours.
            both = (f"{ours}.input_weight", f"{ours}.state_weight")
            yield _Row(both, f"{theirs}/W_0", _turned, _turned)
            yield _Row((f"{ours}.bias",), f"{theirs}/B", _same, _same)
            yield _Row((f"{ours}.projection",), f"{theirs}/W_P_0", _turned, _turned)


def names_in_file(config: ElmoConfig) -> dict[str, str]:
    """Name of each parameter of an `Elmo` -> the dataset that it is in, alone or with others."""
    return {ours: row.theirs for row in _rows(config) for ours in row.ours}


def read_elmo(options: str | Path, weights: str | Path) -> Elmo:
    """The published model in two files, for whole words, in fp32 on the CPU, in evaluation mode.

    Raises:
        FolderError: a file is missing or damaged, or a dataset of the weights is missing, left over
            or of another shape than the options say.
        UsageError: the options describe something that is not computed here.
        MissingExtra: `h5py` is not installed.
    """
    config = read_options(Path(options))
    stored = _read_datasets(Path(weights))
    model = Elmo(config)
    state = model.state_dict()
    for row in _rows(config):
        if row.theirs not in stored:
            raise FolderError(
                f"{weights} lacks the dataset {row.theirs}, which {options} requires; check that "
                "the two files belong together."
            )
        there = torch.from_numpy(stored.pop(row.theirs))
        parts = [state[name] for name in row.ours]
        expected = row.to_theirs(torch.cat(parts, -1)).shape
        if there.shape != expected:
            raise FolderError(
                f"{weights}: {row.theirs} has shape {tuple(there.shape)}, {options} says "
                f"{tuple(expected)}; one of the two files is from another model."
            )
        widths = [part.shape[-1] for part in parts]
        for part, value in zip(parts, torch.split(row.from_theirs(there), widths, -1), strict=True):
            part.copy_(value)
    if stored:
        known = [row.theirs for row in _rows(config)]
        first = min(stored)
        raise FolderError(
            f"{weights}: {len(stored)} datasets have no place in the model of {options}, the first "
            f"is {first}{nearest(first, known)}; check that the two files belong together."
        )
    return model.eval()


def write_elmo(folder: str | Path, model: Elmo) -> None:
    """Writes the model as `options.json` and `weights.hdf5`; each is whole or absent.

    Their readers take whole words: of a model of WordPieces they hold the weights, not the rule by
    which a piece that goes on with a word is spelled.

    Raises:
        UsageError: the model is another.
        SystemFault: the disk is full or the folder cannot be written.
        MissingExtra: `h5py` is not installed.
    """
    h5py, folder = _h5py(), Path(folder)
    if not isinstance(model, Elmo):
        raise UsageError(
            f"write_elmo takes an Elmo, found {type(model).__name__}; of a pre-trained ELMo give "
            "its `.elmo`."
        )
    state = model.state_dict()
    with atomic_path(folder / WEIGHTS) as temporary, h5py.File(temporary, "w") as file:
        for row in _rows(model.config):
            ours = torch.cat([state[name] for name in row.ours], -1)
            file[row.theirs] = row.to_theirs(ours.cpu()).contiguous().numpy()
    config = model.config
    lstm = {theirs: getattr(config, ours) for theirs, ours in _LSTM_KEYS.items()}
    cnn = {theirs: getattr(config, ours) for theirs, ours in _CNN_KEYS.items()}
    keys = {
        "bidirectional": True,
        "lstm": lstm | {"use_skip_connections": config.skip_connections},
        "char_cnn": cnn | {"embedding": {"dim": config.char_width}, "n_characters": CHARACTER_IDS},
        "n_tokens_vocab": config.vocab_size,
        "dropout": config.dropout,
    }
    write_json(folder / OPTIONS, keys)


def read_options(path: Path) -> ElmoConfig:
    """The config that an `options.json` describes.

    Raises:
        FolderError: the file is missing or damaged, or a key is missing, unknown or wrong.
        UsageError: it describes something that is not computed here.
    """
    keys = read_json(path, dict[str, Any])
    lstm, cnn = _section(keys, "lstm", path), _section(keys, "char_cnn", path)
    cnn.setdefault("n_highway", 0)
    embedding = _section(cnn, "embedding", path)
    _check(keys, "bidirectional", (True,), path)
    # With and without the mask's: 261 while it is trained, 262 after.
    _check(cnn, "n_characters", (CHARACTER_IDS - 1, CHARACTER_IDS), path)
    known = {ours: _taken(lstm, theirs, path) for theirs, ours in _LSTM_KEYS.items()}
    known |= {ours: _taken(cnn, theirs, path) for theirs, ours in _CNN_KEYS.items()}
    known["char_width"] = _taken(embedding, "dim", path)
    known["skip_connections"] = lstm.pop("use_skip_connections", True)
    # Of the softmax, which is not in these files; the published options leave it out too.
    known["vocab_size"] = keys.pop("n_tokens_vocab", 1)
    if "dropout" in keys:
        known["dropout"] = keys.pop("dropout")
    left = [*lstm, *cnn, *embedding, *(keys.keys() - _TRAINING_KEYS)]
    if left:
        raise FolderError(
            f"{path}: unknown key '{min(left)}'; remove it if the model does not need it."
        )
    try:
        return ElmoConfig.from_keys(known, _OPTIONS_HERE)
    except (FolderError, UsageError) as error:
        # It speaks of our keys, which whoever wrote the file has never seen.
        said = _OUR_KEY.sub(lambda key: _THEIR_NAMES.get(key[0], key[0]), str(error))
        raise type(error)(said.replace(_OPTIONS_HERE, str(path))) from error


def _section(keys: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A part of the options; it is taken out, and what is left over in the end is unknown."""
    section = _taken(keys, name, path)
    if not isinstance(section, dict):
        raise FolderError(f"{path}: {name} is {section!r}, expected an object; correct it.")
    return section


def _taken(keys: dict[str, Any], name: str, path: Path) -> Any:
    if name not in keys:
        raise FolderError(f"{path} lacks the key {name}; check that it is an ELMo's {OPTIONS}.")
    return keys.pop(name)


def _check(keys: dict[str, Any], name: str, allowed: tuple[object, ...], path: Path) -> None:
    value = keys.pop(name, allowed[0])
    if value not in allowed:
        raise UsageError(f"{path}: {name} is {value!r}; bertsmith computes only {allowed[0]!r}.")


def _read_datasets(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of an HDF5 file by its path there, as fp32."""
    h5py = _h5py()
    if not path.is_file():
        raise FolderError(f"{path} is missing; give the {WEIGHTS} of a published ELMo.")
    stored: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind != "f" or item.shape is None:
            raise FolderError(
                f"{path}: {name} holds {item.dtype}, expected floating-point numbers; the file is "
                "damaged or not an ELMo's."
            )
        with np.errstate(over="ignore"):
            stored[name] = item[...].astype(np.float32)
        if not np.isfinite(stored[name]).all():
            raise FolderError(
                f"{path}: {name} holds numbers that are not finite; restore the file from a good "
                "copy."
            )

    # What h5py raises for damaged bytes depends on where they are.
    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise explain_os_error(error, "read", path) from error
        raise FolderError(
            f"{path} is damaged or not an HDF5 file ({error}); restore it from a good copy."
        ) from error
    return stored


def _h5py() -> Any:
    return require("h5py", extra="elmo", purpose="Reading or writing ELMo's HDF5 weights")
