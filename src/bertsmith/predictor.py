"""Text in, answers out, from a model folder: the one predictor behind commands and API."""

from pathlib import Path

import msgspec
import torch
from torch import Tensor

from bertsmith.errors import FolderError, UsageError
from bertsmith.models.folder import load_pretraining
from bertsmith.models.packed import Packed, pack
from bertsmith.text import encode
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.tokenizer_files import MASK

INDEPENDENT = (
    "Each [MASK] is predicted on its own, as if the other words in the blanks were unrelated to "
    "it: that is what the masked-word objective assumes (paper, section 3.1), so the best words "
    "of each need not fit together. --joint fills them one after the other, each seeing the "
    "choices before it."
)
"""What to know of several blanks in one text."""


class Candidate(msgspec.Struct, frozen=True):
    """A piece that may stand at a blank."""

    token: str
    probability: float


class Blank(msgspec.Struct, frozen=True):
    """One `[MASK]`: where it stands in the text (character) and what may stand there."""

    start: int
    candidates: list[Candidate]


class Filling(msgspec.Struct, frozen=True):
    """All blanks filled together: a piece for each, the whole text, and how probable it is."""

    tokens: list[str]
    text: str
    probability: float
    """Product over the blanks of P(piece | text, the pieces chosen before it)."""


class Filled(msgspec.Struct, frozen=True):
    """What `Predictor.fill` found."""

    text: str
    blanks: list[Blank]
    """Each blank on its own, the others still masked: the paper's objective."""
    joint: list[Filling]
    """Blanks filled one after the other; empty unless asked for."""


class Predictor:
    """A pre-trained folder, ready to answer.

    Raises:
        FolderError: the folder is damaged, or its tokenizer does not fit its model.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.model, _ = load_pretraining(folder)
        self.tokenizer = Tokenizer.load(folder)
        if len(self.tokenizer) != self.model.config.vocab_size:
            raise FolderError(
                f"{folder}: the tokenizer has {len(self.tokenizer)} pieces, config.json says "
                f"{self.model.config.vocab_size}; the two files are from different models."
            )

    def fill(self, text: str, *, top: int = 5, joint: bool = False) -> Filled:
        """The most probable pieces for every `[MASK]` in `text`.

        BERT predicts each masked piece as if the others were independent of it (paper, section
        3.1; Yang et al. 2019, section 2). With `joint`, blanks are filled from left to right, each
        choice conditioned on the ones before, by beam search of width `top`.

        Args:
            text: holds one or more `[MASK]`.
            top: candidates for a blank, and fillings of all of them.
            joint: also fill the blanks together.

        Raises:
            UsageError: no `[MASK]`, `top` out of range, or more tokens than the model has
                positions.
        """
        if not 1 <= top <= len(self.tokenizer):
            raise UsageError(f"--top is {top}; it must be from 1 to {len(self.tokenizer)}.")
        built = encode.single(self.tokenizer, text, allow_special=True)
        limit = self.model.config.max_position_embeddings
        if len(built.ids) > limit:
            raise UsageError(
                f"The text has {len(built.ids)} tokens, [CLS] and [SEP] counted; this model reads "
                f"{limit}: shorten it around the [MASK]."
            )
        mask_id = self.tokenizer.mask_id
        places = [place for place, piece in enumerate(built.ids) if piece == mask_id]
        if not places:
            raise UsageError(f"The text holds no {MASK}; write {MASK} where a word is missing.")
        likely = self._log_probabilities([built.ids], places)[0].exp().topk(top)
        blanks = [
            Blank(
                built.offsets[place][0],
                [
                    Candidate(token, probability)
                    for token, probability in zip(
                        self.tokenizer.tokens(ids.tolist()), values.tolist(), strict=True
                    )
                ],
            )
            for place, values, ids in zip(places, likely.values, likely.indices, strict=True)
        ]
        fillings = self._fill_jointly(built.ids, places, top) if joint else []
        return Filled(text, blanks, fillings)

    def next_sentence(self, a: str, b: str) -> float:
        """Probability that `b` follows `a`, by the pre-training head (paper, section 3.1).

        Raises:
            UsageError: the model was trained without a pair task.
        """
        if self.model.next_sentence is None:
            raise UsageError("This model was trained without a pair task (--pair-task none).")
        limit = self.model.config.max_position_embeddings
        built = encode.pair(self.tokenizer, a, b, longest=limit)
        with torch.inference_mode():
            packed = pack([built.ids], [built.segments])
            scores_BC = self.model.pair_logits(self.model.bert(packed), packed)
        return float(scores_BC.softmax(-1)[0, 0])

    def _log_probabilities(self, rows: list[list[int]], places: list[int]) -> Tensor:
        """Over the vocabulary at `places` of each of several equally long rows, [B, places, V]."""
        packed: Packed = pack(rows)
        positions = torch.tensor(
            [start + place for start in packed.starts[:-1] for place in places]
        )
        with torch.inference_mode():
            logits_PV = self.model.mlm_logits(self.model.bert(packed), positions)
        return logits_PV.log_softmax(-1).view(len(rows), len(places), -1)

    def _fill_jointly(self, ids: list[int], places: list[int], width: int) -> list[Filling]:
        beam: list[tuple[float, list[int]]] = [(0.0, ids)]
        for place in places:
            scores = self._log_probabilities([row for _, row in beam], [place])[:, 0]
            total = scores + torch.tensor([score for score, _ in beam])[:, None]
            best = total.flatten().topk(width)
            beam = [
                (score, _with(beam[index // total.shape[1]][1], place, index % total.shape[1]))
                for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        return [
            Filling(
                self.tokenizer.tokens(row[place] for place in places),
                self.tokenizer.decode(row[1:-1]),
                torch.tensor(score).exp().item(),
            )
            for score, row in beam
        ]


def _with(row: list[int], place: int, piece: int) -> list[int]:
    return [*row[:place], piece, *row[place + 1 :]]
