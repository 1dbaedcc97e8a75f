"""Words of running text: never inside a character as readers see it, always at their places."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.errors import DataError
from bertsmith.text.segmentation import words

WORDS = {
    "don't l’été rock'n'roll": ["don't", "l’été", "rock'n'roll"],
    "3.14 1,000.5 50% $5 v1.2": ["3.14", "1,000.5", "50", "%", "$", "5", "v1.2"],
    "X-200 state-of-the-art 2020-01-05": ["X-200", "state-of-the-art", "2020-01-05"],
    "a - b -c d- e--f": ["a", "-", "b", "-", "c", "d", "-", "e", "-", "-", "f"],
    "C++, C# g++ C++11 +++ a+b 1++": [
        "C++", ",", "C#", "g++", "C++", "11", "+", "+", "+", "a", "+", "b", "1", "+", "+"
    ],
    "see#tag #tag a_b U.S.A.": ["see", "#", "tag", "#", "tag", "a_b", "U.S.A", "."],
    "Paris, (Rome)!?": ["Paris", ",", "(", "Rome", ")", "!", "?"],
    "अनीता दिल्ली3 में है।": ["अनीता", "दिल्ली3", "में", "है", "।"],
    "বাংলা தமிழ் క్షి": ["বাংলা", "தமிழ்", "క్షి"],
    "ภาษาไทย น้ำใจ2": ["ภาษาไทย", "น้ำใจ", "2"],
    "ខ្មែរ\u200bភាសា မြန်မာ ລາວ": ["ខ្មែរ", "ភាសា", "မြန်မာ", "ລາວ"],
    "الكِتَابُ שָׁלוֹם\u200f, می\u200cخواهم": ["الكِتَابُ", "שָׁלוֹם", ",", "می\u200cخواهم"],
    "e\u0301te\u0301 A\u030angstro\u0308m": ["e\u0301te\u0301", "A\u030angstro\u0308m"],
    "क्\u200dष श्री\u200d": ["क्\u200dष", "श्री\u200d"],
    "👩🏽\u200d🚀👍🏽ok 🇫🇷🇩🇪": ["👩🏽\u200d🚀", "👍🏽", "ok", "🇫🇷", "🇩🇪"],
    "1\ufe0f\u20e3 ☃\ufe0f": ["1\ufe0f\u20e3", "☃\ufe0f"],
    "我爱Paris，カタカナひら한국어": ["我", "爱", "Paris", "，", "カタカナ", "ひ", "ら", "한국어"],
    "中-文 か-な": ["中", "-", "文", "か", "-", "な"],
    "a\u200bb\u00adc\ufeff \u2060 d\r\n\te\x00": ["a", "b\u00adc", "d", "e"],
    " \u0301a": ["\u0301", "a"],
    "\u200b \ufeff\n": [],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", WORDS)
def test_words_of_every_script(text: str) -> None:
    assert [text[start:end] for start, end in words(text)] == WORDS[text]


GRAPHEME = regex.compile(r"\X")
BOUNDARY = regex.compile(r"(?w)\b")
MIXED = "ab-1.'+#_ \t\u200b\u200d\u200c\u0301अि्क्षน้ำกខ្🏽👍👩\ufe0f中かカ한é,"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(MIXED), max_size=30))
def test_words_keep_to_the_boundaries_of_unicode(text: str) -> None:
    text = f"a{text}"  # `regex` joins a mark that has no letter and what is behind
    found = words(text)
    boundaries = {0, len(text), *(match.start() for match in BOUNDARY.finditer(text))}
    end = 0
    for start, stop in found:
        assert end <= start < stop
        assert stop in boundaries
        between = text[end:start]
        assert not any(character.isalnum() for character in between)
        end = stop


@given(st.text(alphabet=st.sampled_from("aबि्กน้あé\u0301👩🏽\u200d "), max_size=20))
def test_no_word_begins_or_ends_within_a_character(text: str) -> None:
    text = f"a{text}"
    edges = {0, *(match.end() for match in GRAPHEME.finditer(text))}
    for start, end in words(text):
        assert end in edges
        assert start in edges or text[start - 1].isspace()


def test_lone_surrogates_are_named() -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        words("a \ud800 b")
