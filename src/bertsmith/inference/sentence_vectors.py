"""From the states of a text's tokens to its vector: pooling, and what a folder does after it.

The modules are those of sentence-transformers, whose vectors come out equal.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertsmith.checkpoints.headers import WEIGHTS
from bertsmith.checkpoints.sentence_modules import Module, Pooling, SentenceModel, module_folder
from bertsmith.checkpoints.tensors import load_tensors
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.storage import read_json

CONFIG = "config.json"
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    name: getattr(nn, name) for name in ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
}


def pool(hidden_TD: Tensor, starts: Tensor, pooling: Pooling, *, skipped: int = 0) -> Tensor:
    """A vector for each of B sequences, [B, D].

    Args:
        hidden_TD: the states of their tokens, laid end to end, fp32.
        starts: where each begins, and the end, int64 [B + 1].
        pooling: see `Pooling`.
        skipped: tokens at the beginning of each that do not count, fewer than it has.
    """
    places_T = torch.arange(len(hidden_TD), device=hidden_TD.device)
    places_T = places_T - torch.repeat_interleave(starts[:-1], starts.diff())
    counted_TD, lengths = hidden_TD[places_T >= skipped], starts.diff() - skipped
    match pooling:
        case "cls":
            return hidden_TD[starts[:-1] + skipped]
        case "lasttoken":
            return hidden_TD[starts[1:] - 1]
        case "max" | "mean":
            return torch.segment_reduce(counted_TD, pooling, lengths=lengths)
        case "mean_sqrt_len_tokens":
            sums_BD = torch.segment_reduce(counted_TD, "sum", lengths=lengths)
            return sums_BD / lengths[:, None].sqrt()
        case "weightedmean":
            weights_T1 = (places_T[places_T >= skipped] + 1.0)[:, None]
            sums_BD = torch.segment_reduce(counted_TD * weights_T1, "sum", lengths=lengths)
            return sums_BD / torch.segment_reduce(weights_T1, "sum", lengths=lengths)


class Dense(nn.Module):
    """A linear layer, an activation, and the input added where the folder says so."""

    def __init__(
        self, linear: nn.Linear, activation: nn.Module, residual: nn.Module | None
    ) -> None:
        super().__init__()
        self.linear, self.activation, self.residual = linear, activation, residual

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """[B, D] -> [B, E]."""
        projected_BE: Tensor = self.activation(self.linear(vectors_BD))
        return projected_BE if self.residual is None else projected_BE + self.residual(vectors_BD)


class Normalize(nn.Module):
    """Each vector to length 1."""

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        return functional.normalize(vectors_BD, dim=-1)


def modules_after_pooling(model: SentenceModel, width: int) -> nn.Sequential:
    """What the folder does to the pooled vectors of so many numbers, in fp32, for evaluation.

    Raises:
        FolderError: a module's weights are missing, damaged or of another shape.
        UsageError: a setting of a module is not supported.
    """
    built: list[nn.Module] = []
    for module in model.following:
        # Versions before 5.7 wrote no config for a module without settings.
        folder = module_folder(model.folder, module)
        keys = read_json(folder / CONFIG, dict[str, Any]) if (folder / CONFIG).is_file() else {}
        _check_place(folder, module, keys)
        match module.kind:
            case "Normalize":
                built.append(Normalize())
            case "LayerNorm":
                norm = nn.ModuleDict({"norm": nn.LayerNorm(width)})
                _fill(norm, load_tensors(_file(folder)), folder / WEIGHTS)
                built.append(norm["norm"])
            case "Dense":
                dense = _dense(folder, keys, width)
                built.append(dense)
                width = dense.linear.out_features
    return nn.Sequential(*built).eval()


def _check_place(folder: Path, module: Module, keys: dict[str, Any]) -> None:
    """Refuses modules that work on something else than the text's vector."""
    for key in ("module_input_name", "module_output_name"):
        if keys.get(key) not in (None, "sentence_embedding"):
            raise UsageError(
                f"{folder / CONFIG}: {key} is {keys[key]!r:.60}, expected 'sentence_embedding'; "
                f"a {module.kind} of anything else than the text's vector is not supported."
            )


def _dense(folder: Path, keys: dict[str, Any], width: int) -> Dense:
    where = folder / CONFIG
    called = str(keys.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(called.rpartition(".")[2])
    if activation is None or not called.startswith("torch.nn."):
        raise UsageError(
            f"{where}: activation_function is {called!r:.80}, expected one of "
            f"{', '.join(_ACTIVATIONS)} of torch.nn; others are not supported."
        )
    tensors = load_tensors(_file(folder))
    weight = tensors.get("linear.weight", torch.empty(0))
    said = (keys.get("out_features"), keys.get("in_features"))
    if tuple(weight.shape) != said or said[1] != width:
        raise FolderError(
            f"{where}: out_features and in_features are {said}, but {WEIGHTS} beside it has a "
            f"linear.weight of shape {tuple(weight.shape)} and the vector {width} numbers; one of "
            "the files is from another model."
        )
    outputs = weight.shape[0]
    residual: nn.Module | None = None
    if keys.get("use_residual"):
        same = outputs == width
        residual = nn.Identity() if same else nn.Linear(width, outputs, bias=False)
    linear = nn.Linear(width, outputs, bias=bool(keys.get("bias", True)))
    dense = Dense(linear, activation(), residual)
    _fill(dense, tensors, folder / WEIGHTS)
    return dense


def _file(folder: Path) -> Path:
    pickled = folder / "pytorch_model.bin"
    if not (folder / WEIGHTS).is_file() and pickled.is_file():
        raise UsageError(
            f"{pickled} is a pickle, which can run code, so bertsmith does not read it; convert "
            f"the whole model with `bertsmith convert` and {option('allow_pickle', True)}."
        )
    return folder / WEIGHTS


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Loads the weights, all of which must be there in their shapes."""
    for name, parameter in module.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape != parameter.shape:
            raise FolderError(
                f"{path}: {name} has the shape {None if found is None else tuple(found.shape)}, "
                f"expected {tuple(parameter.shape)}; the file is from another model."
            )
    module.load_state_dict({name: tensors[name] for name in module.state_dict()})
