"""Added tokens: the ids are those of `transformers`, whatever the flags and wherever they stand."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from bertsmith.core.errors import FolderError
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCAB = [*SPECIAL, "[unused1]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
VOCAB += ["the", "covid", "##19", "ent", *"[]<>-_.,#@我们", "é", "##é"]
FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")
CONTENTS = ("covid19", "[ENT]", "<user>", "Café", "##tail", "new york", "我们", "[unused1]")
TEXTS = [
    template.format(token)
    for token in (*CONTENTS, *map(str.upper, CONTENTS), "cafe", "[ent]", "new  york", "new\tyork")
    for template in (
        "{}",
        "the {} case",
        "x{}y",
        "{0}{0}",
        "_{}_",
        "é{}1",
        "-{}.",
        "  {}\t",
        "我{}们",
    )
] + [
    "",
    "nothing here",
    "co\u200bvid19",
    "co\x0bvid19",
    "covi\u0301d19",
    "cov id19",
    "[MASKED] <us er>",
]


def write(folder: Path, files: dict[str, Any], vocab: list[str] = VOCAB) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    for name, contents in files.items():
        (folder / name).write_text(json.dumps(contents))
    return folder


def check(folder: Path, out: Path) -> Tokenizer:
    """Every path gives the ids of `transformers`, before and after saving and pickling."""
    theirs = AutoTokenizer.from_pretrained(folder)
    expected = theirs(TEXTS, add_special_tokens=False)["input_ids"]
    ours = Tokenizer.load(folder)
    ours.save(out)
    copies = [ours, Tokenizer.load(out), pickle.loads(pickle.dumps(ours))]
    copies += [Tokenizer.load(folder, backend="nanotoken")]
    for copy in copies:
        assert copy.fingerprint == ours.fingerprint
        assert [copy.encode(text).ids for text in TEXTS] == expected
        ids_T, lengths = copy.encode_flat(TEXTS)
        placed_T, places_T2, placed_lengths = copy.encode_placed(TEXTS)
        for found_T, found in ((ids_T, lengths), (placed_T, placed_lengths)):
            rows = np.split(found_T, np.cumsum(found)[:-1])
            assert [row.tolist() for row in rows] == expected
        assert len(places_T2) == len(placed_T)
    again = AutoTokenizer.from_pretrained(out)
    assert again(TEXTS, add_special_tokens=False)["input_ids"] == expected
    assert len(ours) == len(theirs) == len(again)
    return ours


@pytest.mark.parametrize("flag", [None, *FLAGS])
@pytest.mark.parametrize("cased", [False, True])
def test_ids_with_every_flag_are_those_of_transformers(
    flag: str | None, cased: bool, tmp_path: Path
) -> None:
    plain = write(tmp_path / "plain", {"tokenizer_config.json": {"do_lower_case": not cased}})
    Tokenizer.load(plain).save(tmp_path / "whole")
    (tmp_path / "whole" / "config.json").write_text('{"model_type": "bert"}')
    path = tmp_path / "whole" / "tokenizer.json"
    whole = json.loads(path.read_bytes())
    for number, content in enumerate(CONTENTS):
        index = VOCAB.index(content) if content in VOCAB else len(VOCAB) + number
        token = {"id": index, "content": content} | dict.fromkeys(FLAGS, False)
        whole["added_tokens"].append(token | ({flag: True} if flag else {}))
    path.write_text(json.dumps(whole))
    ours = check(tmp_path / "whole", tmp_path / "out")
    assert len(ours) == len(VOCAB) + 7
    special = {ours.vocab[index] for index in ours.special_ids}
    assert special == {*SPECIAL, *(CONTENTS if flag == "special" else ())}


TOKEN = {"lstrip": False, "rstrip": False, "single_word": True, "normalized": True}
N = len(VOCAB)
BESIDE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a list": ({"added_tokens.json": {"[ENT]": N + 1, "covid19": N}}, ["covid19", "[ENT]"]),
    "a piece of the vocabulary": ({"added_tokens.json": {"[unused1]": 5}}, []),
    "a map of special tokens": (
        {
            "added_tokens.json": {"covid19": N},
            "special_tokens_map.json": {
                "additional_special_tokens": ["[ENT]", "<user>"],
                "mask_token": {"content": "[MASK]", **TOKEN, "lstrip": True},
                "bos_token": "<s>",
            },
        },
        ["covid19", "<s>", "[ENT]", "<user>"],
    ),
    "in both": (
        {
            "added_tokens.json": {"[ENT]": N},
            "special_tokens_map.json": {"additional_special_tokens": ["[ENT]"]},
        },
        ["[ENT]"],
    ),
    "the configuration": (
        {
            "tokenizer_config.json": {
                "do_lower_case": True,
                "added_tokens_decoder": {
                    str(N): {"content": "covid19", **TOKEN, "special": False},
                    str(N + 1): {"content": "<user>", "single_word": True, "special": True},
                },
                "additional_special_tokens": ["[ENT]", "<user>"],
            },
            "added_tokens.json": {"ignored": N},
        },
        ["covid19", "<user>", "[ENT]"],
    ),
    "extra special tokens": (
        {"tokenizer_config.json": {"do_lower_case": True, "extra_special_tokens": ["[ENT]"]}},
        ["[ENT]"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BESIDE)
def test_tokens_beside_a_vocabulary_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    files, expected = BESIDE[case]
    ours = check(write(tmp_path / "in", files), tmp_path / "out")
    assert list(ours.vocab[N:]) == expected


def test_words_and_places_of_added_tokens(tmp_path: Path) -> None:
    files = {"added_tokens.json": {"covid19": N, "##tail": N + 1}}
    ours = Tokenizer.load(write(tmp_path / "in", files))
    found = ours.encode("the COVID19s ##tail")
    assert ours.tokens(found.ids) == ["the", "covid19", "s", "##tail"]
    assert found.offsets == [(0, 3), (4, 11), (11, 12), (13, 19)]
    assert found.words == [0, 1, 2, 3]
    assert ours.word_starts(np.array(found.ids)).all()
    assert ours.decode(found.ids) == "the covid19 s ##tail"


def test_a_special_token_of_berts_in_a_corpus_stays_text(tmp_path: Path) -> None:
    token = {
        "content": "[MASK]",
        **TOKEN,
        "single_word": False,
        "lstrip": True,
        "normalized": False,
    }
    ours = Tokenizer.load(
        write(tmp_path / "in", {"special_tokens_map.json": {"mask_token": token}})
    )
    assert ours.mask_id not in ours.encode_flat(["the [MASK]"])[0]
    meant = ours.encode("the [MASK]", allow_special=True)
    assert meant.offsets == [(0, 3), (3, 10)]
    assert len(ours) == N


def test_old_fingerprints_stay(tmp_path: Path) -> None:
    without = Tokenizer.load(write(tmp_path / "a", {}))
    named = {"special_tokens_map.json": {"mask_token": "[MASK]", "cls_token": "[CLS]"}}
    assert Tokenizer.load(write(tmp_path / "b", named)).fingerprint == without.fingerprint
    added = {"added_tokens.json": {"[unused1]": 5}}
    assert Tokenizer.load(write(tmp_path / "c", added)).fingerprint != without.fingerprint


WRONG = {
    "added token '[ENT]' has the id": {"added_tokens.json": {"[ENT]": N + 3}},
    "added token 'the' has the id": {"added_tokens.json": {"the": N}},
    "an added token is empty": {"added_tokens.json": {"": N}},
    "is not valid JSON": {},
}


@pytest.mark.parametrize("message", WRONG)
def test_ids_that_transformers_would_change_are_refused(message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", WRONG[message])
    if not WRONG[message]:
        (folder / "added_tokens.json").write_text('{"a": ')
    with pytest.raises(FolderError) as caught:
        Tokenizer.load(folder)
    assert "added_tokens.json" in str(caught.value)
    assert message in str(caught.value)


def test_byte_pairs_have_added_tokens_too(tmp_path: Path) -> None:
    letters = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    Tokenizer(["<unk>", *letters, "th", "the</w>"], merges=[("t", "h"), ("th", "e</w>")]).save(
        tmp_path
    )
    path = tmp_path / "tokenizer.json"
    whole = json.loads(path.read_bytes())
    n = len(whole["model"]["vocab"])
    new = [
        {"id": n + i, "content": c} | dict.fromkeys(FLAGS, False)
        for i, c in enumerate(("the1", "<u>"))
    ]
    whole["added_tokens"] += new
    path.write_text(json.dumps(whole))
    ours = Tokenizer.load(tmp_path)
    texts = ["the1 the", "xthe1<u>y", "THE1"]
    expected = AutoTokenizer.from_pretrained(tmp_path)(texts, add_special_tokens=False)["input_ids"]
    assert [ours.encode(text).ids for text in texts] == expected
    found = ours.encode("xthe1 the").ids
    assert ours.tokens(found) == ["x</w>", "the1", "the</w>"]
    assert ours.word_starts(np.array(found)).tolist() == [True, True, True]
    whole_one = ours.with_special()
    assert [whole_one.encode(text).ids for text in texts] == expected
    assert whole_one.cls_id == n + 3
    whole_one.save(tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out").vocab == whole_one.vocab
