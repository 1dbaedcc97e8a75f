import pytest

from bertsmith.text.samples import articles, chinese, english, sample


def test_english_is_the_whole_bible_a_chapter_a_document():
    chapters = list(english())
    assert len(chapters) == 1189
    assert chapters[0].startswith("In the beginning God created the heavens and the earth. Now")
    assert "God's Spirit was hovering" in chapters[0]
    text = " ".join(chapters)
    assert 4_000_000 < len(text) < 4_100_000
    assert not set("`[]\n") & set(text)
    assert "  " not in text


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
