"""A finished BERT in half the bytes: its folder with weights in fp16, for the starter models.

Whoever loads it gets fp32: `tensors.load_tensors` converts, and so does `transformers`, because
config.json says float32.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.checkpoints.folder import CONFIG, load_pretraining
from bertsmith.checkpoints.headers import WEIGHTS
from bertsmith.checkpoints.tensors import load_tensors, save_tensors
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.storage import atomic_folder
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_FILES = (CONFIG, "vocab.txt", "tokenizer.json", "tokenizer_config.json", "README.md")
_SEQUENCES, _LENGTH = 16, 64
# Far above what rounding to fp16 moves (some 0.005), far below what damage does.
_LARGEST_DIFFERENCE = 0.1


@dataclass(frozen=True)
class Half:
    """What became of a model."""

    bytes: int
    """Of the weights' file."""
    difference: float
    """Largest difference of a masked-word logit, over random inputs."""
    same: float
    """Part of the positions whose most probable piece is the same."""


def write_half(folder: Path, out: Path) -> Half:
    """Writes the BERT of `folder` to `out` with weights in fp16, and compares the two.

    Args:
        folder: a model folder with a masked-word head, its tokenizer and its card.
        out: the folder to write, not there yet.

    Raises:
        UsageError: `out` exists, or the model is not a BERT that reads both sides.
        FolderError: `folder` lacks a file, a weight is beyond fp16, or the outputs differ too much.
        SystemFault: the disk is full or `out` cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} exists already; give a new folder, or remove this one first.")
    before = _logits(folder)
    weights = {name: _half(name, tensor) for name, tensor in load_tensors(folder / WEIGHTS).items()}
    with atomic_folder(out) as place:
        for name in _FILES:
            if not (folder / name).is_file():
                raise FolderError(f"{folder / name} is missing; a model to start with needs it.")
            shutil.copyfile(folder / name, place / name)
        save_tensors(place / WEIGHTS, weights, {"format": "pt"})
        after = _logits(place)
        difference = float((after - before).abs().max())
        if difference > _LARGEST_DIFFERENCE:
            raise FolderError(
                f"{folder}: in fp16 a logit changes by {difference:.3g}, more than "
                f"{_LARGEST_DIFFERENCE:g}; keep this model in fp32."
            )
    same = (after.argmax(-1) == before.argmax(-1)).float().mean()
    return Half((out / WEIGHTS).stat().st_size, difference, float(same))


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise FolderError(f"{name} has weights beyond 65,504, which fp16 cannot hold.")
    return half


def _logits(folder: Path) -> Tensor:
    """Masked-word logits of every position of the same random inputs, [T, V]."""
    model, _ = load_pretraining(folder)
    if not isinstance(model, BertForPretraining) or model.config.is_decoder:
        raise UsageError(f"{folder} is not a BERT that reads both sides; give one.")
    tokenizer = Tokenizer.load(folder)
    length = min(_LENGTH, model.config.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(tokenizer), (_SEQUENCES, length), generator=generator)
    ids[:, 0], ids[:, 1::7], ids[:, -1] = tokenizer.cls_id, tokenizer.mask_id, tokenizer.sep_id
    with torch.inference_mode():
        packed = pack(ids.tolist())
        _, hidden_TD = model.hidden(packed, torch.arange(ids.numel()))
        return model.logits(hidden_TD)
