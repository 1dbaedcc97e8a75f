from collections import Counter

import pytest

from bertsmith.text.sample_tasks import same_verse, sample_task, sentiment
from bertsmith.text.samples import chapter, chinese, english, gist, kept_apart, reviews, verses_of


@pytest.fixture(scope="module")
def verses():
    return same_verse()


@pytest.fixture(scope="module")
def opinions():
    return sentiment()


def test_pairs_are_many_and_balanced_from_any_beginning_on(verses):
    assert verses.columns == ("king_james", "world_english", "label")
    assert (len(verses.train), len(verses.dev)) == (9656, 600)
    for rows in (verses.train, verses.train[:128], verses.dev):
        assert Counter(row[-1] for row in rows) == {
            "same": len(rows) // 2,
            "different": len(rows) // 2,
        }


def test_the_first_pairs(verses):
    assert verses.dev[0] == (
        "Through wisdom is an house builded; and by understanding it is established:",
        "Through wisdom a house is built; By understanding it is established;",
        "same",
    )
    assert verses.dev[1] == (
        "I went by the field of the slothful, and by the vineyard of the man void of "
        "understanding;",
        "Then I saw, and considered well. I saw, and received instruction:",
        "different",
    )


def test_every_verse_is_in_one_pair_and_half_of_the_wrong_ones_are_neighbours(verses):
    old = {text: verse for verse, text in verses_of("kjv").items()}
    modern = {text: verse for verse, text in verses_of("web").items()}
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


def test_a_wrong_verse_from_elsewhere_is_as_long_as_the_right_one(verses):
    old = {text: verse for verse, text in verses_of("kjv").items()}
    right = verses_of("web")
    modern = {text: verse for verse, text in right.items()}
    apart = [
        abs(len(right[old[one]]) - len(other))
        for one, other, label in verses.train
        if label == "different" and chapter(old[one]) != chapter(modern[other])
    ]
    assert len(apart) == len(verses.train) // 4
    assert max(apart) <= 12


def test_neither_train_nor_the_text_has_a_verse_of_a_dev_chapter(verses):
    numbers = {text: verse for verse, text in verses_of("kjv").items()}
    assert all(kept_apart(chapter(numbers[row[0]])) for row in verses.dev)
    assert not any(kept_apart(chapter(numbers[row[0]])) for row in verses.train)
    text = "\n".join(english())
    found = [row[1] for row in verses.dev if row[1] in text]
    print(found)


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
