"""Words to readable text: no space inside Chinese, none before a comma."""

import re
from collections.abc import Set

from bertsmith.text.ideographs import is_ideograph

_CLOSING = frozenset(",.;:!?)]}%…’”»")
_OPENING = frozenset("([{“‘«¿¡$£€#")
_CONTRACTION = re.compile(r"(?<=\w) (['’]) (?=(?:s|t|d|m|re|ve|ll)\b)", re.IGNORECASE)


def join_words(words: list[str], special: Set[str]) -> str:
    """The words with spaces where they belong; `special` are those that are tokens, not words."""
    pieces: list[str] = []
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        tight = (
            not before
            or word in _CLOSING
            or before in _OPENING
            or (_wide(before[-1]) and (_wide(word[0]) or word in special))
            or (before in special and _wide(word[0]))
        )
        pieces.append(word if tight else f" {word}")
    return _CONTRACTION.sub(r"\1", "".join(pieces))


def _wide(character: str) -> bool:
    """Chinese or Japanese characters and their punctuation: written without spaces."""
    code = ord(character)
    return 0x3000 <= code <= 0x30FF or 0xFF00 <= code <= 0xFF60 or is_ideograph(character)
