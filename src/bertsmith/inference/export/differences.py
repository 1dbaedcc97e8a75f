"""How far the outputs of an exported model are from those of the model in torch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bertsmith.inference.backends.backend import Backend
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.modules.packed import Packed


@dataclass(frozen=True)
class Difference:
    """Over all outputs for some inputs."""

    largest: float
    """The largest difference, relative to the largest output (at least 1)."""
    typical: float
    """The root of the mean square, relative to how much the outputs vary."""


def difference(
    expected: Backend, found: Backend, batches: Iterable[Packed], layers: tuple[int, ...] | None
) -> Difference:
    """Compares everything that `found` computes.

    Args:
        expected: the model in torch.
        found: its export.
        batches: inputs.
        layers: whose states were exported; None: the heads were.
    """
    pairs = [
        pair
        for packed in batches
        for pair in zip(
            _outputs(expected, packed, layers), _outputs(found, packed, layers), strict=True
        )
    ]
    largest = max(float((one - other).abs().max()) for one, other in pairs)
    scale = max(1.0, *(float(one.abs().max()) for one, _ in pairs))
    squares = sum(float((one - other).square().sum()) for one, other in pairs)
    together = torch.cat(
        [one.flatten(1) for one, _ in pairs if one.shape[1:] == pairs[0][0].shape[1:]]
    )
    spread = float((together - together.mean(0)).square().sum())
    return Difference(largest / scale, (squares / max(spread, 1e-30)) ** 0.5)


def _outputs(backend: Backend, packed: Packed, layers: tuple[int, ...] | None) -> list[Tensor]:
    """Every output, fp64 [inputs or tokens, ...]."""
    if layers is not None:
        return [backend.states(packed, layers).double()]
    every_T = torch.arange(len(packed.ids_T))
    if backend.head is not None:
        batch = TaskBatch(packed, None, words_P=every_T, ends_P=every_T)
        return [backend.task_scores(batch).double()]
    found = []
    if backend.objective is not None:
        # A one-way model says nothing of the first token.
        asked_P = every_T if backend.objective == "masked" else _but_firsts(packed)
        found.append(backend.word_log_probabilities(packed, asked_P).double())
    if backend.judges_pairs:
        found.append(backend.pair_scores(packed).double())
    return found


def _but_firsts(packed: Packed) -> Tensor:
    is_first_T = torch.zeros(len(packed.ids_T), dtype=torch.bool)
    is_first_T[packed.firsts_B] = True
    return (~is_first_T).nonzero()[:, 0]
