"""Words of running text: never inside a character as readers see it, always at their places."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import DataError
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


WHOLE = [
    "a",
    "1",
    "é",
    "e\u0301",
    "बि",
    "क्ष",
    "น้",
    "ខ្មែ",
    "שָׁ",
    "中",
    "か\u3099",
    "👩🏽\u200d🚀",
    "🇫🇷",
]
PARTING = [" ", "\u200b", "\n", "-", "'", ".", "+", "#", ","]


@settings(max_examples=300, deadline=None)
@example(["a", "-", "ខ្មែ"])
@given(st.lists(st.sampled_from(WHOLE + PARTING), max_size=20))
def test_no_word_ends_within_a_character_and_none_is_lost(characters: list[str]) -> None:
    text = "".join(characters)
    edges = {0, *itertools.accumulate(map(len, characters))}
    seen = ""
    end = 0
    for start, stop in words(text):
        assert end <= start < stop
        assert {start, stop} <= edges
        seen += text[start:stop]
        end = stop
    assert seen == "".join(text.replace("\u200b", "").split())


def test_lone_surrogates_are_named() -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        words("a \ud800 b")
