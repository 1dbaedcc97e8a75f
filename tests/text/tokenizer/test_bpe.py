import pickle
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import OpenAIGPTTokenizer

from bertsmith.core.errors import DataError, FolderError, UsageError
from bertsmith.text.tokenizer.batched import NASTY
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer
from bertsmith.text.tokenizer.trainer import merge

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789éüßıσςабвгд"
ALONE = ",.!?'\"-()[]/_#$%&*+:;<=>@我喜欢苹果中文，。一二한"
WORDS = "the king paris france unaffable kings thing singing the the king paris bathing".split()


def trained() -> tuple[list[str], list[tuple[str, str]]]:
    """Every letter and sign, and the byte pairs of a few words."""
    words = Counter({f"{letter}{LETTERS}": 1 for letter in LETTERS})
    words.update(ALONE)
    for word in WORDS:
        words[word] += 100
    return merge(words, "bpe", size=400, min_frequency=60)


VOCAB, MERGES = trained()
OURS = Tokenizer(VOCAB, merges=MERGES)
# As OpenAI's: the unknown piece first, and no other special token.
OPENAI = Tokenizer(["<unk>", *VOCAB[5:]], merges=MERGES)


def hugging_face(tokenizer: Tokenizer) -> OpenAIGPTTokenizer:
    return OpenAIGPTTokenizer(
        vocab={piece: index for index, piece in enumerate(tokenizer.vocab)},
        merges=MERGES,
        unk_token=tokenizer.vocab[tokenizer.unk_id],
    )


def rows(ids_T: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [row.tolist() for row in np.split(ids_T, np.cumsum(lengths)[:-1])]


def texts() -> list[str]:
    """Hand-made strings, words of the pieces, and strings that mix every script there is."""
    draw = random.Random(5)
    ranges = [(0, 0x250), (0x250, 0x3100), (0x3100, 0xD800), (0xE000, 0x11000), (0x11000, 0x30000)]
    common = "abz AZ .,'# \t\n\r\u3000\u200b我\u0301"
    found = ["The King's THING; unaffable?", "kingkings thethe sing-ing", "na\u00efve \u00c9\u00c8"]
    found += [text for text in NASTY if "[CLS]" not in text]
    for _ in range(300):
        letters = "".join(draw.choices("thekingparisfu ", k=40))
        mixed = [
            draw.choice(common)
            if draw.random() < 0.5
            else chr(draw.randrange(*draw.choice(ranges)))
            for _ in range(draw.randrange(1, 60))
        ]
        found += [letters, "".join(mixed), " ".join(draw.choices(WORDS, k=6)).title()]
    return found


@pytest.mark.parametrize("ours", [OURS, OPENAI], ids=["trained", "openai"])
def test_ids_equal_those_of_transformers(ours: Tokenizer) -> None:
    given = texts()
    expected = hugging_face(ours)(given, add_special_tokens=False)["input_ids"]
    assert sum(map(len, expected)) > 19_000
    assert len({index for row in expected for index in row}) > 110
    assert rows(*ours.encode_flat(given)) == expected
    assert rows(*ours.encode_flat(given[::-1])) == expected[::-1]  # from warm tables
    assert [ours.encode(text).ids for text in given] == expected
    ids_T, places_T2, lengths = ours.encode_placed(given)
    assert rows(ids_T, lengths) == expected
    assert places_T2.tolist() == [
        list(place) for text in given for place in ours.encode(text).offsets
    ]


def test_literal_pieces() -> None:
    found = OURS.encode("Unaffable KINGS, 我喜欢[MASK]☃!")
    assert OURS.tokens(found.ids) == [
        "unaffable</w>", "kings</w>", ",</w>", "我</w>", "喜</w>", "欢</w>",
        "[</w>", "m", "a", "s", "k</w>", "]</w>", "[UNK]", "!</w>",
    ]  # fmt: skip
    assert found.words == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9, 10]
    assert found.offsets[:3] == [(0, 9), (10, 15), (15, 16)]


def test_special_tokens_are_recognised_only_when_allowed() -> None:
    meant = OURS.encode("the [MASK].", allow_special=True)
    assert OURS.tokens(meant.ids) == ["the</w>", "[MASK]", ".</w>"]
    assert meant.offsets == [(0, 3), (4, 10), (10, 11)]
    assert not OURS.special_ids & set(OURS.encode_flat(["[CLS] [SEP] [PAD] [MASK]"])[0].tolist())
    assert OPENAI.encode("<unk>", allow_special=True).ids == [0]
    assert OPENAI.tokens(OPENAI.encode("<unk>").ids)[0] == "<</w>"


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("abcKé e\u0301 \t\x00\u200b我果，.'😀[]thekings"), max_size=40)
)
def test_offsets_point_at_the_characters_a_piece_came_from(text: str) -> None:
    found = OURS.encode(text)
    assert len(found.ids) == len(found.offsets) == len(found.words)
    end = 0
    for index, (start, stop) in zip(found.ids, found.offsets, strict=True):
        assert end <= start < stop <= len(text)
        end = stop
        if index != OURS.unk_id:
            again = OURS.encode(text[start:stop]).ids
            assert "".join(OURS.decode(again).split()) == OURS.bare[index]
    assert found.words == sorted(found.words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "x", "zq9", ",", "我", "喜"]), max_size=12))
def test_round_trip(words: list[str]) -> None:
    found = OURS.decode(OURS.encode(" ".join(words)).ids)
    assert found.replace(" ", "") == "".join(words)
    assert OURS.encode(found).ids == OURS.encode(" ".join(words)).ids
    plain = [word for word in words if word.isascii() and word.isalnum()]
    assert OURS.decode(OURS.encode(" ".join(plain)).ids) == " ".join(plain)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("The king, (paris)!", "the king, (paris)!"),
        ("我喜欢[MASK]果，一 二。", "我喜欢[MASK]果，一二。"),
        ("kings's [MASK] 中文 abcd", "kings's [MASK]中文 abcd"),
        ("", ""),
    ],
)
def test_decode_is_readable(text: str, readable: str) -> None:
    assert OURS.decode(OURS.encode(text, allow_special=True).ids) == readable


def test_words_that_were_begun_and_special_tokens_decode() -> None:
    """What a model writes need not end its words."""
    ids = [OURS.vocab.index(piece) for piece in ("k", "[SEP]", "a", "b</w>", "x")]
    assert OURS.decode(ids) == "k [SEP] ab x"
    assert OPENAI.decode([OPENAI.vocab.index("k"), 0, OPENAI.vocab.index("a</w>")]) == "k <unk> a"


def test_words_start_where_the_piece_before_ends_one() -> None:
    given = ["xkings the, 我我", "", "q☃z a", "unaffablez"]
    ids_T, lengths = OURS.encode_flat(given)
    numbers = [np.array(OURS.encode(text).words, np.int64) for text in given]
    expected = np.concatenate([np.diff(row, prepend=-1) > 0 for row in numbers])
    # That "z" goes on with a word is not seen behind the unknown character.
    assert OURS.tokens(ids_T[lengths[0] :][:4].tolist()) == ["q", "[UNK]", "z</w>", "a</w>"]
    expected[lengths[0] + 2] = True
    assert OURS.word_starts(ids_T).tolist() == expected.tolist()
    assert not expected.all()
    assert OURS.word_starts(ids_T[:0]).tolist() == []


def test_bare_pieces_have_no_mark() -> None:
    ours = Tokenizer([*SPECIAL, "a", "b</w>", "</w>", "ab</w>"], merges=[("a", "b</w>")])
    assert ours.bare == (*SPECIAL, "a", "b", "</w>", "ab")


def test_cased() -> None:
    cased = Tokenizer(["<unk>", "K", "k", "k</w>", "é</w>"], Cleaning(lower_case=False), merges=[])
    assert cased.encode("Kk é É").ids == [1, 3, 4, 0]


def test_workers_get_an_equal_tokenizer() -> None:
    copy = pickle.loads(pickle.dumps(OURS))
    assert copy.fingerprint == OURS.fingerprint
    assert rows(*copy.encode_flat(list(NASTY))) == rows(*OURS.encode_flat(list(NASTY)))


def test_fingerprint_follows_what_decides_about_ids() -> None:
    others = [
        Tokenizer(VOCAB, merges=MERGES[:-1]),
        Tokenizer(VOCAB, merges=[*MERGES[1::-1], *MERGES[2:]]),
        Tokenizer([*VOCAB, "more"], merges=MERGES),
        Tokenizer(VOCAB, Cleaning(lower_case=False), merges=MERGES),
        Tokenizer(VOCAB),
        OPENAI,
    ]
    assert len({OURS.fingerprint, *(other.fingerprint for other in others)}) == 7


def test_openais_vocabulary_gets_its_special_tokens_at_the_end() -> None:
    assert OPENAI.special_ids == {0}
    assert (OPENAI.has_special, OPENAI.start_ids, OPENAI.end_ids) == (False, (), ())
    for name in ("pad_id", "cls_id", "sep_id", "mask_id"):
        with pytest.raises(
            UsageError, match=r"^The vocabulary has no \[.*only fine-tuning adds it"
        ):
            getattr(OPENAI, name)
    full = OPENAI.with_special()
    size = len(OPENAI)
    assert full.vocab == (*OPENAI.vocab, "[PAD]", "[CLS]", "[SEP]", "[MASK]")
    assert [full.pad_id, full.cls_id, full.sep_id, full.mask_id] == list(range(size, size + 4))
    assert full.special_ids == {0, *range(size, size + 4)}
    assert (full.unk_id, full.start_ids, full.end_ids) == (0, (size + 1,), (size + 2,))
    given = [*NASTY, "the [MASK] king"]
    assert rows(*full.encode_flat(given)) == rows(*OPENAI.encode_flat(given))
    assert full.tokens(full.encode("the[MASK]", allow_special=True).ids) == ["the</w>", "[MASK]"]
    assert full.with_special() is full
    assert OURS.with_special() is OURS


FAULTS = {
    "neither <unk> nor [UNK]": (["a", "a</w>"], []),
    "no piece ends with </w>": (["<unk>", "a"], []),
    "a piece is empty or occurs twice": (["<unk>", "a</w>", "a</w>"], []),
    "the merges, number 2: 'a' and 'c' are merged, but 'c' is not": (
        ["<unk>", "a", "b</w>", "ab</w>"],
        [("a", "b</w>"), ("a", "c")],
    ),
    "the merges, number 1: 'a' and 'b</w>' are merged, but 'ab</w>' is not": (
        ["<unk>", "a", "b</w>"],
        [("a", "b</w>")],
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_cannot_be_byte_pairs(message: str) -> None:
    vocab, merges = FAULTS[message]
    with pytest.raises(FolderError) as caught:
        Tokenizer(vocab, merges=merges)
    assert message in str(caught.value)


def test_backends() -> None:
    with pytest.raises(UsageError, match="'nanotoken' supports only WordPiece"):
        Tokenizer(VOCAB, merges=MERGES, backend="nanotoken")
    auto = Tokenizer(VOCAB, merges=MERGES, backend="auto")
    assert rows(*auto.encode_flat(["the king"])) == [OURS.encode("the king").ids]


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1])
def test_types_of_ids(size: int) -> None:
    wide = Tokenizer([*VOCAB, *(f"[unused{i}]" for i in range(size - len(VOCAB)))], merges=MERGES)
    ids_T, lengths = wide.encode_flat(["the king", ""])
    assert ids_T.dtype == (np.uint16 if size == 1 << 16 else np.uint32)
    assert lengths.tolist() == [2, 0]


def test_lone_surrogate_is_named() -> None:
    for encode in (OURS.encode, lambda text: OURS.encode_flat(["fine", text])):
        with pytest.raises(DataError, match=r"Character 2 of the text .* is a lone surrogate"):
            encode("ab\udcff")


def test_long_words_are_spelled() -> None:
    """WordPiece gives up on words of over a hundred characters; byte pairs do not."""
    word = "xyz" * 40
    found = OURS.encode(word)
    assert OURS.tokens(found.ids) == [*"xyz" * 39, "x", "y", "z</w>"]
    assert OURS.encode_flat([word])[0].tolist() == found.ids
