"""Probes the models: word probabilities, word senses, attention, independence of masked words.

- The probability of every word from the left, from the right, from both (`inference.likelihood`).
- The corpus sentences in which an ambiguous word is most similar to its use in a sentence of each
  meaning (Peters et al. 2018, table 4).
- Attention (BERT, GPT); for ELMo, which has none, the gradient norm of a word's log-probability
  with respect to each token's vector.
- The cost of predicting several masked words independently, against filling them in one after the
  other (Yang et al. 2019, section 2).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from bertsmith.checkpoints.folder import load_pretraining
from bertsmith.comparison.examples import Meaning, examples
from bertsmith.corpus.shards import Corpus, Split
from bertsmith.inference.inspection import saliency
from bertsmith.inference.likelihood import SentenceScore, score_sentences
from bertsmith.inference.token_scores import log_probabilities
from bertsmith.models.family import Pretrained, encoder_of, recurrent_model
from bertsmith.models.modules.layers import Stack
from bertsmith.models.modules.packed import PretrainBatch, pack
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.tokenizer import Tokenizer

# Tokens of the training text that are searched for an ambiguous word.
_READ = 2_000_000
_CANDIDATES = 400
_NEAREST = 3
# Tokens around an occurrence that are shown.
_AROUND = 24
_BLANKS = 200
_BLANK_WORDS = (2, 3)
_LONGEST = 64


class Neighbour(msgspec.Struct, frozen=True):
    """A corpus sentence in which the word is used similarly."""

    text: str
    similarity: float
    """Cosine of the word's two contextual embeddings."""


class WordUse(msgspec.Struct, frozen=True, kw_only=True):
    """A word in one sentence, and its nearest uses in the corpus."""

    word: str
    text: str
    nearest: list[Neighbour]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The attention or saliency map of a model for one sentence."""

    tokens: list[str]
    kind: str
    """`attention` or `saliency`."""
    weights: list[list[float]]
    """Row: the token that is read or predicted; column: the token it looks at. Rows sum to 1."""


class Independence(msgspec.Struct, frozen=True, kw_only=True):
    """Adjacent masked words, predicted independently and one after the other."""

    words: int
    blanks: int
    """Number of samples from held-out text."""
    independent: float
    """Mean log-probability of the words of a sample, each predicted independently, in nats."""
    joint: float
    """The same by the chain rule, from left to right."""
    gap_error: float
    """Standard error of the mean of joint minus independent."""

    @property
    def gap(self) -> float:
        """Cost of the independence assumption in nats."""
        return self.joint - self.independent


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """All probes, by system."""

    sentences: dict[str, list[SentenceScore]]
    uses: dict[str, list[WordUse]]
    looks: dict[str, Look]
    independence: dict[str, list[Independence]]
    """Only of masked language models."""


def look_inside(models: dict[str, Path], corpus: Corpus, say: Callable[[str], object]) -> Insight:
    """Probes each of the models.

    Args:
        models: system -> folder of its pre-trained model.
        corpus: their training corpus.
        say: called with a line for each model.

    Raises:
        FolderError: a model is damaged.
    """
    tokenizer = corpus.tokenizer
    shown = examples(tokenizer)
    found = Insight(sentences={}, uses={}, looks={}, independence={})
    for name, folder in models.items():
        say(f"probing {name}")
        model, _ = load_pretraining(folder)
        found.sentences[name] = score_sentences(model, tokenizer, shown.sentences)
        found.uses[name] = [
            use
            for meaning in shown.meanings
            for use in word_uses(model, tokenizer, corpus.split("train"), meaning)
        ]
        found.looks[name] = look(model, tokenizer, shown.sentences[0])
        if model.objective == "masked":
            measured = [
                independence(model, tokenizer, corpus.split("heldout"), words)
                for words in _BLANK_WORDS
            ]
            # Short held-out text may have no sample.
            found.independence[name] = [one for one in measured if one.blanks]
    return found


# --- a word in two meanings ---------------------------------------------------------------------


@torch.inference_mode()
def word_uses(
    model: Pretrained, tokenizer: Tokenizer, split: Split, meaning: Meaning
) -> list[WordUse]:
    """The word in each of the two sentences, and its nearest uses in the text.

    Empty if the word is not a single piece of the vocabulary, or too rare in the text.
    """
    pieces = tokenizer.encode(meaning.word).ids
    if len(pieces) != 1:
        return []
    contexts = occurrences(split, tokenizer, pieces[0])
    if len(contexts) < 2 * _NEAREST:
        return []
    frame = (tokenizer.cls_id, tokenizer.sep_id)
    asked = [encode.single(tokenizer, text).ids for text in meaning.texts]
    rows = [*asked, *([frame[0], *ids, frame[1]] for ids in contexts)]
    states = _states_of(model, rows, pieces[0])
    similar = states[: len(asked)] @ states[len(asked) :].T
    uses = []
    for text, similarities in zip(meaning.texts, similar, strict=True):
        best = similarities.topk(_NEAREST)
        uses.append(
            WordUse(
                word=meaning.word,
                text=text,
                nearest=[
                    Neighbour(tokenizer.decode(contexts[number]), value)
                    for value, number in zip(
                        best.values.tolist(), best.indices.tolist(), strict=True
                    )
                ],
            )
        )
    return uses


def occurrences(split: Split, tokenizer: Tokenizer, piece: int) -> list[list[int]]:
    """Spans of text around a word of one piece, as ids: whole words, evenly spread."""
    count = min(split.token_count, _READ)
    ids_T = split.gather(np.array([0]), np.array([count])).astype(np.int64)
    # A word ends where the next one starts; words at the edges of the text may be cut.
    begins_T = np.append(tokenizer.word_starts(ids_T), True)
    places = np.flatnonzero((ids_T == piece) & begins_T[:-1] & begins_T[1:])
    if len(places) > _CANDIDATES:
        places = places[np.linspace(0, len(places) - 1, _CANDIDATES, dtype=np.int64)]
    edges = np.flatnonzero(begins_T)
    first = edges[np.searchsorted(edges, places - _AROUND // 2)]
    last = edges[np.searchsorted(edges, places + _AROUND // 2, side="right") - 1]
    return [ids_T[a:b].tolist() for a, b in zip(first, last, strict=True)]


def _states_of(model: Pretrained, rows: list[list[int]], piece: int) -> Tensor:
    """The normalized state of the middle occurrence of the piece in each row, [rows, D]."""
    encoder = encoder_of(model)
    states = []
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        packed = pack(some)
        places = [
            first + _middle([at for at, id_ in enumerate(row) if id_ == piece])
            for first, row in zip(packed.starts.tolist(), some, strict=False)
        ]
        states.append(encoder(packed, torch.tensor(places)))
    return torch.nn.functional.normalize(torch.cat(states), dim=1)


def _middle(places: Sequence[int]) -> int:
    return places[len(places) // 2]


# --- where a model looks ------------------------------------------------------------------------


def look(model: Pretrained, tokenizer: Tokenizer, text: str) -> Look:
    """Attention of the last layer, averaged over its heads; for ELMo, the saliency."""
    ids = encode.single(tokenizer, text).ids
    tokens = tokenizer.tokens(ids)
    recurrent = recurrent_model(model)
    if recurrent is not None:
        return Look(tokens=tokens, kind="saliency", weights=saliency(recurrent, ids).tolist())
    with torch.inference_mode():
        stack = encoder_of(model)
        assert isinstance(stack, Stack)
        weights_LL = stack.attention_weights(pack([ids]))[-1].mean(0)
    return Look(tokens=tokens, kind="attention", weights=weights_LL.tolist())


# --- several blanks at once ---------------------------------------------------------------------


def independence(model: Pretrained, tokenizer: Tokenizer, split: Split, words: int) -> Independence:
    """The gap between joint and independent predictions of `words` adjacent words.

    Samples are evenly spread over the held-out sentences: words of one piece each, in the middle of
    a sentence.
    """
    independent, joint = [], []
    for ids, place in _blanks(tokenizer, split, words):
        hidden = list(ids)
        hidden[place : place + words] = [tokenizer.mask_id] * words
        independent.append(_filled(model, hidden, ids, range(place, place + words)))
        chain = 0.0
        for at in range(place, place + words):
            chain += _filled(model, hidden, ids, range(at, at + 1))
            hidden[at] = ids[at]
        joint.append(chain)
    gaps = np.array(joint) - np.array(independent)
    return Independence(
        words=words,
        blanks=len(gaps),
        independent=float(np.mean(independent)) if independent else 0.0,
        joint=float(np.mean(joint)) if joint else 0.0,
        gap_error=float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0,
    )


def _filled(model: Pretrained, seen: list[int], right: list[int], places: range) -> float:
    batch = PretrainBatch(
        pack([seen]),
        masked_P=torch.tensor(list(places)),
        labels_P=torch.tensor([right[place] for place in places]),
        next_B=None,
    )
    return float(log_probabilities(model, batch)["mlm"].sum())


def _blanks(tokenizer: Tokenizer, split: Split, words: int) -> list[tuple[list[int], int]]:
    """Sentences with `[CLS]` and `[SEP]`, and the index of the first masked word in each."""
    starts = split.sentence_starts(np.arange(split.sentence_count + 1))
    lengths = np.diff(starts)
    fitting = np.flatnonzero((lengths >= words + 8) & (lengths <= _LONGEST))
    rows = fitting[
        np.linspace(0, max(len(fitting) - 1, 0), min(len(fitting), 4 * _BLANKS), dtype=int)
    ]
    found: list[tuple[list[int], int]] = []
    for row in rows:
        text = split.gather(starts[row : row + 1], lengths[row : row + 1]).tolist()
        ids = [tokenizer.cls_id, *map(int, text), tokenizer.sep_id]
        place = (len(ids) - words) // 2
        begins = tokenizer.word_starts(np.array(ids))[place : place + words + 1]
        hidden = [tokenizer.bare[index] for index in ids[place : place + words]]
        if begins.all() and all(map(str.isalpha, hidden)):
            found.append((ids, place))
        if len(found) == _BLANKS:
            break
    return found
