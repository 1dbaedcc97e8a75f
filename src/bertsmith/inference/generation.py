"""Writing on: a pre-trained GPT continues a text, one token after the other."""

import math
from typing import Literal

import msgspec
import torch
from torch import Tensor

from bertsmith.core.errors import UsageError, option
from bertsmith.models.gpt.model import GptForPretraining
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Ended = Literal["by the model", "after as many tokens as asked", "at the last position"]


class WrittenToken(msgspec.Struct, frozen=True):
    """A token that the model wrote."""

    token: str
    log_probability: float
    """Natural logarithm of its probability by the model, whatever the temperature."""


class Written(msgspec.Struct, frozen=True):
    """What `generate` wrote."""

    prompt: str
    text: str
    """The prompt as the tokenizer reads it and what was written on, without `[SEP]`."""
    tokens: list[WrittenToken]
    """Those written; the last is `[SEP]` where the model ended the text itself."""
    ended: Ended
    """Why no more was written."""


def generate(
    model: GptForPretraining,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Written:
    """Continues `text` until `[SEP]`, `max_new_tokens` tokens, or the model's last position.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        text: the beginning; empty for a text from the very start.
        max_new_tokens: maximum number of new tokens; special ones but `[SEP]` are never written.
        temperature: divides the scores before a token is drawn; 0 takes the most probable always.
        top_k: draws among so many most probable tokens; 0 for all.
        top_p: then among the fewest most probable ones that have this probability together.
        seed: of the draws; equal seeds, equal texts.

    Raises:
        DataError: the text holds characters that are not Unicode text.
        UsageError: an argument out of range, or a text with no position left behind it.
    """
    _check(len(tokenizer), max_new_tokens, temperature, top_k, top_p, seed)
    device = model.gpt.embeddings.word.weight.device
    start = tokenizer.start_ids
    ids = [*start, *tokenizer.encode(text).ids]
    if not ids:
        raise UsageError(
            "The text is empty, and the vocabulary has no [CLS] to write on from; give the first "
            "word at least."
        )
    room = model.config.n_positions - len(ids)
    if room < 1:
        raise UsageError(
            f"The text has {len(ids)} tokens, [CLS] counted; this model has positions for "
            f"{model.config.n_positions} and needs one to write on: shorten the text."
        )
    draws = torch.Generator().manual_seed(seed)
    # Of the special tokens only the end is something that a text can go on with.
    never = sorted(tokenizer.special_ids - set(tokenizer.end_ids))
    ended: Ended = (
        "after as many tokens as asked" if max_new_tokens <= room else "at the last position"
    )
    past, new = model.gpt.nothing_yet(), ids
    written: list[WrittenToken] = []
    with torch.inference_mode():
        for _ in range(min(max_new_tokens, room)):
            last_D = model.gpt.extend(torch.tensor(new, device=device), past)[-1:]
            scores_V = model.logits(last_D)[0].double().cpu()
            open_V = scores_V.index_fill(0, torch.tensor(never, dtype=torch.int64), -torch.inf)
            open_V[len(tokenizer) :] = -torch.inf  # rows of padding
            if temperature == 0:
                chosen = int(open_V.argmax())
            else:
                # From the highest downwards, so that no temperature is too low to divide by.
                below_V = (open_V - open_V.max()) / temperature
                likely_V = _cut(below_V.softmax(-1), top_k, top_p)
                chosen = int(torch.multinomial(likely_V, 1, generator=draws))
            probability = float(scores_V.log_softmax(-1)[chosen])
            written.append(WrittenToken(tokenizer.vocab[chosen], probability))
            if chosen in tokenizer.end_ids:
                ended = "by the model"
                break
            new = [chosen]
            ids.append(chosen)
    return Written(text, tokenizer.decode(ids[len(start) :]), written, ended)


def _cut(likely_V: Tensor, top_k: int, top_p: float) -> Tensor:
    """The probabilities with the improbable ones set to 0; the first is always kept."""
    values_V, order_V = likely_V.sort(descending=True, stable=True)
    if top_k:
        values_V[top_k:] = 0
    before_V = values_V.cumsum(-1) - values_V
    values_V[before_V >= top_p * values_V.sum()] = 0
    return torch.zeros_like(likely_V).scatter_(0, order_V, values_V)


def _check(
    vocabulary: int, max_new_tokens: int, temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    if max_new_tokens < 1:
        raise UsageError(f"{option('max_new_tokens')} is {max_new_tokens}; it must be at least 1.")
    if not 0 <= temperature < math.inf:
        raise UsageError(
            f"{option('temperature')} is {temperature}; it must be 0 or a number above."
        )
    if not 0 <= top_k <= vocabulary:
        raise UsageError(
            f"{option('top_k')} is {top_k}; it must be from 1 to {vocabulary}, or 0 for all tokens."
        )
    if not 0 < top_p <= 1:
        raise UsageError(f"{option('top_p')} is {top_p}; it must be above 0 and at most 1.")
    if not 0 <= seed < 2**63:
        raise UsageError(
            f"{option('seed')} is {seed}; it must be from 0 to 9,223,372,036,854,775,807."
        )
