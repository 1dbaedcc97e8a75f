"""More words for a vocabulary that exists: which words of a text to add, and what that saves."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_LONGEST_WORD = 64
"""Characters; what is longer is an address or a sequence, not a word."""
_WORDS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class AddedWord:
    """A word that becomes one piece."""

    word: str
    frequency: int
    """Occurrences in the text."""
    replaces: tuple[int, ...]
    """Ids of the pieces that stood for it."""


@dataclass(frozen=True)
class Extension:
    """A vocabulary with words added behind its last piece."""

    tokenizer: Tokenizer
    added: tuple[AddedWord, ...]
    """In order of their ids."""
    words: int
    """Words of the text."""
    tokens_before: int
    """Pieces of the text with the old vocabulary."""
    tokens_after: int
    unknown_before: int
    """Of these, `[UNK]`."""
    unknown_after: int


def extend(
    tokenizer: Tokenizer, words: Counter[str], *, size: int, min_frequency: int
) -> Extension:
    """Adds the words that save the most tokens; ids of the old pieces stay as they are.

    Args:
        tokenizer: a WordPiece vocabulary.
        words: how often each word of the text occurs, cleaned by the vocabulary's rules.
        size: words to add; fewer where the text has no more.
        min_frequency: how often a word must occur.

    Raises:
        UsageError: a setting is out of range, the vocabulary is of byte pairs, or no word of the
            text is cut into pieces.
        DataError: there are no words.
    """
    for name, value in (("size", size), ("min_frequency", min_frequency)):
        if value < 1:
            raise UsageError(f"{option(name)} is {value}; it must be at least 1.")
    if tokenizer.merges is not None:
        raise UsageError(
            "This vocabulary is BPE, and only WordPiece can be extended. Train a tokenizer and a "
            "model of your own instead."
        )
    if not words:
        raise DataError("The text holds no word; give text in the language of the model.")
    before, unknown_before, pieces = _lengths(tokenizer, words)
    found = [
        AddedWord(word, words[word], ids)
        for word, ids in pieces.items()
        if words[word] >= min_frequency
        and len(word) <= _LONGEST_WORD
        and any(sign.isalpha() for sign in word)
    ]
    # A word of one piece is [UNK] here: it saves no token, but the model cannot read it.
    found.sort(key=lambda one: (-one.frequency * max(1, len(one.replaces) - 1), one.word))
    added = tuple(found[:size])
    if not added:
        raise UsageError(
            f"No word that occurs {min_frequency} times or more is cut into pieces, so there is "
            "nothing to add; the vocabulary fits this text."
        )
    extended = Tokenizer(
        (*tokenizer.vocab, *(one.word for one in added)),
        tokenizer.cleaning,
        added=tokenizer.added,
    )
    after, unknown_after, _ = _lengths(extended, words)
    return Extension(extended, added, words.total(), before, after, unknown_before, unknown_after)


def _lengths(
    tokenizer: Tokenizer, words: Counter[str]
) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    """Tokens of a text, those that are unknown, and the ids of the words that are no piece."""
    tokens = unknown = 0
    cut: dict[str, tuple[int, ...]] = {}
    known = list(words)
    for first in range(0, len(known), _WORDS_AT_ONCE):
        block = known[first : first + _WORDS_AT_ONCE]
        ids_T, lengths = tokenizer.encode_flat(block)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        for number, word in enumerate(block):
            ids = tuple(ids_T[starts[number] : starts[number + 1]].tolist())
            tokens += words[word] * len(ids)
            unknown += words[word] * ids.count(tokenizer.unk_id)
            if len(ids) > 1 or tokenizer.unk_id in ids:
                cut[word] = ids
    return tokens, unknown, cut
