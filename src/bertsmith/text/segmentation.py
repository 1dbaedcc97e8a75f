"""The words of running text, with their places: Unicode's default rules, with three changes.

The rules are those of UAX 29 (Word_Boundary), which the `tokenizers` library has from Oniguruma.
A mark stays with its letter and a joiner between its letters (हिन्दी, می‌خواهم, decomposed é), as do
the parts of an emoji; `don't`, `3.14`, `1,000.5`, `a_b` and `U.S.A` are words; every Chinese
character and hiragana is one, and so is every sign. White space and invisible characters (the
zero-width space of Khmer too) only part words. Changed are three things that UAX 29 leaves to
its users:

- a hyphen between letters or digits joins them, as in CoNLL-2003 (`X-200`, `state-of-the-art`);
- `++` and `#` belong to the letters before them, with no letter or digit behind `#` (`C++`, `C#`);
- letters of scripts without spaces between words (Thai, Lao, Khmer, Burmese) stay together, where
  the default cuts between all of them: only a dictionary knows their words.
"""

import unicodedata

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from bertsmith.text.ideographs import is_ideograph
from bertsmith.text.tokenizer.batched import not_unicode

Place = tuple[int, int]
"""First character, and the one behind the last."""

_UNITS = Split(Regex(r"(?y{w})\X"), "isolated")
_HYPHENS = frozenset("-\u2010\u2011")
# UAX 29 hangs them on what stands before.
_TRAILING = "\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"

# Line_Break=SA of UAX 14: first and last code of the blocks.
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
)


def words(text: str) -> list[Place]:
    """The places of the words of a text, from left to right.

    Raises:
        DataError: the text holds characters that are not Unicode text (lone surrogates).
    """
    try:
        units = [place for _, place in _UNITS.pre_tokenize_str(text)]
    except (TypeError, UnicodeEncodeError) as error:
        raise not_unicode([text]) from error
    found: list[Place] = []
    number = 0
    while number < len(units):
        start, end = units[number]
        number += 1
        while number < len(units):
            more = _joined(text, start, units[number : number + 3])
            if not more:
                break
            end = units[number + more - 1][1]
            number += more
        start, end = _visible(text, start, end)
        if start < end:
            found.append((start, end))
    return found


def _joined(text: str, start: int, units: list[Place]) -> int:
    """How many of the next units belong to the word that began at `start`; at most two."""
    here = units[0][0]
    before, unit = text[start:here], text[here : units[0][1]]
    behind = text[units[1][0]] if len(units) > 1 else ""
    if _is_unspaced(before[-1]) and _is_unspaced(unit[0]):
        return 1
    if not _is_spelled(before[-1]):
        return 0
    if unit in _HYPHENS and behind and _is_spelled(behind):
        return 2
    if unit == "+" == behind and before[-1].isalpha():
        third = text[units[2][0]] if len(units) > 2 else ""
        return 2 if third != "+" else 0
    return int(unit == "#" and before[-1].isalpha() and not behind.isalnum())


def _is_spelled(character: str) -> bool:
    """A letter, mark or digit of a script whose words have several."""
    kind = unicodedata.category(character)[0]
    return kind in "LMN" and not is_ideograph(character) and not "\u3040" <= character <= "\u309f"


def _is_unspaced(character: str) -> bool:
    code = ord(character)
    if code < _WITHOUT_SPACES[0][0] or unicodedata.category(character)[0] not in "LM":
        return False
    return any(first <= code <= last for first, last in _WITHOUT_SPACES)


def _visible(text: str, start: int, end: int) -> Place:
    """The place less invisible characters at its ends; empty where there are no others."""
    if all(unicodedata.category(c)[0] == "Z" or _is_invisible(c) for c in text[start:end]):
        return start, start
    while text[start].isspace():
        start += 1
    while text[end - 1] in _TRAILING or text[end - 1].isspace():
        end -= 1
    return start, end


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f"
