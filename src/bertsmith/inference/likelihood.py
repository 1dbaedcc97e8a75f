"""How likely a sentence is to a model, token by token, in nats.

- Left to right (GPT, a left-to-right BERT): log P(token | those before it), the end counted; their
  sum is the log-likelihood of the sentence.
- Both directions on their own (ELMo): the same, and log P(token | those after it), the beginning
  counted.
- Masked (BERT): log P(token | all others), each token hidden in turn. Their sum is the
  pseudo-log-likelihood (Salazar et al. 2020), which is no probability of the sentence, but ranks
  sentences of like length.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from bertsmith.core.errors import UsageError
from bertsmith.core.terminal import columns
from bertsmith.inference.token_scores import Sentences, token_scores
from bertsmith.models.family import Pretrained
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.bpe_files import END
from bertsmith.text.tokenizer.tokenizer import Tokenizer


class TokenScore(msgspec.Struct, frozen=True):
    """A token, and its log-probability in nats from each side that the model can look from."""

    token: str
    nats: dict[str, float]
    """`forward`, `backward` or `masked` -> log-probability; a side that does not predict this token
    (forward the beginning, backward the end) is left out."""


class SentenceScore(msgspec.Struct, frozen=True):
    """A sentence's log-likelihood, token by token and in all."""

    text: str
    tokens: list[TokenScore]
    """`[CLS]` and `[SEP]`, which stand for the beginning and the end, where they are predicted."""
    totals: dict[str, float]
    """Sum over the tokens, by side."""
    means: dict[str, float]
    """The same by token, to compare sentences of different lengths."""
    unknown: int = 0
    """Tokens that are `[UNK]`: the model scores that some unknown word is there, not which."""


def score_sentences(
    model: Pretrained, tokenizer: Tokenizer, texts: Sequence[str]
) -> list[SentenceScore]:
    """The log-likelihood of each text.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        texts: one input each.

    Raises:
        UsageError: a text is empty or has more tokens than the model has positions.
    """
    return [_score(model, tokenizer, text, number) for number, text in enumerate(texts, 1)]


def _score(model: Pretrained, tokenizer: Tokenizer, text: str, number: int) -> SentenceScore:
    built = encode.single(tokenizer, text)
    if len(built.ids) <= len(tokenizer.start_ids) + len(tokenizer.end_ids):
        raise UsageError(f"Text {number} is empty; there is nothing to score.")
    if len(built.ids) == 1:
        raise UsageError(
            f"Text {number} has one token, and the vocabulary no [CLS] that would predict it; "
            "there is nothing to score."
        )
    limit = model.config.max_position_embeddings
    if len(built.ids) > limit:
        raise UsageError(
            f"Text {number} has {len(built.ids)} tokens, its beginning and end counted; this model "
            f"reads {limit}: score it in parts."
        )
    pieces = tokenizer.tokens(built.ids)
    nats: list[dict[str, float]] = [{} for _ in pieces]
    sentence = Sentences(np.array(built.ids), np.array([len(built.ids)]))
    for _, sides in token_scores(model, tokenizer, sentence, hiding="token"):
        for side, (places, values) in sides.items():
            for place, value in zip(places.tolist(), values.tolist(), strict=True):
                nats[place][side] = value
    scored = [TokenScore(piece, found) for piece, found in zip(pieces, nats, strict=True) if found]
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for token in scored:
        for side, value in token.nats.items():
            totals[side] = totals.get(side, 0.0) + value
            counts[side] = counts.get(side, 0) + 1
    means = {side: total / counts[side] for side, total in totals.items()}
    unknown = sum(id_ == tokenizer.unk_id for id_ in built.ids)
    return SentenceScore(text, scored, totals, means, unknown)


_NAMES = {"masked": "pseudo_log_likelihood", "forward": "log_likelihood"}


def summary(score: SentenceScore) -> dict[str, float]:
    """The numbers of a sentence as columns, in nats: in all and per token.

    `log_likelihood` from the left, `log_likelihood_backward` from the right (ELMo), or
    `pseudo_log_likelihood` from both sides; each also with `_per_token` behind it.
    """
    columns: dict[str, float] = {}
    for side, total in score.totals.items():
        name = _NAMES.get(side, f"log_likelihood_{side}")
        columns |= {name: total, f"{name}_per_token": score.means[side]}
    return columns


_SIDES = {
    "masked": "from both sides (pseudo-log-likelihood)",
    "forward": "from the left",
    "backward": "from the right",
}


def table(scores: Sequence[SentenceScore]) -> str:
    """Scores for a terminal: every token, the sums, and of several texts which is likelier."""
    lines: list[str] = []
    for found in scores:
        sides = [side for side in _SIDES if side in found.totals]
        # A byte pair's mark for the end of a word says nothing to a reader.
        names = [token.token.removesuffix(END) for token in found.tokens]
        width = max(map(columns, names))
        lines += [found.text, f"  {'':{width}}  " + "  ".join(f"{side:>8}" for side in sides)]
        for name, token in zip(names, found.tokens, strict=True):
            cells = (token.nats.get(side) for side in sides)
            shown = "  ".join(" " * 8 if nats is None else f"{nats:8.2f}" for nats in cells)
            lines.append(f"  {name}{' ' * (width - columns(name))}  {shown}")
        for side in sides:
            lines.append(
                f"  log-probability {_SIDES[side]}: {found.totals[side]:.2f} nats in all, "
                f"{found.means[side]:.2f} a token"
            )
        lines.append("")
    if len(scores) > 1:
        for side in scores[0].totals:
            lines.append(_likelier(side, scores))
        if len({len(found.tokens) for found in scores}) > 1:
            lines.append(
                "(The texts differ in length, and every token more makes a text less likely: "
                "compare the nats a token too.)"
            )
    for number, found in enumerate(scores, 1):
        if found.unknown:
            words = "token is" if found.unknown == 1 else "tokens are"
            lines.append(
                f"Text {number}: {found.unknown} {words} [UNK], a word that the vocabulary lacks. "
                "Its score says nothing about that word, so do not rank this text by it."
            )
    return "\n".join(lines).rstrip()


_CLEAR = 1.0
"""Nats between two texts below which neither is called likelier: less than a factor of 2.7."""


def _likelier(side: str, scores: Sequence[SentenceScore]) -> str:
    best, second = sorted(scores, key=lambda found: -found.totals[side])[:2]
    apart = best.totals[side] - second.totals[side]
    if not apart:
        return f"Equally likely {_SIDES[side]}."
    by = f"{apart:.2f} nats, a factor of {math.exp(min(apart, 700)):.3g}"
    if apart < _CLEAR:
        return f"About equally likely {_SIDES[side]}: the best two are only {by}, apart."
    return f"Likelier {_SIDES[side]}, by {by}: {best.text}"
