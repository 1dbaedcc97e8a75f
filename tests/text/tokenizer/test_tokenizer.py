import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer
from transformers import AutoTokenizer, BertTokenizerFast

from bertsmith.core.errors import DataError, FolderError, MissingExtra, UsageError
from bertsmith.text.tokenizer import batched, tokenizer
from bertsmith.text.tokenizer.batched import NASTY
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Frame, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789éüßıσςабвгд"
ALONE = ",.!?'\"-()[]/_#$%&*+:;<=>@我喜欢苹果中文，。一二😀한"
WORDS = ["the", "king", "paris", "france", "un", "##aff", "##able", "##ing", "##s", "ab", "##cd"]
VOCAB = [
    *SPECIAL,
    *LETTERS,
    *LETTERS.upper().replace("SS", ""),
    *ALONE,
    *(f"##{letter}" for letter in LETTERS),
    *WORDS,
]
VOCAB = list(dict.fromkeys(VOCAB))
RULES = {
    "uncased": Cleaning(),
    "cased": Cleaning(lower_case=False),
    "uncased, accents kept": Cleaning(strip_accents=False),
    "cased, accents dropped": Cleaning(lower_case=False, strip_accents=True),
    "Chinese not split": Cleaning(split_chinese=False),
}
BACKENDS = ("tokenizers", "nanotoken")


def hugging_face(cleaning: Cleaning) -> BertTokenizerFast:
    return BertTokenizerFast(
        vocab={piece: index for index, piece in enumerate(VOCAB)},
        do_lower_case=cleaning.lower_case,
        strip_accents=cleaning.strip_accents,
        tokenize_chinese_chars=cleaning.split_chinese,
    )


def rows(ids_T: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [row.tolist() for row in np.split(ids_T, np.cumsum(lengths)[:-1])]


def random_texts(count: int) -> list[str]:
    """Strings that mix every script and all the white space and invisible characters there are."""
    draw = random.Random(5)
    ranges = [(0, 0x250), (0x250, 0x3100), (0x3100, 0xD800), (0xE000, 0x11000), (0x11000, 0x30000)]
    common = "abz AZ .,'# \t\n\r\u3000\u200b我\u0301"
    texts = []
    for _ in range(count):
        characters = [
            draw.choice(common)
            if draw.random() < 0.5
            else chr(draw.randrange(*draw.choice(ranges)))
            for _ in range(draw.randrange(1, 60))
        ]
        texts.append("".join(characters))
    return texts


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rules", RULES)
def test_ids_equal_those_of_transformers(rules: str, backend: str) -> None:
    cleaning = RULES[rules]
    ours = Tokenizer(VOCAB, cleaning, backend=backend)  # type: ignore[arg-type]
    texts = [text for text in NASTY if "[CLS]" not in text] + random_texts(1500)
    expected = hugging_face(cleaning)(texts, add_special_tokens=False)["input_ids"]
    assert sum(map(len, expected)) > 10_000
    assert rows(*ours.encode_flat(texts)) == expected
    assert rows(*ours.encode_flat(texts[::-1])) == expected[::-1]  # from warm tables
    assert [ours.encode(text).ids for text in texts] == expected


GOOGLE_DIFFERS = {
    "x" * 100: ["x", *["##x"] * 99],
    "x" * 101: ["[UNK]"],  # Google: up to 200 characters
    "x" * 201: ["[UNK]"],
    "ΣΣ": ["σ", "##σ"],  # Google: σς
    "σς": ["σ", "##ς"],
    "a\ue000b": ["ab"],  # private use: dropped; Google keeps it
    "a\u2e52b": ["[UNK]"],  # punctuation of Unicode 14, a letter like others to the tables
    "a\u2e31b": ["a", "[UNK]", "b"],
}


@pytest.mark.parametrize("text", GOOGLE_DIFFERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_where_google_differs_the_rules_are_those_of_transformers(text: str, backend: str) -> None:
    ours = Tokenizer(VOCAB, backend=backend)  # type: ignore[arg-type]
    found = ours.tokens(ours.encode(text).ids)
    assert found == hugging_face(Cleaning()).tokenize(text)
    assert found == ours.tokens(ours.encode_flat([text])[0].tolist())
    assert found == GOOGLE_DIFFERS[text]


@pytest.mark.parametrize(
    ("more", "stated", "lower_case"),
    [
        (["Paris", "##X"], None, False),
        (["Paris", "##X"], True, True),
        (["paris", "##é"], None, True),
        (["paris", "[unused1]", "[ENT]", "<USER>"], None, True),
        (["paris"], False, False),
    ],
)
def test_a_cased_vocabulary_is_known_by_its_capitals(
    more: list[str], stated: bool | None, lower_case: bool, tmp_path: Path
) -> None:
    pieces = [*SPECIAL, *(f"piece{number}" for number in range(150)), *more]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    if stated is not None:
        config = json.dumps({"do_lower_case": stated})
        (tmp_path / "tokenizer_config.json").write_text(config)
    ours = Tokenizer.load(tmp_path)
    assert (ours.cleaning.lower_case, ours.cleaning.strips_accents) == (lower_case, lower_case)
    ours.save(tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("Paris", add_special_tokens=False)["input_ids"] == ours.encode("Paris").ids


def test_literal_pieces() -> None:
    ours = Tokenizer(VOCAB)
    found = ours.encode("Unaffable KINGS, 我喜欢[MASK]!")
    assert ours.tokens(found.ids) == [
        "un", "##aff", "##able", "king", "##s", ",", "我", "喜", "欢",
        "[", "m", "##a", "##s", "##k", "]", "!",
    ]  # fmt: skip
    assert found.words == [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9]
    assert found.offsets[:6] == [(0, 2), (2, 5), (5, 9), (10, 14), (14, 15), (15, 16)]


def test_special_tokens_are_recognised_only_when_allowed() -> None:
    ours = Tokenizer(VOCAB)
    assert ours.mask_id not in ours.encode("the [MASK].").ids
    meant = ours.encode("the [MASK].", allow_special=True)
    assert ours.tokens(meant.ids) == ["the", "[MASK]", "."]
    assert meant.offsets == [(0, 3), (4, 10), (10, 11)]
    assert not ours.special_ids & set(ours.encode_flat(["[CLS] [SEP] [PAD] [MASK]"])[0].tolist())


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("abcKé e\u0301 \t\x00\u200b我果，.'😀[]thekings"), max_size=40)
)
def test_offsets_point_at_the_characters_a_piece_came_from(text: str) -> None:
    ours = Tokenizer(VOCAB)
    found = ours.encode(text)
    assert len(found.ids) == len(found.offsets) == len(found.words)
    end = 0
    for index, (start, stop) in zip(found.ids, found.offsets, strict=True):
        assert end <= start < stop <= len(text)
        end = stop
        piece = ours.vocab[index].removeprefix("##")
        if index != ours.unk_id:
            # A piece's own span, encoded alone, spells the same characters.
            assert "".join(ours.decode(ours.encode(text[start:stop]).ids).split()) == piece
    assert found.words == sorted(found.words)


def test_flat_lengths_and_types() -> None:
    ours = Tokenizer(VOCAB)
    ids_T, lengths = ours.encode_flat(["the king", "", "\x00 \u200b", "x" * 101])
    assert ids_T.dtype == np.uint16
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [2, 0, 0, 1]
    assert ids_T[-1] == ours.unk_id
    none_T, no_lengths = ours.encode_flat([])
    assert (none_T.size, no_lengths.size) == (0, 0)
    wide = Tokenizer([*VOCAB, *(f"[unused{i}]" for i in range(1 << 16))])
    wide_T, _ = wide.encode_flat(["the king"])
    assert wide_T.dtype == np.uint32
    assert wide_T.tolist() == ids_T[:2].tolist()


def test_continuation_marks_pieces_within_words() -> None:
    ours = Tokenizer([*SPECIAL, "a", "##", "##b", "#"])
    assert ours.word_starts(np.array([5, 7, 6, 7, 7, 8])).tolist() == [
        True, False, True, False, False, True
    ]  # fmt: skip
    assert ours.bare == (*SPECIAL, "a", "##", "b", "#")


def test_a_vocabulary_of_berts_has_its_special_tokens() -> None:
    ours = Tokenizer(["a", *SPECIAL])
    ids = (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id)
    assert ids == (1, 2, 3, 4, 5)
    assert (ours.has_special, ours.start_ids, ours.end_ids) == (True, (3,), (4,))
    assert ours.with_special() is ours


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("the king, (paris)!", "the king, (paris)!"),
        ("我喜欢[MASK]果，一 二。", "我喜欢[MASK]果，一二。"),
        ("king's [MASK] 中文 abcd", "king's [MASK]中文 abcd"),
        ("", ""),
    ],
)
def test_decode_is_readable(text: str, readable: str) -> None:
    ours = Tokenizer(VOCAB)
    assert ours.decode(ours.encode(text, allow_special=True).ids) == readable


@pytest.mark.parametrize("rules", RULES)
def test_saved_folder_is_what_transformers_expects(tmp_path: Path, rules: str) -> None:
    cleaning = RULES[rules]
    ours = Tokenizer(VOCAB, cleaning)
    ours.save(tmp_path, model_max_length=128)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*NASTY, "the [MASK] king"]
    expected = [ours.encode(text, allow_special=True).ids for text in texts]
    assert theirs(texts, add_special_tokens=False)["input_ids"] == expected
    paired = theirs("the king", "paris")
    assert paired["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert theirs.model_max_length == 128
    again = Tokenizer.load(tmp_path)
    assert (again.vocab, again.cleaning) == (ours.vocab, cleaning)
    assert again.fingerprint == ours.fingerprint
    ours.save(tmp_path / "twin", model_max_length=128)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "twin" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("frame", "single", "pair"),
    [
        ("text", "[CLS] the king [SEP]", "[CLS] the king [SEP] paris [SEP]"),
        ("prompt", "[CLS] the king", "[CLS] the king [SEP] paris"),
        ("extract", "[CLS] the king [MASK]", "[CLS] the king [SEP] paris [MASK]"),
    ],
)
def test_transformers_frames_texts_as_the_model_reads_them(
    tmp_path: Path, frame: Frame, single: str, pair: str
) -> None:
    ours = Tokenizer(VOCAB)
    ours.save(tmp_path, frame=frame)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for texts, expected in ((("the king",), single), (("the king", "paris"), pair)):
        found = theirs(*texts)
        assert ours.tokens(found["input_ids"]) == expected.split()
        # A GPT would add a word's vector for each of these.
        assert ("token_type_ids" in found) == (frame == "text")
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    assert theirs.mask_token_id == ours.mask_id


@pytest.mark.parametrize("rules", RULES)
def test_folder_written_by_transformers_loads(tmp_path: Path, rules: str) -> None:
    cleaning = RULES[rules]
    hugging_face(cleaning).save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert (list(ours.vocab), ours.cleaning) == (VOCAB, cleaning)
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint


def test_older_layouts_load(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(VOCAB).encode() + b"\r\n")
    # Without a word on case, capitals among the pieces decide.
    assert Tokenizer.load(tmp_path).cleaning == Cleaning(lower_case=False)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert Tokenizer.load(tmp_path).fingerprint == Tokenizer(VOCAB).fingerprint
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "extra": 1}')
    cased = Tokenizer.load(tmp_path)
    assert cased.cleaning == Cleaning(lower_case=False)
    assert cased.fingerprint != Tokenizer(VOCAB).fingerprint


def test_fingerprint_follows_what_is_done_to_text() -> None:
    explicit = Tokenizer(VOCAB, Cleaning(strip_accents=True))
    assert explicit.fingerprint == Tokenizer(VOCAB).fingerprint
    assert len({Tokenizer(VOCAB, cleaning).fingerprint for cleaning in RULES.values()}) == 5
    assert Tokenizer(VOCAB[:-1]).fingerprint != Tokenizer(VOCAB).fingerprint


def test_workers_get_an_equal_tokenizer() -> None:
    ours = Tokenizer(VOCAB, Cleaning(lower_case=False), backend="nanotoken")
    copy = pickle.loads(pickle.dumps(ours))
    assert copy.fingerprint == ours.fingerprint
    assert rows(*copy.encode_flat(list(NASTY))) == rows(*ours.encode_flat(list(NASTY)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_lone_surrogate_is_named(backend: str) -> None:
    ours = Tokenizer(VOCAB, backend=backend)  # type: ignore[arg-type]
    for encode in (ours.encode, lambda text: ours.encode_flat(["fine", text])):
        with pytest.raises(DataError, match=r"Character 2 of the text .* is a lone surrogate"):
            encode("ab\udcff")


VOCAB_FAULTS = {
    "vocab.txt, line 7: the piece 'a' is also in line 6": "\n".join([*SPECIAL, "a", "a"]).encode(),
    "the special token [MASK] is missing": "\n".join(SPECIAL[:4]).encode(),
    "the special tokens [SEP], [MASK] are missing": "\n".join(SPECIAL[:3]).encode(),
    "vocab.txt, line 6: empty": "\n".join([*SPECIAL, "", "a"]).encode(),
    "vocab.txt, line 6, byte 32: not UTF-8": "\n".join(SPECIAL).encode() + b"\na\xff\n",
}


@pytest.mark.parametrize("message", VOCAB_FAULTS)
def test_bad_vocabulary_is_one_sentence(tmp_path: Path, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(VOCAB_FAULTS[message])
    with pytest.raises(FolderError) as caught:
        Tokenizer.load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def edited(change: dict[str, object]) -> dict[str, object]:
    whole = json.loads(
        LibraryTokenizer.from_str(hugging_face(Cleaning()).backend_tokenizer.to_str()).to_str()
    )
    for key, value in change.items():
        part = whole
        *path, last = key.split(".")
        for name in path:
            part = part[name]
        part[last] = value
    return whole


WHOLE_FAULTS: dict[str, dict[str, object]] = {
    "Invalid value 'Unigram'": {"model.type": "Unigram"},
    "'normalizer' is null, expected an object": {"normalizer": None},
    "not BertPreTokenizer": {"pre_tokenizer": {"type": "Whitespace"}},
    "continuing_subword_prefix='@@'": {"model.continuing_subword_prefix": "@@"},
    "max_input_chars_per_word=100": {"model.max_input_chars_per_word": 200},
    "no piece has the id 5": {"model.vocab": {"a": 9}},
}


@pytest.mark.parametrize("message", WHOLE_FAULTS)
def test_foreign_tokenizer_is_refused(tmp_path: Path, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(edited(WHOLE_FAULTS[message])))
    with pytest.raises(FolderError) as caught:
        Tokenizer.load(tmp_path)
    assert message.lower() in str(caught.value).lower()
    assert "tokenizer.json" in str(caught.value)


def test_missing_and_contradictory_folders(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is not a folder"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(FolderError, match=r"neither tokenizer\.json nor vocab\.txt"):
        Tokenizer.load(tmp_path)
    Tokenizer(VOCAB).save(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "other"]))
    with pytest.raises(FolderError, match="different vocabularies"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(FolderError, match="do_lower_case=False"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes()[:500])
    with pytest.raises(FolderError, match="not valid JSON"):
        Tokenizer.load(tmp_path)


class Wrong:
    """A fast engine that is not exact."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(texts), np.uint16), np.ones(len(texts), np.int64)


def test_inexact_backend_is_refused_or_replaced_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "Nanotoken", Wrong)
    with pytest.raises(UsageError, match="gives different ids from 'tokenizers'"):
        Tokenizer(VOCAB, backend="nanotoken")
    with pytest.warns(UserWarning, match="falling back to 'tokenizers'"):
        fallback = Tokenizer(VOCAB, backend="auto")
    assert rows(*fallback.encode_flat(["the king"])) == [Tokenizer(VOCAB).encode("the king").ids]


def test_missing_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str, *, extra: str, purpose: str) -> object:
        raise MissingExtra(extra, purpose)

    monkeypatch.setattr(batched, "require", refuse)
    with pytest.raises(MissingExtra, match=r"bertsmith\[fast\]"):
        Tokenizer(VOCAB, backend="nanotoken")
    assert Tokenizer(VOCAB, backend="auto").encode_flat(["the"])[1].tolist() == [1]


def test_tables_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "_MOST_REMEMBERED", 10)
    ours, fresh = Tokenizer(VOCAB), Tokenizer(VOCAB, backend="nanotoken")
    texts = [f"the{i}, king{i}s {'y' * 60}" for i in range(50)]
    assert rows(*ours.encode_flat(texts)) == rows(*fresh.encode_flat(texts))
    assert len(ours._engine._chunks) <= 10  # type: ignore[attr-defined]
