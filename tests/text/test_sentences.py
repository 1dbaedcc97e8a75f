import random
import re
import time

import pytest

from bertsmith.core.errors import UsageError
from bertsmith.text import sentences
from bertsmith.text.sentences import check_language, detect_language, split


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        (" \n\t\r\n ", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        (
            "Dr. Smith met J. R. R. Tolkien at 3.5 km. They talked, e.g. about the U.S. army.",
            ["Dr. Smith met J. R. R. Tolkien at 3.5 km.", "They talked, e.g. about the U.S. army."],
        ),
        (
            'He said "No. Never." Then he left. (Nobody knew. Nobody asked.) It was over.',
            [
                'He said "No. Never."',
                "Then he left.",
                "(Nobody knew. Nobody asked.) It was over.",
            ],
        ),
        (
            "他说：“你好。再见。”然后走了！真的？是的。",
            ["他说：“你好。再见。”", "然后走了！", "真的？", "是的。"],
        ),
        ("価格は3.5円です。本当？はい。", ["価格は3.5円です。", "本当？", "はい。"]),
        ("Привет. Как дела? Хорошо!", ["Привет.", "Как дела?", "Хорошо!"]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("هذا كتاب. هل هذا قلم؟ نعم.", ["هذا كتاب.", "هل هذا قلم؟", "نعم."]),
        ("ሰላም። እንዴት ነህ።", ["ሰላም።", "እንዴት ነህ።"]),
        ("안녕하세요. 잘 지내요? 네!", ["안녕하세요.", "잘 지내요?", "네!"]),
        (
            "ฉันชอบแอปเปิล วันนี้อากาศดี ใช้ Windows 10 ทุกวัน",
            ["ฉันชอบแอปเปิล", "วันนี้อากาศดี", "ใช้ Windows 10 ทุกวัน"],
        ),
        ("བཀྲ་ཤིས། བདེ་ལེགས།", ["བཀྲ་ཤིས།", "བདེ་ལེགས།"]),
    ],
)
def test_sentences_of_many_languages(text, want):
    assert split(text) == want


@pytest.mark.parametrize(
    "end", ["\n", "\r\n", "\r", "\n\n", "\n \n", "\u2028", "\u2029", "\x85", "\f"]
)
def test_a_line_break_always_ends_a_sentence(end):
    text = end.join(['An open "quote', "and Mr.", "Smith (in", "brackets"])
    assert split(text) == ['An open "quote', "and Mr.", "Smith (in", "brackets"]
    assert split("他说“你好" + end + "再见”。", "zh") == ["他说“你好", "再见”。"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "en"),
        ("12345 !?", "en"),
        ("“…” — 12", "en"),
        ("Plain text.", "en"),
        ("Überraschend schöne Grüße", "en"),
        ("我喜欢苹果。", "zh"),
        ("我喜欢用 Windows 系统。", "zh"),
        ("A report on Beijing (北京), the capital.", "en"),
        ("私はリンゴが好きです。", "ja"),
        ("東京都庁舎建設計画の概要", "zh"),
        ("東京の人", "ja"),
        ("나는 사과를 좋아한다.", "ko"),
        ("Я люблю яблоки.", "ru"),
        ("Μου αρέσουν τα μήλα.", "el"),
        ("أنا أحب التفاح", "ar"),
        ("אני אוהב תפוחים", "he"),
        ("मुझे सेब पसंद हैं।", "hi"),
        ("ฉันชอบแอปเปิล", "th"),
        ("Ես սիրում եմ խնձոր", "hy"),
        ("မင်္ဂလာပါ", "my"),
        ("broken \ud800 text", "en"),
    ],
)
def test_the_script_tells_the_language(text, want):
    assert detect_language(text) == want


def test_only_the_first_characters_are_looked_at():
    assert detect_language("a" * 2000 + "我" * 9000) == "en"
    assert detect_language("我" * 1001 + "a" * 9000) == "zh"
    long = "我喜欢苹果。" * 500_000
    start = time.process_time()
    for _ in range(100):
        detect_language(long)
    assert time.process_time() - start < 0.1


def test_every_script_names_a_language_once_and_is_split():
    languages = [language for language, _ in sentences._SCRIPTS]
    assert len(languages) == len(set(languages)) == 26
    for language in languages:
        assert check_language(language) == language
        # Armenian ends a sentence with a sign of its own.
        text = "One։ Two։" if language == "hy" else "One. Two."
        assert len(split(text, language)) == 2


def test_a_language_can_be_named_and_a_wrong_name_is_an_error():
    text = "Das gilt z. B. hier. Es ist am 3. Mai so."
    assert split(text, "de") == ["Das gilt z. B. hier.", "Es ist am 3. Mai so."]
    assert split("One. Two.", "en-GB") == ["One.", "Two."]
    for wrong in ("english", "EN", "", "e", "中文", "xx", "sv", "\udcff"):
        with pytest.raises(
            UsageError, match=rf"language={re.escape(repr(wrong))}: no sentence rules for this"
        ):
            split(text, wrong)
    with pytest.raises(UsageError, match=r"language \(perhaps you meant 'en'\)\. Give a code such"):
        split(text, "eng")


def test_languages_are_those_that_sentencex_has_rules_for():
    """Its own, those it takes others' rules for, and of a region's code what comes first."""
    own = (
        "am ar bg bn ca da de el en es fi fr gu hi hy it ja kk kn ml mr my nl pa pl pt ru sk ta te"
    )
    for language in own.split():
        assert check_language(language) == language
    others = {
        "cs": "cs",
        "gsw": "gsw",
        "pt-br": "pt-br",
        "pt-BR": "pt",
        "zh_TW": "zh",
        "en-GB": "en",
    }
    assert {language: check_language(language) for language in others} == others


def words(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("language", ["en", "zh", "de", "th", "auto"])
def test_nothing_is_lost_and_nothing_panics(language):
    """The library panics on some of these texts when it is given them as they are."""
    random.seed(3)
    signs = list(
        "aAbÉß .!?。！…\"'“”()（）[1]٣\u3000\u00a0\u2003\u200b\u0301\0\t\r\x85\u2028字あ한😀؟።།ก /"
    )
    signs += [
        "Mr.",
        "\n",
        "\n\n",
        "U.S.",
        "Jan",
        "1.",
        "https://a.b/",
        "a@b.c",
        "A. ",
        "vitamin A\u00a0.",
    ]
    for _ in range(2000):
        text = "".join(random.choice(signs) for _ in range(random.choice([6, 10, 20, 60])))
        parts = split(text, language)
        assert words("".join(parts)) == words(text)
        assert all(part == part.strip() != "" for part in parts)
        assert not any(len(part.splitlines()) > 1 for part in parts)


def test_a_capital_before_an_odd_space_and_a_stop():
    for space in "\u00a0\u1680\u2003\u202f\u3000":
        assert split(f"Eat vitamin A{space}. Then rest.") == ["Eat vitamin A .", "Then rest."]


def test_long_paragraphs_are_cut_after_a_sentence():
    one = "This sentence has just about fifty characters here. "
    text = one * 5000
    assert len(text) > 2 * sentences.LONGEST_PARAGRAPH
    assert split(text) == [one.strip()] * 5000
    chinese = "这个句子没有空格，有十七个字。"
    assert split(chinese * 15000) == [chinese] * 15000


def test_long_lines_without_spaces_give_the_same_sentences_as_short_ones():
    one = "他说，“你好、您好。再见。”然后走了！真的？是的……好吧，第3.5章，见 A. B. 文。"
    short = split(one)
    assert len(short) == 4
    assert split(one * 100) == short * 100
    assert 100 * len(one) > sentences._MARKED
    assert "".join(split(one * 2000)) == one * 2000


def test_long_chinese_lines_take_bounded_time():
    """Seconds for 100,000 characters when the library is given them as they are."""
    start = time.process_time()
    assert len(split("这个句子没有空格，有十七个字。" * 60_000)) == 60_000
    assert time.process_time() - start < 4


def test_long_paragraphs_without_sentences_are_cut_at_a_space_or_where_they_must():
    limit = sentences.LONGEST_PARAGRAPH
    parts = split("word " * 50_000)
    assert [len(part) for part in parts] == [limit - 1, limit - 1, 49_999]
    assert set(" ".join(parts).split()) == {"word"}
    assert [len(part) for part in split("x" * 250_000)] == [limit, limit, 50_000]
    numbers = split("3.14159,2.71828," * 10_000)
    assert [len(part) for part in numbers] == [limit, 60_000]


def test_quotes_that_never_close_take_bounded_time():
    """Quadratic without the cut: 4 million characters would take half an hour."""
    pieces = []
    original = sentences.sentencex.segment

    def record(language, text):
        pieces.extend(len(paragraph) for paragraph in text.split("\n\n"))
        return original(language, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences.sentencex, "segment", record)
        assert len(split("He said “no. " * 20_000)) >= 19_900
    assert sum(pieces) == 260_000
    assert max(pieces) <= sentences.LONGEST_PARAGRAPH
