import pytest

from bertsmith.quickstart.samples import (
    articles,
    chinese,
    english,
    gist,
    kept_apart,
    sample,
    verses_of,
)


def test_english_is_a_chapter_a_document_but_for_those_kept_apart():
    chapters = list(english())
    assert len(chapters) == 1114
    assert chapters[0].startswith("In the beginning God created the heavens and the earth. Now")
    assert "God's Spirit was hovering" in chapters[0]
    text = " ".join(chapters)
    assert 3_750_000 < len(text) < 3_800_000
    assert not set("`[]\n") & set(text)
    assert "  " not in text
    assert "dummy verse" not in text


def test_both_editions_have_their_verses_under_the_same_numbers():
    old, modern = verses_of("kjv"), verses_of("web")
    assert (len(old), len(modern)) == (31_102, 31_098)
    assert old[19023001] == "The LORD is my shepherd; I shall not want."
    assert modern[19023001] == "Yahweh is my shepherd: I shall lack nothing."


def test_what_is_kept_apart_is_a_matter_of_the_key_alone():
    assert sum(kept_apart(number) for number in range(10_000)) == pytest.approx(700, abs=75)
    assert [number for number in range(100) if kept_apart(number)] == [25, 28, 57, 69, 76]


def test_the_gist_of_a_text_has_no_punctuation():
    assert gist("房间，很好！ 3星") == "房间很好3星"


def test_chinese_is_articles_and_reviews_without_tags_or_wide_digits():
    documents = list(chinese())
    assert 17_000 < len(documents) < 19_000
    assert documents[0].startswith("迈向充满希望的新世纪——一九九八年新年讲话\n中共中央总书记")
    text = "".join(documents)
    assert 3_400_000 < len(text) < 3_700_000
    assert not set("０１９Ａｚ％") & set(text)
    assert "/v" not in text
    assert not any("\n\n" in document for document in documents)


def test_an_article_begins_at_the_first_heading_after_running_text():
    tagged = [
        "北京/ns  音乐会/n",
        "副题/n  （/w  图/n  ）/w",
        "今晚/t  ，/w  很/d  好/a  。/w",
        "（/w  完/v  ）/w",
        "新/a  闻/n",
        "正文/n  。/w",
    ]
    assert list(articles(tagged)) == ["北京音乐会\n副题\n今晚，很好。", "新闻\n正文。"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_samples_are_the_same_every_time(language):
    first = sample(language)
    second = sample(language)
    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]
