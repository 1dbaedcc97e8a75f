from collections import Counter

import pytest

from bertsmith.quickstart.sample_tasks import same_verse, sample_task, sentiment
from bertsmith.quickstart.samples import (
    chapter,
    chinese,
    english,
    gist,
    kept_apart,
    reviews,
    verses_of,
)


@pytest.fixture(scope="module")
def verses():
    return same_verse()


@pytest.fixture(scope="module")
def numbers():
    """The numbers of the King James and of the World English verses, by their text."""
    return [
        {text: verse for verse, text in verses_of(edition).items()} for edition in ("kjv", "web")
    ]


@pytest.fixture(scope="module")
def opinions():
    return sentiment()


def test_pairs_are_many_and_balanced_from_any_beginning_on(verses):
    assert verses.columns == ("king_james", "world_english", "label")
    assert (len(verses.train), len(verses.dev)) == (9656, 592)
    for rows in (verses.train, verses.train[:128], verses.dev):
        assert Counter(row[-1] for row in rows) == {
            "same": len(rows) // 2,
            "different": len(rows) // 2,
        }


def test_the_first_pairs(verses):
    assert verses.dev[:2] == [
        (
            "Then went up Moses, and Aaron, Nadab, and Abihu, and seventy of the elders of Israel:",
            "Then Moses, Aaron, Nadab, Abihu, and seventy of the elders of Israel went up.",
            "same",
        ),
        (
            "A faithful witness will not lie: but a false witness will utter lies.",
            "A scoffer seeks wisdom, and doesn't find it, But knowledge comes easily to a "
            "discerning person.",
            "different",
        ),
    ]


def test_every_verse_is_in_one_pair_and_half_of_the_wrong_ones_are_neighbours(verses, numbers):
    old, modern = numbers
    for rows in (verses.train, verses.dev):
        assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
        near = far = 0
        for one, other, label in rows:
            assert 8 <= len(one.split()) <= 20
            assert 8 <= len(other.split()) <= 20
            assert (old[one] == modern[other]) == (label == "same")
            if label == "different":
                neighbours = chapter(old[one]) == chapter(modern[other])
                near, far = near + neighbours, far + (not neighbours)
        assert near == far == len(rows) / 4


def test_a_wrong_verse_from_elsewhere_is_as_long_as_the_right_one(verses, numbers):
    old, modern = numbers
    right = {verse: text for text, verse in modern.items()}
    apart = [
        abs(len(right[old[one]]) - len(other))
        for one, other, label in verses.train
        if label == "different" and chapter(old[one]) != chapter(modern[other])
    ]
    assert len(apart) == len(verses.train) // 4
    assert max(apart) <= 12


def test_neither_train_nor_the_text_has_a_verse_of_a_dev_chapter(verses, numbers):
    old, _ = numbers
    assert all(kept_apart(chapter(old[row[0]])) for row in verses.dev)
    assert not any(kept_apart(chapter(old[row[0]])) for row in verses.train)
    text = "\n".join(english())
    # What the Bible says in two places.
    assert [row[1] for row in verses.dev if row[1] in text] == [
        "Yes, Father, for so it was well-pleasing in your sight.",
        "He who has ears to hear, let him hear.",
        "Paul, an apostle of Christ Jesus through the will of God, and Timothy our brother,",
    ]


def test_reviews_are_short_unlike_each_other_and_balanced(opinions):
    assert opinions.columns == ("review", "label")
    assert (len(opinions.train), len(opinions.dev)) == (8038, 604)
    rows = opinions.train + opinions.dev
    assert len({gist(row[0]) for row in rows}) == len(rows)
    for part in (opinions.train, opinions.train[:128], opinions.dev):
        assert Counter(row[1] for row in part) == {
            "positive": len(part) // 2,
            "negative": len(part) // 2,
        }
    assert opinions.dev[1] == (
        "内存有点小，直接换XP了，感觉外壳有点松。不过磨砂的感觉还不错。",
        "negative",
    )


def test_reviews_with_both_labels_are_left_out(opinions):
    labels = {}
    for text, label in reviews():
        labels.setdefault(gist(text), set()).add(label)
    torn = {key for key, found in labels.items() if len(found) == 2}
    assert len(torn) == 52
    assert not torn & {gist(text) for text, _ in opinions.train + opinions.dev}


def test_the_text_has_no_dev_review(opinions):
    text = set(map(gist, chinese()))
    assert not text & {gist(row[0]) for row in opinions.dev}
    assert len(text & {gist(row[0]) for row in opinions.train}) == 1964


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_task_is_the_same_every_time(language, verses, opinions):
    assert sample_task(language) == {"en": verses, "zh": opinions}[language]
