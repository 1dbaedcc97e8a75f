"""A model's state under our names and under those of a folder, by its family's table."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bertsmith.core.errors import FolderError, nearest
from bertsmith.models.config import ModelConfig


def to_theirs(config: ModelConfig, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state under the names of a folder; every tensor is contiguous and on the CPU.

    Raises:
        KeyError: a parameter of ours has no row.
    """
    theirs: dict[str, Tensor] = {}
    left = dict(ours)
    for row in config.parameters.expanded(config):
        if row.ours not in left:
            continue
        tensor = _on_cpu(left.pop(row.ours))
        split = [tensor] if len(row.theirs) == 1 else tensor.chunk(len(row.theirs))
        for name, piece in zip(row.theirs, split, strict=True):
            theirs[name] = (piece.mT if row.transposed else piece).contiguous()
    if left:
        raise KeyError(f"no row in the parameter table for {sorted(left)}")
    return theirs


def to_ours(config: ModelConfig, theirs: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """A folder's state under our names; parts that the folder lacks are absent.

    Accepts the names that `ParameterTable.names_in_file` does.

    Raises:
        FolderError: a parameter is half there or left over, or a repeated one differs; `source` is
            named.
    """
    table = config.parameters
    names = table.names_in_file(theirs, source)
    left = without_repeated(
        config,
        {name: theirs[called] for name, called in names.items()},
        names,
        source=source,
    )
    ours: dict[str, Tensor] = {}
    rows = table.expanded(config)
    for row in rows:
        present = [name for name in row.theirs if name in left]
        if not present:
            continue
        if len(present) != len(row.theirs):
            lost = sorted(set(row.theirs) - set(present))
            raise FolderError(f"{source}: {', '.join(lost)} is missing; the file is incomplete.")
        found = [left.pop(name) for name in row.theirs]
        if row.transposed:
            found = [tensor.mT.contiguous() for tensor in found]
        ours[row.ours] = found[0] if len(found) == 1 else torch.cat(found)
    if left:
        first = min(left)
        known = [name for row in rows for name in row.theirs]
        raise FolderError(
            f"{source}: {len(left)} tensors have no place in a {config.display_name} of "
            f"{config.num_hidden_layers} layers, the first is {first}{nearest(first, known)}; "
            "check that config.json belongs to these weights."
        )
    return ours


def without_repeated(
    config: ModelConfig,
    theirs: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    source: str,
) -> dict[str, Tensor]:
    """The tensors without those that repeat another one; `names` are those of the file.

    Raises:
        FolderError: one that should repeat another differs from it.
    """
    repeated = config.parameters.repeated
    for copy, original in repeated.items():
        if copy not in theirs or original not in theirs:
            continue
        if not torch.equal(theirs[copy], theirs[original]):
            raise FolderError(
                f"{source}: {names[copy]} differs from {names[original]}; bertsmith's "
                f"{config.display_name} ties the two, as in the paper, so it cannot load this "
                "model unchanged."
            )
    return {
        name: value
        for name, value in theirs.items()
        if name not in repeated or repeated[name] not in theirs
    }


def _on_cpu(tensor: Tensor) -> Tensor:
    """The tensor on the CPU; one without data (on `meta`) stays as it is."""
    return tensor.detach() if tensor.is_meta else tensor.detach().cpu()
