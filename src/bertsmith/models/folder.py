"""A model folder: what `transformers` loads unchanged, and what it writes for BERT, loaded here.

config.json  model.safetensors  vocab.txt  tokenizer.json  tokenizer_config.json  README.md
"""

import errno
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertsmith.config import BertConfig, bert_config_from_keys
from bertsmith.errors import FolderError, explain_os_error
from bertsmith.files import atomic_path, read_json, write_bytes, write_json
from bertsmith.models.heads import BertForPretraining
from bertsmith.models.keys import to_ours, to_theirs
from bertsmith.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_HEADS = ("mlm.", "pooler.", "next_sentence.")


def save_model(folder: Path, model: BertForPretraining, tokenizer: Tokenizer, *, card: str) -> None:
    """Writes the model, its tokenizer and `card` (a README.md in Markdown) into `folder`.

    Each file is whole or absent, and `config.json` comes last.

    Raises:
        SystemFault: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = to_theirs(model.state_dict(), layers=model.config.num_hidden_layers)
    save_tensors(folder / WEIGHTS, state, {"format": "pt"})
    tokenizer.save(folder)
    write_bytes(folder / "README.md", card.encode())
    write_json(folder / CONFIG, _config_keys(model))


def load_config(folder: Path) -> BertConfig:
    """The shape of the model in `folder`.

    Raises:
        FolderError: not a model folder, or its config.json is damaged.
        UsageError: the config describes something that is not computed here.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give the folder of a model.")
    if not (folder / CONFIG).is_file():
        hint = "give the folder of a model, with config.json and model.safetensors in it"
        newest = max(folder.glob("checkpoints/step-*"), default=None)
        if newest is not None:
            hint = f"the run has not finished: its newest checkpoint is {newest}"
        raise FolderError(f"{folder} holds no {CONFIG}; {hint}.")
    keys = read_json(folder / CONFIG, dict[str, Any])
    return bert_config_from_keys(keys, str(folder / CONFIG))


def load_pretraining(
    folder: Path, *, pair_task: bool | None = None, fresh_heads: bool = False
) -> tuple[BertForPretraining, list[str]]:
    """The pre-training model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith or by `transformers`.
        pair_task: whether to build the next-sentence head; None: if the folder has one.
        fresh_heads: draw heads that the folder lacks anew instead of refusing.

    Returns:
        The model, and the names of the heads that were drawn anew.

    Raises:
        FolderError: weights are missing, damaged or of another shape than config.json says.
    """
    config = load_config(folder)
    path = folder / WEIGHTS
    state = to_ours(load_tensors(path), layers=config.num_hidden_layers, source=str(path))
    if pair_task is None:
        pair_task = "next_sentence.weight" in state
    if not pair_task:
        state = {
            name: tensor
            for name, tensor in state.items()
            if not name.startswith(("pooler.", "next_sentence."))
        }
    model = BertForPretraining(config, pair_task=pair_task)
    expected = model.state_dict()
    missing = sorted(expected.keys() - state.keys())
    fresh = sorted({name.split(".")[0] for name in missing if name.startswith(_HEADS)})
    lost = [name for name in missing if not (fresh_heads and name.startswith(_HEADS))]
    if lost:
        raise FolderError(
            f"{path} lacks {len(lost)} tensors that a pre-trained BERT has, the first is "
            f"{lost[0]}; the folder holds another kind of model."
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise FolderError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, config.json says "
                f"{tuple(expected[name].shape)}; one of the two files is from another model."
            )
    model.load_state_dict(expected | state)
    return model.eval(), fresh


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Raises:
        SystemFault: the disk is full or the path cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            # safetensors keeps the system's error number in its text only.
            full = f"os error {errno.ENOSPC}" in str(error)
            fault = OSError(errno.ENOSPC if full else errno.EIO, str(error))
            raise explain_os_error(fault, "write", path) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file into memory, floating point as fp32.

    Raises:
        FolderError: the file is missing, cut short or not a safetensors file.
    """
    if not path.is_file():
        pickled = path.with_name("pytorch_model.bin")
        hint = (
            f"{pickled.name} beside it is a pickle, which can run code and is not read: convert it "
            "to safetensors first"
            if pickled.exists()
            else "check that the folder is the right one"
        )
        raise FolderError(f"{path} is missing; {hint}.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); restore it from a good copy or write it again."
        ) from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def parameter_count(model: torch.nn.Module) -> int:
    """Numbers that training changes; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _config_keys(model: BertForPretraining) -> dict[str, Any]:
    name = "BertForMaskedLM" if model.next_sentence is None else "BertForPreTraining"
    keys: dict[str, Any] = {"architectures": [name], "model_type": "bert", "dtype": "float32"}
    return keys | msgspec.structs.asdict(model.config)
