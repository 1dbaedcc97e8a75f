"""Words added to a vocabulary: which ones, what they save, and that old ids stay."""

from collections import Counter

import pytest

from bertsmith.core.errors import DataError, UsageError
from bertsmith.text.tokenizer.extend import extend
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.text.tokenizer.train import learn_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0"
VOCAB = [*SPECIAL, *LETTERS, *(f"##{sign}" for sign in LETTERS), "the", "a0"]
WORDS = Counter({"the": 50, "stent": 10, "ct": 30, "graft": 6, "rare": 4, "000": 90, "olung": 7})


@pytest.fixture
def tokenizer():
    return Tokenizer(VOCAB)


def test_words_that_save_the_most_tokens_come_first(tokenizer):
    found = extend(tokenizer, WORDS, size=10, min_frequency=5)
    # Tokens saved: stent 10 x 4, ct 30 x 1, graft 6 x 4, olung 7 x 4.
    assert [one.word for one in found.added] == ["stent", "ct", "olung", "graft"]
    stent = found.added[0]
    assert stent.frequency == 10
    assert tokenizer.tokens(stent.replaces) == ["s", "##t", "##e", "##n", "##t"]


def test_ids_of_old_pieces_stay_and_new_words_are_one_piece(tokenizer):
    found = extend(tokenizer, WORDS, size=2, min_frequency=1)
    assert found.tokenizer.vocab[: len(VOCAB)] == tuple(VOCAB)
    assert found.tokenizer.vocab[len(VOCAB) :] == ("stent", "ct")
    assert found.tokenizer.encode("Stent the CT").ids == [
        len(VOCAB),
        VOCAB.index("the"),
        len(VOCAB) + 1,
    ]


def test_the_savings_are_those_of_the_text(tokenizer):
    words = Counter({"stent": 3, "the": 2, "no": 1})
    found = extend(tokenizer, words, size=1, min_frequency=2)
    assert (found.words, found.tokens_before, found.tokens_after) == (6, 3 * 5 + 2 + 2, 3 + 2 + 2)


def test_an_unknown_word_is_added_too():
    tokenizer = Tokenizer([*SPECIAL, "a", "##a"])
    found = extend(tokenizer, Counter({"ba": 1, "б": 9, "aaa": 5}), size=5, min_frequency=2)
    assert [one.word for one in found.added] == ["aaa", "б"]
    assert found.added[1].replaces == (tokenizer.unk_id,)
    assert (found.unknown_before, found.unknown_after) == (10, 1)


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (WORDS, {"size": 0}, "size is 0"),
        (WORDS, {"min_frequency": 0}, "min_frequency is 0"),
        (Counter({"the": 9}), {}, "nothing to add"),
        (Counter({"stent": 4}), {}, "occurs 5 times"),
    ],
)
def test_what_cannot_be_added_is_refused(tokenizer, words, settings, message):
    with pytest.raises(UsageError, match=message):
        extend(tokenizer, words, **({"size": 10, "min_frequency": 5} | settings))


def test_a_text_without_words_and_byte_pairs_are_refused(tokenizer):
    with pytest.raises(DataError, match="no word"):
        extend(tokenizer, Counter(), size=1, min_frequency=1)
    pairs = learn_tokenizer(["low lower lowest"] * 9, size=40, kind="bpe")
    with pytest.raises(UsageError, match="BPE"):
        extend(pairs, WORDS, size=1, min_frequency=1)
