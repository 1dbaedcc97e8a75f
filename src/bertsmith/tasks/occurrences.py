"""Where an answer occurs in its context as words of its own, never inside a word or a number.

Nothing parts the words of Chinese, Japanese, Thai, Lao, Khmer and Burmese, and Korean joins
particles to them, so there every place counts.
"""

import re
import unicodedata

from bertsmith.text.ideographs import RANGES

_UNPARTED = (
    *RANGES,
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Japanese kana
    (0x31F0, 0x31FF),
    (0xAC00, 0xD7AF),  # Korean
)
_IN_NUMBERS = ".,:'’"
"""Signs that are part of a number between two digits."""
_MINUS = "-−"
_JOINERS = "\u200c\u200d"


def occurrences(text: str, context: str) -> list[int]:
    """Characters of `context` at which `text` (not empty) begins as words of its own."""
    found = (match.start() for match in re.finditer(f"(?={re.escape(text)})", context))
    return [
        start
        for start in found
        if not _is_inside(context, start) and not _is_inside(context, start + len(text))
    ]


def _is_inside(context: str, place: int) -> bool:
    """Whether a word or a number goes on at a place between two characters."""
    if not 0 < place < len(context):
        return False
    before, after = context[place - 1], context[place]
    if _is_mark(after):
        return not before.isspace()
    if before == "\u200d":
        return True
    if _is_word(before) and _is_word(after):
        return not (_is_unparted(before) or _is_unparted(after))
    if before.isdecimal() and after in _IN_NUMBERS:
        return context[place + 1 : place + 2].isdecimal()
    if after.isdecimal() and before in _IN_NUMBERS:
        return context[: place - 1][-1:].isdecimal()
    # A minus is part of a number, a hyphen parts two.
    return after.isdecimal() and before in _MINUS and not context[: place - 1][-1:].strip()


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_" or _is_mark(sign)


def _is_mark(sign: str) -> bool:
    return sign in _JOINERS or unicodedata.category(sign).startswith("M")


def _is_unparted(sign: str) -> bool:
    return any(first <= ord(sign) <= last for first, last in _UNPARTED)
