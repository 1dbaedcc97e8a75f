"""Held-out numbers of a model, and what a model that has learned nothing would reach."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from bertsmith.models.packed import PretrainBatch
from bertsmith.train.parallel import Batch, Place


class Evaluated(Protocol):
    """What an evaluation asks of a model."""

    def evaluate(self, batch: Any) -> dict[str, tuple[float, int]]:
        """For each objective: sum of the losses in nats, and how many predictions were right."""


@torch.no_grad()
def evaluate(model: nn.Module, batches: Sequence[Batch], place: Place) -> dict[str, float]:
    """`<objective>_loss` (mean, in nats) and `<objective>_accuracy` over `batches`.

    Every process takes its share and gets the whole answer. The model is left in evaluation mode;
    no random number is drawn.
    """
    evaluated: Evaluated = model  # type: ignore[assignment]
    model.eval()
    names = sorted(batches[0].counts)
    sums = np.zeros((len(names), 3))
    for batch in batches[place.world.rank :: place.world.size]:
        with place.autocast():
            scores = evaluated.evaluate(batch.to(place.device))
        sums += [(*scores[name], batch.counts[name]) for name in names]
    totals = np.reshape(place.total(sums.ravel().tolist()), sums.shape)
    numbers: dict[str, float] = {}
    for name, (loss, right, count) in zip(names, totals.tolist(), strict=True):
        numbers |= {f"{name}_loss": loss / count, f"{name}_accuracy": right / count}
    return numbers


def baseline(
    batches: Sequence[PretrainBatch], unigrams_V: np.ndarray, special_ids: Collection[int]
) -> dict[str, float]:
    """The same numbers for guessing by frequency alone.

    MLM: every masked position gets the distribution of the training tokens that can be a label
    (counts plus one; special tokens, `[UNK]` among them, are never predicted), so the loss is that
    distribution's cross-entropy on the held-out labels, and the accuracy that of always saying the
    most frequent token. Pair task: the share of the labels, and its entropy.

    Args:
        batches: the held-out examples.
        unigrams_V: how often each id occurs in the training text, [V].
        special_ids: ids that are never a label.
    """
    labels_P = np.concatenate([batch.labels_P.numpy() for batch in batches])
    smoothed_V = unigrams_V.astype(np.float64) + 1
    smoothed_V[sorted(special_ids)] = 0
    numbers = {
        "mlm_loss": float(np.log(smoothed_V.sum() / smoothed_V[labels_P]).mean()),
        "mlm_accuracy": float((labels_P == smoothed_V.argmax()).mean()),
    }
    pairs = [batch.next_B.numpy() for batch in batches if batch.next_B is not None]
    if pairs:
        share = np.bincount(np.concatenate(pairs), minlength=2) / sum(map(len, pairs))
        present = share[share > 0]
        numbers["nsp_loss"] = float((present * np.log(1 / present)).sum())
        numbers["nsp_accuracy"] = float(share.max())
    return numbers
