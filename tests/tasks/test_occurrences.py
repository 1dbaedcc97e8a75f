"""Where a text occurs as words of its own."""

import pytest

from bertsmith.tasks.occurrences import occurrences


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        ("12", "In 1912 he was 12 and left.", [15]),
        ("12", "In 1912, 12.5 and 3,12 and 12:30 and -12.", []),
        ("12", "(12) 12. 10-12, 12%", [1, 5, 12, 16]),
        ("art", "The party was art.", [14]),
        ("Anna", "Anna's hat, and Annabel.", [0]),
        ("$5", "It cost $5 or $50.", [8]),
        # Nothing parts Chinese words; numbers and Latin words in it are parted as anywhere.
        ("北京", "在北京和北京大学", [1, 4]),
        ("12", "1912年他12岁", [6]),
        ("BERT", "用BERT和BERTs", [1]),
        ("猫", "これは猫です", [3]),
        ("แมว", "ฉันเห็นแมวดำ", [7]),
        # A mark belongs to the character before it.
        ("cafe", "the cafe\u0301 and a cafe", [16]),
        ("दिल", "दिल्ली और दिल", [10]),
    ],
)
def test_whole_words_only(text, context, expected):
    assert occurrences(text, context) == expected
