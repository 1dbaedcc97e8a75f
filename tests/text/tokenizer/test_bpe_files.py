import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, OpenAIGPTConfig, OpenAIGPTTokenizer

from bertsmith.core.errors import FolderError
from bertsmith.text.tokenizer.batched import NASTY
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer

LETTERS = "abcdefghiklnoprstuwyéABIK"
PIECES = [*LETTERS, *(f"{c}</w>" for c in f"{LETTERS},.'[]我喜")]
MERGES = [("t", "h"), ("th", "e</w>"), ("k", "i"), ("n", "g</w>"), ("ki", "ng</w>"), ("a", "b")]
VOCAB = [*SPECIAL, *PIECES, *(left + right for left, right in MERGES)]
OPENAI = ["<unk>", *VOCAB[5:]]
RULES = {
    "uncased": Cleaning(),
    "cased": Cleaning(lower_case=False),
    "uncased, accents kept": Cleaning(strip_accents=False),
    "Chinese not split": Cleaning(split_chinese=False),
}
TEXTS = [*NASTY, "the king, thé KING! 我喜 ab kid nag", "Abbé's kiKI"]


def write_openai(folder: Path, vocab: list[str] = OPENAI, *, header: bool = True) -> Path:
    """`vocab.json` and `merges.txt`, as published."""
    folder.mkdir(exist_ok=True)
    ids = {piece: index for index, piece in enumerate(vocab)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    lines = ["#version: 0.2"] * header + [" ".join(merge) for merge in MERGES]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("model", [False, True])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("pieces", [VOCAB, [*OPENAI, "[PAD]", "[CLS]", "[SEP]", "[MASK]"]])
def test_saved_folder_is_what_transformers_expects(
    tmp_path: Path, pieces: list[str], rules: str, model: bool
) -> None:
    ours = Tokenizer(pieces, RULES[rules], merges=MERGES)
    ours.save(tmp_path, model_max_length=128)
    if model:
        OpenAIGPTConfig().save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    given = [*TEXTS, "the [MASK] king"]
    expected = [ours.encode(text, allow_special=True).ids for text in given]
    assert theirs(given, add_special_tokens=False)["input_ids"] == expected
    framed = theirs("the king", "kid")
    the, king = ours.encode("the king").ids
    kid = ours.encode("kid").ids
    cls, sep = ours.cls_id, ours.sep_id
    assert framed["input_ids"] == [cls, the, king, sep, *kid, sep]
    names = (theirs.pad_token, theirs.unk_token, theirs.cls_token, theirs.sep_token)
    assert names == ("[PAD]", ours.vocab[ours.unk_id], "[CLS]", "[SEP]")
    assert (theirs.mask_token_id, theirs.model_max_length) == (ours.mask_id, 128)
    assert len(theirs) == len(ours)
    assert theirs.decode([the, king], clean_up_tokenization_spaces=False).strip() == "the king"


@pytest.mark.parametrize("end", ["", "[MASK]"])
@pytest.mark.parametrize("pieces", [VOCAB, [*OPENAI, "[PAD]", "[CLS]", "[SEP]", "[MASK]"], OPENAI])
def test_transformers_frames_texts_as_a_gpt_reads_them(
    tmp_path: Path, pieces: list[str], end: str
) -> None:
    ours = Tokenizer(pieces, merges=MERGES)
    ours.save(tmp_path, frame="extract" if end else "prompt")
    OpenAIGPTConfig().save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    single, pair = theirs("the king"), theirs("the king", "kid")
    # `OpenAIGPTModel` would add a word's vector for every token type.
    assert single.keys() == pair.keys() == {"input_ids", "attention_mask"}
    words = ["the</w>", "king</w>"]
    if ours.has_special:
        assert ours.tokens(single["input_ids"]) == ["[CLS]", *words, *end.split()]
        both = ["[CLS]", *words, "[SEP]", "ki", "d</w>", *end.split()]
        assert ours.tokens(pair["input_ids"]) == both
    else:
        assert ours.tokens(single["input_ids"]) == words
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("pieces", [VOCAB, OPENAI])
def test_saved_folder_loads(tmp_path: Path, pieces: list[str], rules: str) -> None:
    ours = Tokenizer(pieces, RULES[rules], merges=MERGES)
    ours.save(tmp_path)
    names = ["merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    ours.save(tmp_path / "twin")
    for name in names:
        assert (tmp_path / "twin" / name).read_bytes() == (tmp_path / name).read_bytes()
    again = Tokenizer.load(tmp_path)
    assert (again.vocab, again.cleaning) == (ours.vocab, RULES[rules])
    assert again.fingerprint == ours.fingerprint
    # Each half of the files says it all.
    (tmp_path / "tokenizer.json").unlink()
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / "twin" / name).unlink()
        assert Tokenizer.load(tmp_path / "twin").fingerprint == ours.fingerprint


@pytest.mark.parametrize("header", [True, False])
def test_openais_folder_loads(tmp_path: Path, header: bool) -> None:
    ours = Tokenizer.load(write_openai(tmp_path, header=header))
    assert ours.fingerprint == Tokenizer(OPENAI, merges=MERGES).fingerprint
    assert (ours.cleaning, ours.has_special) == (Cleaning(), False)
    theirs = OpenAIGPTTokenizer(
        vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt")
    )
    expected = theirs(TEXTS, add_special_tokens=False)["input_ids"]
    assert [ours.encode(text).ids for text in TEXTS] == expected
    assert ours.tokens(ours.encode("The kings").ids) == ["the</w>", "ki", "n", "g", "s</w>"]


def test_folders_written_by_transformers_load(tmp_path: Path) -> None:
    write_openai(tmp_path)
    theirs = OpenAIGPTTokenizer(
        vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt")
    )
    theirs.save_pretrained(tmp_path / "plain")
    expected = Tokenizer(OPENAI, merges=MERGES)
    assert Tokenizer.load(tmp_path / "plain").fingerprint == expected.fingerprint
    theirs.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"})
    theirs.add_special_tokens({"pad_token": "[PAD]"})
    theirs.save_pretrained(tmp_path / "full")
    full = Tokenizer.load(tmp_path / "full")
    assert full.vocab == tuple(theirs.convert_ids_to_tokens(range(len(theirs))))
    assert sorted(full.vocab[len(OPENAI) :]) == ["[CLS]", "[MASK]", "[PAD]", "[SEP]"]
    assert full.mask_id == theirs.mask_token_id
    assert full.encode("the king").ids == expected.encode("the king").ids


def test_the_layout_of_older_libraries_loads(tmp_path: Path) -> None:
    """Without the model's type, and with merges as lines."""
    ours = Tokenizer(VOCAB, merges=MERGES)
    ours.save(tmp_path)
    whole = json.loads((tmp_path / "tokenizer.json").read_text())
    del whole["model"]["type"], whole["model"]["ignore_merges"], whole["model"]["byte_fallback"]
    whole["model"]["merges"] = [" ".join(merge) for merge in MERGES]
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint


def one_sentence(folder: Path) -> str:
    with pytest.raises(FolderError) as caught:
        Tokenizer.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    (write_openai(tmp_path / "a") / "merges.txt").unlink()
    assert "a holds vocab.json but no merges.txt; BPE needs both files" in one_sentence(
        tmp_path / "a"
    )
    (write_openai(tmp_path / "b") / "vocab.json").unlink()
    assert "b holds merges.txt but no vocab.json; BPE needs both files" in one_sentence(
        tmp_path / "b"
    )


MERGES_FAULTS = {
    "merges.txt, line 2: 't' and 'q' are merged, but 'q' is not in the vocabulary": b"t h\nt q\n",
    "merges.txt, line 3: 't' and 'o' are merged, but 'to' is not in": b"#version: 0.2\nt h\nt o\n",
    "merges.txt, line 2: expected two pieces with a space between them, found 'th'": b"t h\nth\n",
    "merges.txt, line 1: expected two pieces with a space between them, found 't h e'": b"t h e\n",
    "merges.txt, line 2: expected two pieces with a space between them, found ''": b"t h\n\nk i\n",
    "merges.txt, byte 4: not UTF-8": b"t h\n\xff i\n",
}


@pytest.mark.parametrize("message", MERGES_FAULTS)
def test_bad_merges_are_one_sentence(tmp_path: Path, message: str) -> None:
    write_openai(tmp_path)
    (tmp_path / "merges.txt").write_bytes(MERGES_FAULTS[message])
    assert message in one_sentence(tmp_path)


def test_merges_that_were_cut_short_are_told(tmp_path: Path) -> None:
    path = write_openai(tmp_path) / "merges.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    said = "merges.txt: no merge makes 1 pieces of vocab.json, the first 'king</w>'; the file was"
    assert said in one_sentence(tmp_path)


def test_line_ends_of_windows(tmp_path: Path) -> None:
    data = (write_openai(tmp_path) / "merges.txt").read_bytes()
    (tmp_path / "merges.txt").write_bytes(data.replace(b"\n", b"\r\n"))
    assert Tokenizer.load(tmp_path).fingerprint == Tokenizer(OPENAI, merges=MERGES).fingerprint


VOCAB_FAULTS: dict[str, str] = {
    "vocab.json is not valid JSON": json.dumps({"<unk>": 0, "a": 1})[:-2],
    "vocab.json: '[...]' is a string, expected an integer": json.dumps({"<unk>": "0"}),
    "vocab.json: no piece has the id 1": json.dumps({"<unk>": 0, "a": 2, "a</w>": 3}),
    "3 pieces must have the ids 0 to 2": json.dumps({"<unk>": 0, "a": 1, "a</w>": 1}),
    "vocab.json: a piece is empty or occurs twice": json.dumps({"<unk>": 0, "": 1, "a</w>": 2}),
    "vocab.json: found neither <unk> nor [UNK]": json.dumps({"<|endoftext|>": 0, "a": 1}),
    "vocab.json: no piece ends with </w>": json.dumps({"<unk>": 0, "\u0120a": 1}),
}


@pytest.mark.parametrize("message", VOCAB_FAULTS)
def test_bad_vocabulary_is_one_sentence(tmp_path: Path, message: str) -> None:
    write_openai(tmp_path)
    (tmp_path / "vocab.json").write_text(VOCAB_FAULTS[message])
    assert message in one_sentence(tmp_path)


WHOLE_FAULTS: dict[str, dict[str, Any]] = {
    "invalid value 'WordPiece'": {"model.type": "WordPiece"},
    "'normalizer' is null, expected an object": {"normalizer": None},
    "not BertPreTokenizer. Only GPT's": {"pre_tokenizer": {"type": "ByteLevel"}},
    "end_of_word_suffix=None": {"model.end_of_word_suffix": None},
    "continuing_subword_prefix='@@'": {"model.continuing_subword_prefix": "@@"},
    "expected dropout=null": {"model.fuse_unk": True},
    "ignore_merges=false (GPT's); at least one differs": {"model.ignore_merges": True},
    "expected clean_text=true": {"normalizer.clean_text": False},
    "its unknown token is None, expected '[UNK]'": {"model.unk_token": None},
    "merge 2: 't' and 'q' are merged, but 'q' is": {"model.merges": [["t", "h"], ["t", "q"]]},
    "merge 1: expected two pieces, found 'th'": {"model.merges": ["th"]},
    "no piece has the id 5": {"model.vocab": {"a": 9}},
}


@pytest.mark.parametrize("message", WHOLE_FAULTS)
def test_foreign_tokenizer_is_refused(tmp_path: Path, message: str) -> None:
    Tokenizer(VOCAB, merges=MERGES).save(tmp_path)
    whole = json.loads((tmp_path / "tokenizer.json").read_text())
    for key, value in WHOLE_FAULTS[message].items():
        part = whole
        *path, last = key.split(".")
        for name in path:
            part = part[name]
        part[last] = value
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    found = one_sentence(tmp_path)
    assert message in found
    assert "tokenizer.json" in found


def test_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    ours = Tokenizer(VOCAB, merges=MERGES)
    ours.save(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    assert "hold different vocabularies; delete the one" in one_sentence(tmp_path)
    ours.save(tmp_path)
    merges = tmp_path / "merges.txt"
    lines = merges.read_text().splitlines(keepends=True)
    merges.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert "tokenizer.json hold different merges" in one_sentence(tmp_path)
    ours.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert "says do_lower_case=False but tokenizer.json lower-cases=True" in one_sentence(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": tr')
    assert "tokenizer_config.json is not valid JSON" in one_sentence(tmp_path)
    ours.save(tmp_path)
    whole = tmp_path / "tokenizer.json"
    whole.write_bytes(whole.read_bytes()[:500])
    assert "tokenizer.json is not valid JSON" in one_sentence(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "a"]))
    Tokenizer(VOCAB, merges=MERGES).save(tmp_path)
    assert "tokenizer.json: invalid value 'BPE'" in one_sentence(tmp_path)
