"""Filling in blanks: what a pre-trained model holds likely where `[MASK]` stands.

A BERT sees both sides of a blank. A model that reads from left to right (GPT) is asked for the word
that follows the left side, and knows nothing of the right. ELMo's two directions are asked apart;
their probabilities are multiplied, and scaled to add up to 1.
"""

import math

import msgspec
import torch
from torch import Tensor

from bertsmith.core.errors import UsageError, option
from bertsmith.inference.backends.backend import Backend
from bertsmith.models.config import Objective
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.files import MASK
from bertsmith.text.tokenizer.tokenizer import Tokenizer

INDEPENDENT = (
    "Each [MASK] is predicted on its own, as if the other words in the blanks were unrelated to "
    "it: that is what the masked-word objective assumes (paper, section 3.1), so the best words "
    f"of each need not fit together. {option('joint', True)} fills them one after the other, each "
    "seeing the choices before it."
)
"""What to know of several blanks in one text."""
FROM_ONE_SIDE: dict[Objective, str] = {
    "masked": "",
    "forward": "From the left side alone: this model does not see what follows the blank.",
    "both": (
        "From each side on its own: one direction of this model sees the left, the other the "
        "right, and neither both."
    ),
}
"""What to know of a model's guesses, by what it was trained to predict."""


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
    """What `fill` found."""

    text: str
    blanks: list[Blank]
    """Each blank on its own, the others still masked: the paper's objective. Of a one-way model
    the first blank only."""
    joint: list[Filling]
    """Blanks filled one after the other; empty unless asked for."""
    note: str = ""
    """What the model cannot see, if there is such."""


def fill(
    backend: Backend, tokenizer: Tokenizer, text: str, *, top_k: int = 5, joint: bool = False
) -> Filled:
    """The most probable pieces for every `[MASK]` in `text`.

    BERT predicts each masked piece as if the others were independent of it (paper, section
    3.1; Yang et al. 2019, section 2). With `joint`, blanks are filled from left to right, each
    choice conditioned on the ones before, by beam search of width `top_k`.

    Args:
        backend: of a model that predicts words.
        tokenizer: its own.
        text: holds one or more `[MASK]`.
        top_k: candidates for a blank, and fillings of all of them.
        joint: also fill the blanks together.

    Raises:
        UsageError: no `[MASK]`, `top_k` out of range, more tokens than the model has positions, or
            several blanks side by side for a model that sees one side.
    """
    if not 1 <= top_k <= len(tokenizer):
        raise UsageError(f"{option('top_k')} is {top_k}; it must be from 1 to {len(tokenizer)}.")
    built = encode.single(tokenizer, text, allow_special=True)
    limit = backend.config.max_position_embeddings
    if len(built.ids) > limit:
        raise UsageError(
            f"The text has {len(built.ids)} tokens, [CLS] and [SEP] counted; this model reads "
            f"{limit}: shorten it around the [MASK]."
        )
    mask_id = tokenizer.mask_id
    places = [place for place, piece in enumerate(built.ids) if piece == mask_id]
    if not places:
        raise UsageError(f"The text holds no {MASK}; write {MASK} where a word is missing.")
    objective = backend.objective
    assert objective is not None
    # A one-way model does not know what [MASK] is: it can be asked for the first blank only, and
    # from left to right for the next when the first is filled.
    askable = places if objective == "masked" else places[:1]
    if objective != "masked" and len(places) > 1 and not (joint and objective == "forward"):
        what = (
            f"add {option('joint', True)}, which fills them"
            if objective == "forward"
            else "ask for them"
        )
        remedy = f"{what} one after the other" if not joint else "give words for all blanks but one"
        raise UsageError(
            f"The text has {len(places)} blanks, and to this model, which predicts from one side, "
            f"{MASK} means nothing; {remedy}."
        )
    likely = _log_probabilities(backend, tokenizer, [built.ids], askable)[0].exp().topk(top_k)
    blanks = [
        Blank(
            built.offsets[place][0],
            [
                Candidate(token, probability)
                for token, probability in zip(
                    tokenizer.tokens(ids.tolist()), values.tolist(), strict=True
                )
            ],
        )
        for place, values, ids in zip(askable, likely.values, likely.indices, strict=True)
    ]
    fillings = _fill_jointly(backend, tokenizer, built.ids, places, top_k) if joint else []
    return Filled(text, blanks, fillings, FROM_ONE_SIDE[objective])


class WordProbability(msgspec.Struct, frozen=True):
    """How probable a word is at the `[MASK]` of a text."""

    word: str
    pieces: list[str]
    probability: float
    """Product over the pieces of P(piece | text, the pieces before it)."""


def word_probability(
    backend: Backend, tokenizer: Tokenizer, text: str, word: str
) -> WordProbability:
    """The probability of `word` at the one `[MASK]` of `text`.

    A word of n pieces stands at n masks, filled from left to right. What the model says of one
    piece is a probability among all pieces; of words of different numbers of pieces the
    probabilities are not of one distribution.

    Args:
        backend: of a model that predicts words.
        tokenizer: its own.
        text: holds one `[MASK]`.
        word: of one or more pieces.

    Raises:
        UsageError: the text has not one `[MASK]` or too many tokens, the word is empty or not in
            the vocabulary, or it has several pieces and the model predicts from both sides apart.
    """
    pieces = tokenizer.encode(word).ids
    if not pieces or tokenizer.unk_id in pieces:
        raise UsageError(
            f"{option('word', word)}: the model's vocabulary cannot write it; give another."
        )
    objective = backend.objective
    assert objective is not None
    if objective == "both" and len(pieces) > 1:
        names = " ".join(tokenizer.tokens(pieces))
        raise UsageError(
            f"{option('word', word)} has several pieces ({names}), and an ELMo fills one; give "
            "another."
        )
    ids = encode.single(tokenizer, text, allow_special=True).ids
    if ids.count(tokenizer.mask_id) != 1:
        raise UsageError(
            f"The text holds {ids.count(tokenizer.mask_id)} {MASK}; {option('word')} needs "
            "exactly one."
        )
    place = ids.index(tokenizer.mask_id)
    row = [*ids[:place], *[tokenizer.mask_id] * len(pieces), *ids[place + 1 :]]
    limit = backend.config.max_position_embeddings
    if len(row) > limit:
        raise UsageError(
            f"The text has {len(row)} tokens with the word, [CLS] and [SEP] counted; this model "
            f"reads {limit}: shorten it around the [MASK]."
        )
    nats = 0.0
    for offset, piece in enumerate(pieces):
        nats += float(_log_probabilities(backend, tokenizer, [row], [place + offset])[0, 0, piece])
        row = _with(row, place + offset, piece)
    return WordProbability(word, tokenizer.tokens(pieces), math.exp(nats))


def _log_probabilities(
    backend: Backend, tokenizer: Tokenizer, rows: list[list[int]], places: list[int]
) -> Tensor:
    """Over the vocabulary at `places` of each of several equally long rows, [B, places, V]."""
    packed = pack(rows)
    positions = torch.tensor([start + place for start in packed.starts[:-1] for place in places])
    nats_PV = backend.word_log_probabilities(packed, positions)
    if backend.objective != "masked":
        # They predict ends and unknown words too, neither of which fills a blank.
        special = torch.tensor(sorted(tokenizer.special_ids), device=nats_PV.device)
        nats_PV = nats_PV.index_fill(1, special, -torch.inf).log_softmax(-1)
    # Behind the vocabulary a model may have rows of padding, which have no name.
    return nats_PV[:, : len(tokenizer)].reshape(len(rows), len(places), -1).cpu()


def _fill_jointly(
    backend: Backend, tokenizer: Tokenizer, ids: list[int], places: list[int], width: int
) -> list[Filling]:
    beam: list[tuple[float, list[int]]] = [(0.0, ids)]
    for place in places:
        scores = _log_probabilities(backend, tokenizer, [row for _, row in beam], [place])[:, 0]
        total = scores + torch.tensor([score for score, _ in beam])[:, None]
        best = total.flatten().topk(width)
        beam = [
            (score, _with(beam[index // total.shape[1]][1], place, index % total.shape[1]))
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
    return [
        Filling(
            tokenizer.tokens(row[place] for place in places),
            tokenizer.decode(row[1:-1]),
            torch.tensor(score).exp().item(),
        )
        for score, row in beam
    ]


def _with(row: list[int], place: int, piece: int) -> list[int]:
    return [*row[:place], piece, *row[place + 1 :]]
