"""Characters: the published rule, id by id, and how pieces of a word are told from words."""

import numpy as np
import torch

from bertsmith.models.elmo.characters import (
    BEGIN,
    CHARACTER_IDS,
    END,
    PADDING,
    character_ids,
    piece_character_ids,
)

P = PADDING


def published(word: str, longest: int) -> list[int]:
    """The rule, one word at a time, by the published numbers, which ours are one above."""
    ids = [260] * longest
    code = list(word.encode("utf-8", "ignore"))[: longest - 2]
    code = {"<S>": [256], "</S>": [257]}.get(word, code)
    ids[: len(code) + 2] = [258, *code, 259]
    return [number + 1 for number in ids]


def test_words_are_their_bytes_between_two_marks():
    found = character_ids(["a", "é", BEGIN, END, ""], longest=6)
    assert found.ids_WC.tolist() == [
        [259, 98, 260, P, P, P],
        [259, 196, 170, 260, P, P],
        [259, 257, 260, P, P, P],
        [259, 258, 260, P, P, P],
        [259, 260, P, P, P, P],
    ]
    assert found.ids_WC.dtype == torch.int64
    assert found.cut == ()
    assert (P, CHARACTER_IDS) == (261, 262)


def test_a_long_word_loses_its_end_and_is_named():
    found = character_ids(["abcd", "abcde", "abcdefghi", "éé", "ééé"], longest=6)
    assert found.cut == ("abcde", "abcdefghi", "ééé")
    assert found.ids_WC[:3].tolist() == [
        [259, 98, 99, 100, 101, 260],
        [259, 98, 99, 100, 101, 260],
        [259, 98, 99, 100, 101, 260],
    ]
    assert torch.equal(found.ids_WC[3], found.ids_WC[4])


def test_any_words_follow_the_published_rule():
    draw = np.random.default_rng(0)
    letters = [*"abcZ09.#<>/", "ß", "я", "语", "😀", "\udc80"]
    words = ["".join(draw.choice(letters, size)) for size in draw.integers(0, 9, 300)]
    words += ["<S>", "</S>", "[CLS]", "##s"]
    for longest in (3, 7, 50):
        found = character_ids(words, longest=longest)
        assert found.ids_WC.tolist() == [published(word, longest) for word in words]
        sizes = {word: len(word.encode("utf-8", "ignore")) for word in words}
        sizes |= {BEGIN: 1, END: 1}
        assert list(found.cut) == [word for word in words if sizes[word] > longest - 2]


def test_a_piece_that_goes_on_has_no_begin_mark():
    pieces = ["[CLS]", "[SEP]", "[UNK]", "ing", "##ing", "##", "##é"]
    found = piece_character_ids(pieces, longest=8)
    assert found.ids_WC.tolist() == [
        published("<S>", 8),
        published("</S>", 8),
        published("[UNK]", 8),
        [259, 106, 111, 104, 260, P, P, P],
        [106, 111, 104, 260, P, P, P, P],
        published("##", 8),
        [196, 170, 260, P, P, P, P, P],
    ]
    assert found.cut == ()
    assert piece_character_ids(["##abcd", "abcd", "abc"], longest=5).cut == ("abcd", "abcd")


def test_no_words_are_no_rows():
    assert character_ids([], longest=5).ids_WC.shape == (0, 5)
