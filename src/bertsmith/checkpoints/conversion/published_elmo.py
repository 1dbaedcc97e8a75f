"""The published ELMo, `options.json` and `weights.hdf5`, with a tokenizer of the user's choice.

The published weights read any spelled word; in a model folder the pieces of a tokenizer are the
words, so the folder needs one. The softmax is not in the files.
"""

from pathlib import Path

import msgspec
from torch import Tensor

from bertsmith.checkpoints import bilm
from bertsmith.checkpoints.conversion.source import Source, one_of
from bertsmith.checkpoints.headers import Stored
from bertsmith.checkpoints.tensors import in_fp32
from bertsmith.checkpoints.weights import Weights
from bertsmith.core.errors import UsageError
from bertsmith.models.config_files import config_keys
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ENCODER_ALONE = "the published layout holds only the encoder"
_PREFIX = "elmo."


def is_elmo(folder: Path) -> bool:
    """Whether a folder holds published weights."""
    return folder.is_dir() and any(folder.glob("*.hdf5"))


def open_elmo(folder: Path, tokenizer: Path | None) -> Source:
    """The published model in a folder; every number is read and checked.

    Raises:
        FolderError: a file is missing or damaged, or the two do not belong together.
        UsageError: no tokenizer is given, or the options describe something that is not computed
            here.
        MissingExtra: `h5py` is not installed.
    """
    options = one_of(sorted(folder.glob("*options*.json")), folder, bilm.OPTIONS)
    weights = one_of(sorted(folder.glob("*.hdf5")), folder, bilm.WEIGHTS)
    if tokenizer is None:
        raise UsageError(
            f"{folder} is a published ELMo, which has no vocabulary; pass a tokenizer folder as "
            "`tokenizer`."
        )
    pieces = Tokenizer.load(tokenizer).vocab
    model = bilm.read_elmo(options, weights)
    config = msgspec.structs.replace(model.config, vocab_size=len(pieces))
    state = {f"{_PREFIX}{name}": value for name, value in model.state_dict().items()}
    called = {f"{_PREFIX}{name}": one for name, one in bilm.names_in_file(model.config).items()}

    def load() -> dict[str, Tensor]:
        return {
            name: in_fp32(tensor, f"{weights}: {called[name]}") for name, tensor in state.items()
        }

    stored = {name: Stored(weights, tuple(value.shape), "F32") for name, value in state.items()}
    return Source(
        layout="a published ELMo",
        weights=Weights(folder, config, stored, called, str(weights), options),
        keys=config_keys(config) | {"architectures": ["ElmoModel"]},
        load=load,
        tokenizer=tokenizer,
    )


def elmo_names(source: Source) -> dict[str, str]:
    """Today's name of each parameter -> the dataset that it goes to.

    Raises:
        UsageError: the model is another.
    """
    config = source.weights.config
    if not isinstance(config, ElmoConfig):
        raise UsageError(
            f"{source.weights.where} is not an ELMo; write it as `transformers` or, if it is a "
            "BERT, as `tensorflow-npz`."
        )
    return {f"{_PREFIX}{name}": theirs for name, theirs in bilm.names_in_file(config).items()}


def write_elmo(source: Source, folder: Path) -> None:
    """Writes `options.json` and `weights.hdf5`.

    Raises:
        UsageError: the model is another.
        MissingExtra: `h5py` is not installed.
    """
    named, config = elmo_names(source), source.weights.config
    assert isinstance(config, ElmoConfig)
    model = Elmo(config)
    state = {
        name.removeprefix(_PREFIX): value for name, value in source.load().items() if name in named
    }
    model.load_state_dict(state)
    bilm.write_elmo(folder, model)
