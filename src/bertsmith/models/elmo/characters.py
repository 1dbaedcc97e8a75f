"""Words and WordPieces as the rows of character ids that ELMo reads.

The rule is that of the published models (bilm-tf's `UnicodeCharsVocabulary`, AllenNLP's
`ELMoTokenCharactersIndexer`): the bytes of UTF-8 between a begin and an end mark, then padding, and
every id one higher than the mark's own number so that 0 is left for a mask. A sentence begins and
ends with a word of one character that no text holds.

A piece that goes on with a word (`##ing`) lacks the begin mark and starts with its first byte; so
it differs from the word `ing`, and the filters that span a begin see none. That a word ends with a
piece cannot be known from the piece: every piece has the end mark.

Shapes beside those of `packed.py`: W words, C character ids of a word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertsmith.text.tokenizer.files import CLS, SEP

BEGIN, END = "<S>", "</S>"
"""The words before and after a sentence."""
CHARACTER_IDS = 262
"""The mask's id, 0; 256 bytes; begin and end of sentence and of word; padding."""

_BEGIN_SENTENCE, _END_SENTENCE, _BEGIN_WORD, _END_WORD, PADDING = range(257, 262)
_GOES_ON = "##"


class Spelled(NamedTuple):
    """Words by their characters."""

    ids_WC: Tensor
    """int64."""
    cut: tuple[str, ...]
    """The words that were truncated to C."""


def character_ids(words: Sequence[str], *, longest: int) -> Spelled:
    """Words, among which `BEGIN` and `END` are the frame of a sentence.

    Args:
        words: in any script; what is no Unicode (half a surrogate pair) is left out.
        longest: C, the marks counted; a word of more bytes loses its end.
    """
    return _spelled(words, np.ones(len(words), dtype=np.int64), longest)


def piece_character_ids(pieces: Sequence[str], *, longest: int) -> Spelled:
    """The pieces of a WordPiece vocabulary, as `character_ids` has words.

    `[CLS]` and `[SEP]` are the frame of a sentence; other special pieces are spelled as words.
    """
    words = [_word_of(piece) for piece in pieces]
    marks = np.array([not _goes_on(piece) for piece in pieces], dtype=np.int64)
    return _spelled(words, marks, longest)


def _goes_on(piece: str) -> bool:
    return piece.startswith(_GOES_ON) and len(piece) > len(_GOES_ON)


def _word_of(piece: str) -> str:
    if _goes_on(piece):
        return piece.removeprefix(_GOES_ON)
    return {CLS: BEGIN, SEP: END}.get(piece, piece)


def _spelled(words: Sequence[str], marks: np.ndarray, longest: int) -> Spelled:
    """`marks` [W] is 1 where a begin mark comes before the word's bytes, else 0."""
    framing = {BEGIN: _BEGIN_SENTENCE, END: _END_SENTENCE}
    # A frame's word is one character, which has no byte; its place is filled below.
    whole = [b"?" if word in framing else word.encode("utf-8", "ignore") for word in words]
    coded = [code[: longest - 2] for code in whole]
    lengths = np.array([len(code) for code in coded], dtype=np.int64)
    ids_WC = np.full((len(words), longest), PADDING, dtype=np.int64)
    rows = np.repeat(np.arange(len(words)), lengths)
    firsts = np.cumsum(lengths) - lengths
    places = np.arange(len(rows)) - np.repeat(firsts - marks, lengths)
    ids_WC[rows, places] = np.frombuffer(b"".join(coded), dtype=np.uint8).astype(np.int64) + 1
    ids_WC[marks == 1, 0] = _BEGIN_WORD
    ids_WC[np.arange(len(words)), lengths + marks] = _END_WORD
    for row, word in enumerate(words):
        if word in framing:
            ids_WC[row, marks[row]] = framing[word]
    cut = (word for word, code in zip(words, whole, strict=True) if len(code) > longest - 2)
    return Spelled(torch.from_numpy(ids_WC), tuple(cut))
