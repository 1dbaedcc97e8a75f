"""Texts of a small alphabet and their tokenizer, for the tests of `prepare`."""

import gzip
import json
import random
import string
from pathlib import Path

from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = string.ascii_lowercase
VOCAB = (*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), ".", "the", "##ing", "##er", "我", "们")
SENTENCES = 4


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer of single letters."""
    Tokenizer(VOCAB).save(folder)
    return folder


def sentence(draw: random.Random) -> str:
    words = ["".join(draw.choices(LETTERS, k=draw.randint(1, 7))) for _ in range(8)]
    return " ".join(["The", *words]) + "."


def texts(count: int, *, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(sentence(draw) for _ in range(SENTENCES)) for _ in range(count)]


def write_inputs(folder: Path) -> list[str]:
    """Two text files and a packed JSON file, 160 documents, some of them equal, short or empty."""
    folder.mkdir()
    one, two, three = texts(60, seed=1), texts(40, seed=2), texts(60, seed=3)
    three[7] = one[3]
    three[20] = three[19]
    two[5] = "a b"
    three[30] = "\u200b\u0007"
    (folder / "1.txt").write_text("\n\n".join(one), encoding="utf-8")
    (folder / "2.txt").write_text("\n\n".join(two), encoding="utf-8")
    with gzip.open(folder / "3.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in three)
    return [str(folder / name) for name in ("1.txt", "2.txt", "3.jsonl.gz")]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
