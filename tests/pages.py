"""What a report page shows, for comparing its languages."""

import re

_CHINESE = re.compile("[\u4e00-\u9fff]")


def marked_up(html: str, *tags: str) -> list[str]:
    """The texts of all elements with these tags."""
    return [
        re.sub("<[^>]+>", "", text)
        for tag in tags
        for text in re.findall(rf"<{tag}[ >].*?</{tag}>", html, re.DOTALL)
    ]


def numbers(html: str) -> set[str]:
    """Every number of a page."""
    text = re.sub("<style>.*?</style>", "", html, flags=re.DOTALL)
    return set(re.findall(r"\d[\d,.]*\d|\d", re.sub(r"<[^>]+>|&#x27;", " ", text)))


def check_chinese(english: str, chinese: str, names: set[str]) -> None:
    """Asserts that a Chinese page has the numbers of the English one and no heading of it.

    Args:
        english: the English page.
        chinese: the Chinese page.
        names: headings that are the same in both languages.
    """
    assert '<html lang="en">' in english
    assert '<html lang="zh">' in chinese
    assert numbers(english) == numbers(chinese)
    tags = ("h1", "h2", "th", "caption", "figcaption", "span", "small")
    there, here = marked_up(english, *tags), marked_up(chinese, *tags)
    assert len(there) == len(here)
    same = {one for one, other in zip(here, there, strict=True) if one == other}
    assert {text for text in same - names if re.search("[A-Za-z]{2}", text)} == set()
    titles = re.findall(r'aria-label="([^"]*)"', chinese)
    assert [title for title in titles if not _CHINESE.search(title)] == []
