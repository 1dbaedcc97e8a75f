"""Documents to sentences, by the library `sentencex` and the few rules it leaves to its caller.

A line break always ends a sentence, and a very long line is cut first: the library takes quadratic
time on quotes that never close, and on text without spaces. Scripts without a full stop (Thai, Lao,
Tibetan) get a rule of their own.
"""

import re
from functools import lru_cache
from string import ascii_lowercase

import sentencex

from bertsmith.core.errors import UsageError, nearest, option

LONGEST_PARAGRAPH = 100_000
"""Characters in a line that sentencex is given at once."""
LONGEST_UNSPACED = 10_000
"""The same for Chinese and Japanese, where each sentence end looks back to the last space."""

_SAMPLE = 2000
_LOOKED_AT = 125

# In a Chinese or Japanese line longer than this, a vertical tab behind each comma stands in for the
# missing spaces (100,000 characters: 300 times faster, the same sentences). Lines never hold one,
# because it ends a line.
_MARKED = 2000
_MARK = "\v"

# Where writers of these languages end a sentence, or at least a clause: Thai and Lao at a space
# between two letters of their own, Tibetan after a stroke (shad).
_CLAUSE_ENDS = {
    "th": re.compile(r"(?<=[\u0e01-\u0e5b]) +(?=[\u0e01-\u0e5b])"),
    "lo": re.compile(r"(?<=[\u0e81-\u0edf]) +(?=[\u0e81-\u0edf])"),
    "bo": re.compile(r"(?<=[\u0f0d-\u0f11]) +"),
}

# sentencex 1.0.32 panics where a capital, a space outside ASCII and a full stop meet ("vitamin A ."
# with a no-break space). The stop leads the search, because a literal is found many times faster.
_ODD_SPACE_SEARCH = re.compile(r"\.(?<=[^\S\x00-\x7f]\.)")
_ODD_SPACE = re.compile(r"[^\S\x00-\x7f](?=\.)")

# English rules alone end a sentence after "Sig.", "Blvd." and "so!" but not after the other titles.
_ENGLISH = (
    "Mrs. Smith, Sen. Jones, Gov. Brown, Sgt. Pepper, Messrs. Black and Lt. Green met Sig. Rossi "
    "on Bay Blvd. Today it is so! they said."
)

_SENTENCE_END = re.compile(r"""[.!?…؟।။።։]+["'”’»)\]]*\s+|[。！？]+["'”’」』）]*\s*""")

# Scripts by ranges of code points, each a multiple of 64, and the language whose rules stand for
# the script. A border may take a few signs too many: only the most frequent script counts.
_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("en", ((0x40, 0x80), (0xC0, 0x280), (0x1E00, 0x1F00))),
    ("el", ((0x380, 0x400), (0x1F00, 0x2000))),
    ("ru", ((0x400, 0x540),)),
    ("hy", ((0x540, 0x580),)),
    ("he", ((0x5C0, 0x600),)),
    ("ar", ((0x600, 0x700), (0x740, 0x780), (0xFB40, 0xFE00), (0xFE80, 0xFF00))),
    ("hi", ((0x900, 0x980),)),
    ("bn", ((0x980, 0xA00),)),
    ("pa", ((0xA00, 0xA80),)),
    ("gu", ((0xA80, 0xB00),)),
    ("or", ((0xB00, 0xB80),)),
    ("ta", ((0xB80, 0xC00),)),
    ("te", ((0xC00, 0xC80),)),
    ("kn", ((0xC80, 0xD00),)),
    ("ml", ((0xD00, 0xD80),)),
    ("si", ((0xD80, 0xE00),)),
    ("th", ((0xE00, 0xE80),)),
    ("lo", ((0xE80, 0xF00),)),
    ("bo", ((0xF00, 0x1000),)),
    ("my", ((0x1000, 0x1080),)),
    ("ka", ((0x10C0, 0x1100),)),
    ("am", ((0x1200, 0x1380),)),
    ("km", ((0x1780, 0x1800),)),
    ("ko", ((0x1100, 0x1200), (0xAC00, 0xD7C0))),
    ("ja", ((0x3040, 0x3100),)),
    ("zh", ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x32400))),
)
_LANGUAGES = ("", *(language for language, _ in _SCRIPTS))
_HANGUL, _KANA, _HAN = (_LANGUAGES.index(language) for language in ("ko", "ja", "zh"))


def _script_table() -> bytes:
    table = bytearray(0x110000 >> 6)
    for number, (_, ranges) in enumerate(_SCRIPTS, start=1):
        for first, end in ranges:
            table[first >> 6 : end >> 6] = bytes([number]) * ((end - first) >> 6)
    return bytes(table)


_TABLE = _script_table()


def detect_language(text: str) -> str:
    """The language whose sentence rules fit the script of the first 2,000 characters.

    At most 250 of them, evenly spread, are looked at. The most frequent script decides: Latin "en",
    Cyrillic "ru", Arabic "ar", Devanagari "hi", Han "zh", or "ja" when kana are at least a tenth of
    Han and kana together, and so on; without any letters "en". A Chinese, Japanese or Korean sign
    says about as much as three letters of an alphabet and counts for three. A language that shares
    its script (German, Ukrainian) must be named by the user to get its own abbreviations.
    """
    sample = text[: _SAMPLE : max(1, min(len(text), _SAMPLE) // _LOOKED_AT)]
    if sample.isascii():
        return "en"
    seen = bytes([_TABLE[ord(sign) >> 6] for sign in sample])
    counts = {script: seen.count(script) for script in sorted(set(seen)) if script}
    kana = counts.pop(_KANA, 0)
    counts[_HAN] = 3 * (counts.get(_HAN, 0) + kana)
    counts[_HANGUL] = 3 * counts.get(_HANGUL, 0)
    best = max(counts, key=lambda script: counts[script])
    if not counts[best]:
        return "en"
    return "ja" if best == _HAN and 30 * kana >= counts[_HAN] else _LANGUAGES[best]


def split(text: str, language: str = "auto") -> list[str]:
    """The sentences of a document, in order, without white space around them, none empty.

    Args:
        text: a document; every line break in it ends a sentence.
        language: a language code such as "en", "zh" or "de", or "auto" to tell by the script.

    Raises:
        UsageError: `language` is neither.
    """
    code = detect_language(text) if language == "auto" else check_language(language)
    unspaced = code in ("zh", "ja")
    limit = LONGEST_UNSPACED if unspaced else LONGEST_PARAGRAPH
    lines = text.splitlines()
    longest = max(map(len, lines), default=0)
    if longest > limit:
        lines = [piece for line in lines for piece in _pieces(line, limit)]
    # One call for the whole document: to sentencex a blank line always ends a sentence.
    joined = "\n\n".join(lines)
    marked = unspaced and longest > _MARKED
    if marked:
        joined = joined.replace("，", "，" + _MARK).replace("、", "、" + _MARK)
    if not joined.isascii() and _ODD_SPACE_SEARCH.search(joined):
        joined = _ODD_SPACE.sub(" ", joined)
    if code in _CLAUSE_ENDS:
        joined = _CLAUSE_ENDS[code].sub("\n\n", joined)
    found = sentencex.segment(code, joined)
    if marked:
        found = [piece.replace(_MARK, "") for piece in found]
    return [sentence for piece in found if (sentence := piece.strip())]


@lru_cache
def check_language(language: str) -> str:
    """The code whose rules a text of `language` gets: itself, or what stands before its dash.

    Raises:
        UsageError: there are no rules for it; sentencex would silently take those of English.
    """
    if re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*", language):
        for code in (language, re.split("[-_]", language)[0]):
            if _has_rules(code):
                return code
    short = (first + second for first in ascii_lowercase for second in ascii_lowercase)
    near = nearest(language, ["auto", *filter(_has_rules, short)])
    raise UsageError(
        f"{option('language', language)}: no sentence rules for this language{near}. Give a code "
        "such as en, zh or de, or auto to choose the rules by script."
    )


def _has_rules(code: str) -> bool:
    """Whether a language is one of ours, or one that sentencex splits otherwise than English.

    It does not tell which languages it knows, but it does so by where it stops in the sample.
    """
    own = sentencex.segment(code, _ENGLISH) != sentencex.segment("en", _ENGLISH)
    return code in _LANGUAGES or bool(own)


def _pieces(line: str, limit: int) -> list[str]:
    """Cuts a line where it is too long: after a sentence, else at a space, else where it must."""
    pieces = []
    while len(line) > limit:
        near = limit - 2000
        ends = [found.end() for found in _SENTENCE_END.finditer(line, near, limit)]
        space = line.rfind(" ", near, limit) + 1
        end = ends[-1] if ends else space or limit
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]
