import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.core.errors import DataError, UsageError
from bertsmith.text.tokenizer import words
from bertsmith.text.tokenizer.batched import NASTY
from bertsmith.text.tokenizer.files import Cleaning
from bertsmith.text.tokenizer.words import count_words


def by_the_library(texts: list[str], cleaning: Cleaning) -> Counter[str]:
    """Every text through the library's own normalizer and pre-tokenizer."""
    normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=cleaning.split_chinese,
        strip_accents=cleaning.strip_accents,
        lowercase=cleaning.lower_case,
    )
    splitter = BertPreTokenizer()
    return Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("split_chinese", [True, False])
def test_words_are_the_librarys(lower_case: bool, split_chinese: bool) -> None:
    cleaning = Cleaning(lower_case=lower_case, split_chinese=split_chinese)
    texts = [*NASTY, "Don't stop, DON'T.", "我喜欢苹果 don't"]
    counted = count_words(texts, cleaning)
    assert counted == by_the_library(texts, cleaning)
    assert counted["don"] == (4 if lower_case else 2)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_words_of_any_text_are_the_librarys(texts: list[str]) -> None:
    assert count_words(texts, Cleaning()) == by_the_library(texts, Cleaning())


def test_blocks_and_workers_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"one two{i % 7} three, {'four ' * (i % 3)}" for i in range(300)]
    whole = count_words(texts, Cleaning())
    monkeypatch.setattr(words, "_BLOCK_CHARACTERS", 500)
    told: list[int] = []
    parallel = count_words(
        texts, Cleaning(), workers=2, progress=lambda _, done, __: told.append(done)
    )
    assert parallel == whole == by_the_library(texts, Cleaning())
    assert told == sorted(told)
    assert told[-1] == sum(map(len, texts))


def test_texts_are_read_no_further_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_BLOCK_CHARACTERS", 100)
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "word " * 20

    ahead: list[int] = []
    count_words(
        texts(),
        Cleaning(),
        workers=2,
        progress=lambda _, done, __: ahead.append(read - done // 100),
    )
    assert read == 1000
    assert max(ahead) <= 4


def test_errors_of_the_reader_and_of_the_text_come_through() -> None:
    def broken() -> Iterator[str]:
        yield "fine"
        raise DataError("file.txt, line 2: bytes that are not UTF-8.")

    for workers in (1, 2):
        with pytest.raises(DataError, match=r"file\.txt, line 2"):
            count_words(broken(), Cleaning(), workers=workers)
    with pytest.raises(DataError, match="lone surrogate"):
        count_words(["ab\udcff"], Cleaning())


def test_a_plain_script_without_a_guard_counts_in_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from bertsmith.text.tokenizer import words\n"
        "words._BLOCK_CHARACTERS = 5\n"
        "found = words.count_words(['one two', 'two', 'two one'], words.Cleaning(), workers=2)\n"
        "print(sorted(found.items()))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[('one', 2), ('two', 3)]\n", "")


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(UsageError, match="it must be at least 1"):
        count_words(["a"], Cleaning(), workers=0)
