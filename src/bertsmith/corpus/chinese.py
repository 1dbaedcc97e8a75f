"""Word starts in Chinese text, by a segmenter, for whole-word masking.

BERT's rules make every Chinese character a token and a word of its own; Chinese whole-word masking
(Cui et al. 2019) masks all characters of a segmented word together.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bertsmith.core.extras import require
from bertsmith.text.ideographs import is_ideograph
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def mark_words(
    texts: Sequence[str],
    ids_T: npt.NDArray[np.unsignedinteger],
    lengths: npt.NDArray[np.int64],
    starts_T: npt.NDArray[np.bool_],
    tokenizer: Tokenizer,
) -> None:
    """Clears `starts_T` at each Chinese character that continues a word of the segmenter.

    Args:
        texts: the sentences.
        ids_T: their ids, end to end.
        lengths: tokens of each sentence.
        starts_T: whether each token begins a word; changed in place.
        tokenizer: what made the ids; it splits Chinese characters.

    Raises:
        MissingExtra: jieba is not installed.
    """
    jieba = segmenter()
    chinese_T = _chinese_pieces(tokenizer)[ids_T]
    end = 0
    for text, length in zip(texts, lengths.tolist(), strict=True):
        start, end = end, end + length
        inside = _continues_word(jieba, text)
        if not any(flag for _, flag in inside):
            continue
        places = np.flatnonzero(chinese_T[start:end])
        if len(places) != len(inside):
            # An ideograph outside the vocabulary is [UNK], and so are other words: ask for offsets.
            offsets = tokenizer.encode(text).offsets
            token_at = {first: place for place, (first, _) in enumerate(offsets)}
            places = np.array([token_at[character] for character, _ in inside])
        continued = np.array([flag for _, flag in inside])
        starts_T[start + places[continued]] = False


def _continues_word(jieba: Any, text: str) -> list[tuple[int, bool]]:
    """For each Chinese character: its index, and whether its word began before it."""
    found = []
    index = 0
    for word in jieba.cut(text) if not text.isascii() else ():
        before = False
        for character in word:
            chinese = is_ideograph(character)
            if chinese:
                found.append((index, before))
            before = chinese
            index += 1
    return found


@cache
def segmenter() -> Any:
    """jieba's segmenter with its own dictionary.

    Raises:
        MissingExtra: it is not installed.
    """
    jieba = require("jieba", extra="chinese", purpose="Finding Chinese words")
    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()


def _chinese_pieces(tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    return np.array([len(piece) == 1 and is_ideograph(piece) for piece in tokenizer.bare])
