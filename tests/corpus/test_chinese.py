"""Word starts of Chinese text by the segmenter."""

from pathlib import Path

import numpy as np
import pytest

from bertsmith.core.errors import UsageError
from bertsmith.corpus import chinese
from bertsmith.corpus.prepare import prepare
from bertsmith.corpus.shards import Corpus
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer

pytest.importorskip("jieba")

VOCAB = (*SPECIAL, *"我喜欢苹果北京大学生的，。ab", "##b", "##c")


def starts(texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer(VOCAB)
    ids, lengths = tokenizer.encode_flat(texts)
    flags = tokenizer.word_starts(ids)
    chinese.mark_words(texts, ids, lengths, flags, tokenizer)
    return [row.astype(int).tolist() for row in np.split(flags, np.cumsum(lengths)[:-1])]


def test_only_the_first_character_of_a_word_begins_it() -> None:
    # 我 | 喜欢 | 苹果 | 。
    assert starts(["我喜欢苹果。"]) == [[1, 1, 0, 1, 0, 1]]
    # Latin words keep their pieces: ab -> a ##b.
    assert starts(["abb 喜欢 ab", "", "我喜欢"]) == [[1, 0, 0, 1, 0, 1, 0], [], [1, 1, 0]]


def test_characters_outside_the_vocabulary_keep_their_place() -> None:
    # 喜欢 | 桌子 (both unknown) | zz (an unknown word) | 苹果
    assert starts(["喜欢桌子 zz 苹果"]) == [[1, 0, 1, 0, 1, 1, 0]]


def test_prepare_marks_words(tmp_path: Path) -> None:
    Tokenizer(VOCAB).save(tmp_path / "tokenizer")
    documents = "\n\n".join(f"我喜欢苹果。{'喜欢' * n}。" for n in range(1, 13))
    (tmp_path / "a.txt").write_text(documents, encoding="utf-8")
    prepare(
        [str(tmp_path / "a.txt")],
        tokenizer=tmp_path / "tokenizer",
        out=tmp_path / "out",
        segmenter="jieba",
        held_out=0.3,
        workers=1,
    )
    split = Corpus.open(tmp_path / "out").split("train")
    found = split.gather_word_starts(np.array([0]), np.array([6]))
    assert found.astype(int).tolist() == [1, 1, 0, 1, 0, 1]


def test_it_needs_characters_as_tokens(tmp_path: Path) -> None:
    Tokenizer(VOCAB, Cleaning(split_chinese=False)).save(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("我喜欢苹果。\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"needs a tokenizer that splits Chinese characters"):
        prepare(
            [str(tmp_path / "a.txt")],
            tokenizer=tmp_path / "tokenizer",
            out=tmp_path / "out",
            segmenter="jieba",
        )
    assert not (tmp_path / "out").exists()
