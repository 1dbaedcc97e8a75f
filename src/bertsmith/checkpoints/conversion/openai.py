"""OpenAI's GPT as it was released: `params_shapes.json`, `params_0.npy` to `params_9.npy`.

The numbers of all arrays, end to end, are the parameters one after the other, in the order in which
the released code makes them. `encoder_bpe_40000.json` and `vocab_40000.bpe` beside them are the
vocabulary and the merges.
"""

from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertsmith.checkpoints.conversion.source import Source, one_of
from bertsmith.checkpoints.headers import Stored
from bertsmith.checkpoints.tensors import in_fp32
from bertsmith.checkpoints.weights import Weights
from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.storage import read_json
from bertsmith.models.config_files import config_keys
from bertsmith.models.gpt.config import GptConfig

SHAPES = "params_shapes.json"
_POSITIONS, _TOKENS = "transformer.positions_embed.weight", "transformer.tokens_embed.weight"
_OF_LAYER = (
    "attn.c_attn.weight attn.c_attn.bias attn.c_proj.weight attn.c_proj.bias ln_1.weight "
    "ln_1.bias mlp.c_fc.weight mlp.c_fc.bias mlp.c_proj.weight mlp.c_proj.bias ln_2.weight "
    "ln_2.bias"
).split()
_HEAD_WIDTH = 64
_VOCABULARY = {"vocab.json": "encoder_bpe*.json", "merges.txt": "vocab*.bpe"}
_MOST_PARAMETERS = 10_000


def open_openai(folder: Path) -> Source:
    """The released GPT in a folder.

    Raises:
        FolderError: a file is missing or damaged, or the shapes are not a GPT's.
    """
    path = folder / SHAPES
    shapes = read_json(path, list[list[int]])
    named = _named(shapes, path)
    arrays = _arrays(folder, sum(map(prod, shapes)))
    rows, width = named[_TOKENS]
    config = GptConfig(
        vocab_size=rows,
        n_positions=named[_POSITIONS][0],
        n_embd=width,
        n_layer=(len(shapes) - 2) // len(_OF_LAYER),
        n_head=max(1, width // _HEAD_WIDTH),
    ).validate(str(path))
    stored = {name: Stored(path, shape, "F32") for name, shape in named.items()}
    called = {name: f"parameter {number}" for number, name in enumerate(named)}
    weights = Weights(folder, config, stored, called, str(path), path)
    weights.check_encoder()
    files = {
        name: one_of(sorted(folder.glob(pattern)), folder, pattern)
        for name, pattern in _VOCABULARY.items()
    }

    def load() -> dict[str, Tensor]:
        flat = np.concatenate([np.load(one, allow_pickle=False).ravel() for one in arrays])
        ends = np.cumsum([0, *map(prod, shapes)])
        return {
            name: in_fp32(
                torch.from_numpy(flat[start:end].astype(np.float32)).view(shape),
                f"{folder}: {called[name]}",
            )
            for (name, shape), (start, end) in zip(named.items(), pairwise(ends), strict=True)
        }

    return Source(
        layout="OpenAI's GPT as it was released",
        weights=weights,
        keys=config_keys(config) | {"architectures": ["OpenAIGPTLMHeadModel"]},
        load=load,
        tokenizer=folder,
        carried=files,
        notes=(
            f"The files do not store the number of heads; assuming {config.n_head} heads of width "
            f"{_HEAD_WIDTH}.",
        ),
    )


def _named(shapes: list[list[int]], path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter, without the axes of size 1 that the code has before."""
    layers, left = divmod(len(shapes) - 2, len(_OF_LAYER))
    if left or layers < 1 or len(shapes) > _MOST_PARAMETERS:
        raise FolderError(
            f"{path} has {len(shapes):,} shapes, expected 2 and {len(_OF_LAYER)} for each layer; "
            "the file is damaged or not OpenAI's GPT."
        )
    names = [f"transformer.h.{layer}.{part}" for layer in range(layers) for part in _OF_LAYER]
    found = {}
    for name, shape in zip([_POSITIONS, _TOKENS, *names], shapes, strict=True):
        axes = 2 if name.endswith("weight") and ".ln_" not in name else 1
        if len(shape) < axes or any(size != 1 for size in shape[:-axes]) or min(shape) < 1:
            raise FolderError(
                f"{path}: {name} has shape {shape!s:.60}, expected {axes} axes; restore the file "
                "from a good copy."
            )
        found[name] = tuple(shape[-axes:])
    return found


def _arrays(folder: Path, numbers: int) -> list[Path]:
    """The arrays in order, which together have as many numbers as the shapes say."""
    found: list[Path] = []
    total = 0
    while (path := folder / f"params_{len(found)}.npy").is_file():
        try:
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise explain_os_error(error, "read", path) from error
        except (ValueError, EOFError) as error:
            raise FolderError(
                f"{path} is damaged ({error}); restore it from a good copy."
            ) from error
        if array.dtype.kind != "f":
            raise FolderError(f"{path} holds {array.dtype}, expected floating-point numbers.")
        total += array.size
        found.append(path)
    if total != numbers:
        raise FolderError(
            f"{folder}: params_0.npy to params_{len(found) - 1}.npy hold {total:,} numbers, "
            f"{SHAPES} says {numbers:,}; a file is missing or from another model."
        )
    return found
