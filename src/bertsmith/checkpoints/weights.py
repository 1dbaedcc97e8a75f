"""The weights of a folder, compared with its config.json by their headers before they are loaded.

What a folder has beyond what is asked of it, such as other heads, is left out.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bertsmith.checkpoints.headers import Stored, read_headers, weight_files
from bertsmith.checkpoints.tensors import load_tensors
from bertsmith.core.errors import FolderError, ModelWarning, nearest
from bertsmith.models import family, parameters
from bertsmith.models.config import ModelConfig
from bertsmith.models.parameter_table import counted

_SHOWN = 3
"""Most names that a warning lists."""


@dataclass(frozen=True)
class Weights:
    """What the headers say of a folder's weights."""

    folder: Path
    config: ModelConfig
    stored: dict[str, Stored]
    """By the names that `transformers` has today."""
    names: dict[str, str]
    """Of the same tensors in the file."""
    where: str
    """The file, or the folder of several."""
    config_file: Path
    """Where the config is from."""

    def check_encoder(self) -> None:
        """Compares the encoder that config.json describes with the headers.

        Raises:
            FolderError: the number of layers or a tensor's shape differs.
        """
        table = self.config.parameters
        for key, pattern in table.numbered.items():
            said = counted(self.config, key)
            found = {int(match[1]) for name in self.stored if (match := pattern.match(name))}
            there = max(found, default=-1) + 1
            if said != there:
                raise FolderError(
                    f"{self.config_file}: {key} is {said:,}, but {self.where} has "
                    f"{there:,}; one of the two files is from another model."
                )
        self._check(_encoder_of(self.config))

    def check_complete(self, called: Callable[[str], str] = str) -> None:
        """Checks that the whole encoder is there; its number of layers was compared before.

        Args:
            called: the name in the file of a parameter that is not in it, for the message.

        Raises:
            FolderError: a tensor is missing.
        """
        missing = [name for name in _encoder_of(self.config) if name not in self.stored]
        if missing:
            raise FolderError(
                f"{self.where} lacks {len(missing)} tensors of the encoder, the first is "
                f"{called(missing[0])}; the file is incomplete or of another kind of model."
            )

    def state_for(
        self, expected: dict[str, Tensor], *, prefix: str = "", heads: bool = False
    ) -> dict[str, Tensor]:
        """What the folder has of `expected`, in fp32 on the CPU.

        Args:
            expected: a model's state, of which only names and shapes count.
            prefix: what its names lack to be those of a whole model.
            heads: whether the model has the heads of pre-training, of which nothing may be left.

        Raises:
            FolderError: the weights are damaged, not finite, or not those of `expected`.
        """
        whole = {f"{prefix}{name}": tensor for name, tensor in expected.items()}
        theirs = parameters.to_theirs(self.config, whole)
        self._check(theirs)
        copies = self.config.parameters.repeated if heads else {}
        self._check_left_over(theirs, heads=heads)
        wanted = {
            self.names[name]: name for name in self.stored if name in theirs or name in copies
        }
        tensors: dict[str, Tensor] = {}
        for path in weight_files(self.folder):
            # Every number is checked, also those that are left out here.
            loaded = load_tensors(path)
            tensors |= {wanted[called]: loaded[called] for called in loaded if called in wanted}
        if heads:
            tensors = parameters.without_repeated(
                self.config, tensors, self.names, source=self.where
            )
        ours = parameters.to_ours(self.config, tensors, source=self.where)
        return {name.removeprefix(prefix): tensor for name, tensor in ours.items()}

    def lacks(self, missing: list[str]) -> str:
        """For a message: which tensors are missing, by the name that `transformers` has."""
        first = {missing[0]: torch.empty(3, 1)}
        [name, *_] = parameters.to_theirs(self.config, first)
        return f"{self.where} lacks {len(missing)} tensors, the first is {name}"

    def _check(self, theirs: dict[str, Tensor]) -> None:
        for name, tensor in theirs.items():
            if name not in self.stored:
                continue
            stored, called = self.stored[name], self.names[name]
            if stored.shape != tuple(tensor.shape):
                raise FolderError(
                    f"{stored.file}: {called} has shape {stored.shape}, "
                    f"{self.config_file.name} says {tuple(tensor.shape)}; one of the two files is "
                    "from another model."
                )
            if not stored.is_float:
                raise FolderError(
                    f"{stored.file}: {called} holds {stored.dtype}, expected F32, F16, BF16 or "
                    "F64. Quantized weights are not supported; use the original model."
                )

    def _check_left_over(self, theirs: dict[str, Tensor], *, heads: bool) -> None:
        table = self.config.parameters
        left = sorted(self.stored.keys() - theirs.keys() - table.repeated.keys())
        others = [name for name in left if not name.startswith(table.their_heads)]
        inside = [
            name
            for name in left
            if (name in others and name.startswith(table.their_encoder))
            or (heads and name.startswith(table.strict_heads) and name not in table.their_names)
        ]
        if inside:
            raise FolderError(
                f"{self.stored[inside[0]].file}: {len(inside)} tensors have no place in a "
                f"{self.config.display_name} of "
                f"{self.config.num_hidden_layers} layers, the first is "
                f"{self.names[inside[0]]}{nearest(inside[0], theirs)}; check that config.json "
                "belongs to these weights."
            )
        if others:
            shown = ", ".join(self.names[name] for name in others[:_SHOWN])
            more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
            warnings.warn(
                f"{self.where}: ignoring tensors that this model does not use: {shown}{more}.",
                ModelWarning,
                stacklevel=2,
            )


def open_weights(folder: Path, config: ModelConfig) -> Weights:
    """The weights of a folder whose config.json describes `config`; only headers are read.

    Raises:
        FolderError: they are missing or damaged, or the encoder is not that of `config`.
    """
    headers = read_headers(folder)
    files = weight_files(folder)
    where = str(files[0] if len(files) == 1 else folder)
    names = config.parameters.names_in_file(headers, str(files[0]))
    stored = {name: headers[called] for name, called in names.items()}
    weights = Weights(folder, config, stored, names, where, folder / "config.json")
    weights.check_encoder()
    return weights


def has_place(config: ModelConfig, names: Iterable[str]) -> list[str]:
    """Those of today's names that some model of this config has, under any head."""
    table = config.parameters
    known = _encoder_of(config).keys() | table.repeated.keys()
    return [
        name
        for name in names
        if name in known
        or (
            name.startswith(table.their_heads)
            and (not name.startswith(table.strict_heads) or name in table.their_names)
        )
    ]


def _encoder_of(config: ModelConfig) -> dict[str, Tensor]:
    """The encoder's parameters without data, by today's names."""
    encoder = outline(lambda: family.build_encoder(config, pieces=()))
    prefix = config.parameters.encoder
    return parameters.to_theirs(
        config, {f"{prefix}{name}": tensor for name, tensor in encoder.items()}
    )


def outline(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The state of a model that is built without memory and without drawing a number."""
    with torch.device("meta"):
        return build().state_dict()
