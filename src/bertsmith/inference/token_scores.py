"""Log-probabilities of the tokens of many sentences, in packed batches of one length each.

A left-to-right model, and each direction of an ELMo, needs a sentence once. A masked one (BERT)
needs a copy of it for every token, with that token hidden; of each copy only the hidden token's
state goes through the rest of the last layer and the vocabulary projection.

Shapes beside those of `models/modules/packed.py`: S sentences, R tokens that are predicted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.inference.backends.torch_backend import TOKENS_AT_ONCE
from bertsmith.models.family import Pretrained
from bertsmith.models.modules.packed import (
    LanguageBatch,
    Packed,
    PretrainBatch,
    TextBatch,
    packed_from_flat,
)
from bertsmith.models.modules.vocabulary import label_log_probabilities
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Integers = NDArray[np.int64]

Hiding = Literal["token", "rest of word"]
"""What a masked model does not see while it predicts a token.

- `token`: that token alone, PLL (Salazar et al. 2020).
- `rest of word`: that token and those to its right in the same word, PLL-word-l2r (Kauf and Ivanova
  2023, section 2). Pieces to the right would give the token away, and a rare word of many pieces
  would seem likely. Pieces to the left stay visible, as they are to a left-to-right model.
"""


@dataclass(frozen=True)
class Sentences:
    """Sentences as a model reads them, with what begins and ends them, laid end to end."""

    ids_T: Integers
    lengths_S: Integers

    @cached_property
    def starts_S(self) -> Integers:
        """Index into T of each sentence's first token."""
        return np.cumsum(self.lengths_S) - self.lengths_S


def work(model: Pretrained, sentences: Sentences) -> int:
    """Tokens that `token_scores` computes."""
    copies_S = sentences.lengths_S - 2 if model.objective == "masked" else 1
    return int((sentences.lengths_S * copies_S).sum())


def token_scores(
    model: Pretrained, tokenizer: Tokenizer, sentences: Sentences, *, hiding: Hiding
) -> Iterator[tuple[int, dict[str, tuple[Integers, Tensor]]]]:
    """The log-probability of every token, batch by batch, the longest sentences first.

    Memory holds one batch.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        sentences: of two tokens or more; those of a masked model begin with `[CLS]` and end with
            `[SEP]`, which it does not predict.
        hiding: for a masked model.

    Yields:
        How many tokens were computed; and by side (`masked`, or `forward` and `backward`) which
        tokens were predicted, indices into T [R], and their log-probabilities in nats, fp32 [R].
    """
    objective = model.objective
    device = next(model.parameters()).device
    until_T = _hidden_until(tokenizer, sentences.ids_T, hiding) if objective == "masked" else None
    for length in np.unique(sentences.lengths_S)[::-1].tolist():
        starts_S = sentences.starts_S[sentences.lengths_S == length]
        copies = length - 2 if until_T is not None else 1
        step = max(1, TOKENS_AT_ONCE[device.type] // length)
        for first in range(0, len(starts_S) * copies, step):
            copy_B = np.arange(first, min(first + step, len(starts_S) * copies))
            where_BL = starts_S[copy_B // copies, None] + np.arange(length)
            batch: TextBatch
            if until_T is None:
                batch, places = _whole(sentences.ids_T, where_BL, backward=objective == "both")
            else:
                place_B = where_BL[:, 1] + copy_B % copies
                batch = _hidden(sentences.ids_T, where_BL, place_B, until_T, tokenizer.mask_id)
                places = {"masked": place_B}
            found = log_probabilities(model, batch.to(device))
            nats = dict(zip(places, found.values(), strict=True))
            yield where_BL.size, {side: (places[side], nats[side].cpu()) for side in places}


@torch.inference_mode()
def log_probabilities(model: Pretrained, batch: TextBatch) -> dict[str, Tensor]:
    """For each objective of the batch the log-probability of every token it asks for, in nats [R].

    The tokens are in the batch's order: forward from the second of each sequence on, backward up to
    the last but one, masked as `masked_P` has them.
    """
    return {
        name: label_log_probabilities(
            hidden_RD, labels_R, model.logits, vocabulary=model.config.vocab_size
        )
        for name, (hidden_RD, labels_R) in model.predictions(batch).items()
    }


def _hidden_until(tokenizer: Tokenizer, ids_T: Integers, hiding: Hiding) -> Integers:
    """For each token, the index into T at which what is hidden with it ends."""
    after_T = np.arange(1, len(ids_T) + 1)
    if hiding == "token":
        return after_T
    is_last_T = np.append(tokenizer.word_starts(ids_T)[1:], True)
    word_end_T = np.where(is_last_T, after_T, len(ids_T))
    return np.minimum.accumulate(word_end_T[::-1])[::-1]


def _hidden(
    ids_T: Integers, where_BL: Integers, place_B: Integers, until_T: Integers, mask_id: int
) -> PretrainBatch:
    """Copies of sentences, the tokens from `place_B` on hidden; the first of them is asked for."""
    is_hidden_BL = (where_BL >= place_B[:, None]) & (where_BL < until_T[place_B][:, None])
    masked = np.arange(len(where_BL)) * where_BL.shape[1] + place_B - where_BL[:, 0]
    return PretrainBatch(
        _packed(np.where(is_hidden_BL, mask_id, ids_T[where_BL])),
        masked_P=torch.from_numpy(masked),
        labels_P=torch.from_numpy(ids_T[place_B]),
        next_B=None,
    )


def _whole(
    ids_T: Integers, where_BL: Integers, *, backward: bool
) -> tuple[LanguageBatch, dict[str, Integers]]:
    """Sentences as they are, and by side which tokens a one-way model predicts."""
    places = {"forward": where_BL[:, 1:].ravel()}
    if backward:
        places["backward"] = where_BL[:, :-1].ravel()
    return LanguageBatch(_packed(ids_T[where_BL]), backward=backward), places


def _packed(ids_BL: Integers) -> Packed:
    return packed_from_flat(
        ids_BL.ravel(),
        np.zeros(ids_BL.size, dtype=np.int64),
        np.full(len(ids_BL), ids_BL.shape[1], dtype=np.int64),
    )
