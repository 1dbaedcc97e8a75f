"""Counts the words of any stream of texts: what a vocabulary is trained on.

Counts are exact sums over blocks of text, so neither the order of the texts nor the number of
worker processes can change them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.core.workers import run
from bertsmith.text.tokenizer.accents import Rewritten
from bertsmith.text.tokenizer.batched import cut, not_unicode, parts
from bertsmith.text.tokenizer.files import Cleaning

Progress = Callable[[str, int, int | None], None]
"""Called with the stage (`count` or `merge`), how much is done (characters read, pieces made) and
the total where it is known."""

_BLOCK_CHARACTERS = 4 << 20


def count_words(
    texts: Iterable[str],
    cleaning: Cleaning,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Counter[str]:
    """How often each word (cleaned, cut at white space and punctuation) occurs."""
    return count_both(texts, cleaning, workers=workers, progress=progress)[0]


def count_both(
    texts: Iterable[str],
    cleaning: Cleaning,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Counter[str], Rewritten]:
    """As `count_words`; also which words would be others if `cleaning` kept accents."""
    total: Counter[str] = Counter()
    rewritten: Rewritten = Counter()
    done = 0
    count = partial(_count_block, cleaning=cleaning)
    with contextlib.closing(run(count, _blocks(texts), workers=workers)) as counted:
        for words, others, characters in counted:
            total.update(words)
            rewritten.update(others)
            done += characters
            if progress is not None:
                progress("count", done, None)
    return total, rewritten


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    characters = 0
    for text in texts:
        block.append(text)
        characters += len(text)
        if characters >= _BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


def _count_block(
    texts: list[str], cleaning: Cleaning
) -> tuple[dict[str, int], dict[tuple[tuple[str, ...], tuple[str, ...]], int], int]:
    """Words of one block, those that accents would change, and its characters. Runs in a worker."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(cut(text, split_chinese=cleaning.split_chinese))
    raw: Counter[str] = Counter()
    for chunk, n in chunks.items():
        for part in parts(chunk):
            raw[part] += n
    split = _splitter(cleaning)
    split_accented = _splitter(msgspec.structs.replace(cleaning, strip_accents=False))
    words: Counter[str] = Counter()
    rewritten: Rewritten = Counter()
    for part, n in raw.items():
        if part.isascii() and part.isprintable():
            words[part.lower() if cleaning.lower_case else part] += n
        else:
            try:
                found = split(part)
            except (TypeError, UnicodeEncodeError) as error:
                raise not_unicode([part]) from error
            for word in found:
                words[word] += n
            if cleaning.strips_accents and found != (accented := split_accented(part)):
                rewritten[found, accented] += n
    return words, rewritten, sum(map(len, texts))


def _splitter(cleaning: Cleaning) -> Callable[[str], tuple[str, ...]]:
    """What cleans a text and cuts it into words."""
    normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=cleaning.split_chinese,
        strip_accents=cleaning.strip_accents,
        lowercase=cleaning.lower_case,
    )
    splitter = BertPreTokenizer()

    def split(text: str) -> tuple[str, ...]:
        cleaned = normalizer.normalize_str(text)
        return tuple(word for word, _ in splitter.pre_tokenize_str(cleaned))

    return split
