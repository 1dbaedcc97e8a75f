"""Held-out loss and accuracy of a model, and those of a baseline that has learned nothing."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from bertsmith.models.modules.packed import LanguageBatch, TextBatch
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.model import Batch
from bertsmith.training.parallel.place import Place


class Evaluated(Protocol):
    """The interface of a model that can be evaluated."""

    def evaluate(self, batch: Any) -> dict[str, tuple[float, int]]:
        """Objective -> (sum of the losses in nats, number of correct predictions)."""


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
    batches: Sequence[TextBatch], unigrams_V: np.ndarray, tokenizer: Tokenizer
) -> dict[str, float]:
    """The same numbers of the unigram baseline (pair task: of the majority class).

    Masked words: the baseline predicts the unigram distribution of the training tokens that can be
    a label (counts plus one, without special tokens and `[UNK]`). The loss is its cross-entropy on
    the held-out labels, the accuracy that of the most frequent token. Pair task: the share of the
    majority label, and the entropy of the labels.

    One-way objectives also predict `[UNK]` and the token that ends a text, whose frequency is taken
    from the held-out texts.

    Args:
        batches: the held-out examples.
        unigrams_V: count of each id in the training text, [V].
        tokenizer: the one that made the ids.
    """
    smoothed_V = unigrams_V.astype(np.float64) + 1
    masked = [batch for batch in batches if not isinstance(batch, LanguageBatch)]
    language = [batch for batch in batches if isinstance(batch, LanguageBatch)]
    numbers: dict[str, float] = {}
    if language:
        smoothed_V[sorted(tokenizer.special_ids - {tokenizer.unk_id})] = 0
        ids_T = np.concatenate([batch.packed.ids_T.numpy() for batch in language])
        ends = sum(batch.packed.sequences for batch in language)
        smoothed_V *= (len(ids_T) - 2 * ends) / smoothed_V.sum()
        for name in language[0].counts:
            first, last = tokenizer.cls_id, tokenizer.sep_id
            unseen, end = (first, last) if name == "forward" else (last, first)
            counts_V = smoothed_V.copy()
            counts_V[end] = ends
            numbers |= _by_frequency(name, counts_V, ids_T[ids_T != unseen])
        return numbers
    smoothed_V[sorted(tokenizer.special_ids)] = 0
    labels_P = np.concatenate([batch.labels_P.numpy() for batch in masked])
    numbers |= _by_frequency("mlm", smoothed_V, labels_P)
    pairs = [batch.next_B.numpy() for batch in masked if batch.next_B is not None]
    if pairs:
        share = np.bincount(np.concatenate(pairs), minlength=2) / sum(map(len, pairs))
        present = share[share > 0]
        numbers["nsp_loss"] = float((present * np.log(1 / present)).sum())
        numbers["nsp_accuracy"] = float(share.max())
    return numbers


def _by_frequency(name: str, counts_V: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_loss": float(np.log(counts_V.sum() / counts_V[labels]).mean()),
        f"{name}_accuracy": float((labels == counts_V.argmax()).mean()),
    }
