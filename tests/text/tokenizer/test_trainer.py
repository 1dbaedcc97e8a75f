import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import DataError, UsageError
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.text.tokenizer.trainer import ALPHABET_LIMIT, MOST_PIECES, Kind, Merged, merge

KINDS: tuple[Kind, ...] = ("wordpiece", "bpe")


def characters(kind: Kind, word: str) -> list[str]:
    if kind == "wordpiece":
        return [word[0], *(f"##{character}" for character in word[1:])]
    return [*word[:-1], f"{word[-1]}</w>"]


def joined(kind: Kind, left: str, right: str) -> str:
    return left + right[2:] if kind == "wordpiece" else left + right


def plain_merge(words: Counter[str], kind: Kind, size: int, min_frequency: int) -> Merged:
    """The definition: count all pairs anew for every merge."""
    everything = sorted({c for word in words for c in word})
    within = sorted({c for word in words if len(word) > 1 for c in word})
    if kind == "wordpiece":
        pieces = everything + [f"##{c}" for c in within]
    else:
        pieces = within + [f"{c}</w>" for c in everything]
    merges = []
    split = {word: characters(kind, word) for word in words}
    while len(pieces) < size - len(SPECIAL):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        frequent = [(-n, pair) for pair, n in pairs.items() if n >= min_frequency]
        if not frequent:
            break
        left, right = min(frequent)[1]
        new = joined(kind, left, right)
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if parts[i] == left and parts[i + 1] == right:
                    parts[i : i + 2] = [new]
                i += 1
        assert (left, right) not in merges
        merges.append((left, right))
        if new not in pieces:
            pieces.append(new)
    return Merged([*SPECIAL, *pieces], merges)


counted = st.dictionaries(
    st.text(alphabet="abc我", min_size=1, max_size=9), st.integers(1, 30), min_size=1, max_size=12
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(counted, st.integers(13, 60), st.integers(1, 4))
def test_merges_follow_the_definition(
    kind: Kind, words: dict[str, int], size: int, lowest: int
) -> None:
    counts = Counter(words)
    found = merge(counts, kind, size=size, min_frequency=lowest)
    assert found == plain_merge(counts, kind, size, lowest)


@settings(max_examples=150, deadline=None)
@given(counted, st.integers(13, 60))
def test_a_text_is_cut_as_its_words_were_merged(words: dict[str, int], size: int) -> None:
    """What merging made of the words is what the merges make of them afterwards."""
    words = {word: n for word, n in words.items() if "我" not in word} or {"abc": 3}
    found = merge(Counter(words), "bpe", size=size, min_frequency=1)
    ours = Tokenizer(found.vocab, merges=found.merges)
    for word in words:
        parts = characters("bpe", word)
        for left, right in found.merges:
            i = 0
            while i < len(parts) - 1:
                if parts[i] == left and parts[i + 1] == right:
                    parts[i : i + 2] = [left + right]
                i += 1
        assert ours.tokens(ours.encode(word).ids) == parts


def test_layout_and_literal_pieces() -> None:
    words = Counter({"low": 3, "lower": 1, "lowest": 1, "new": 1, "newer": 1, "我": 2, ",": 1})
    found = merge(words, "bpe", size=100)
    alphabet = [*"elnorstw", *(f"{c}</w>" for c in (*",elnorstw", "我"))]
    assert found.vocab[:5] == list(SPECIAL)
    assert found.vocab[5 : 5 + len(alphabet)] == alphabet
    # Equally frequent pairs go by their text: "lo" + "w</w>" before "w" + "e".
    assert found.vocab[5 + len(alphabet) :] == ["lo", "low</w>", "we", "lowe", "ne"]
    assert found.merges == [
        ("l", "o"), ("lo", "w</w>"), ("w", "e"), ("lo", "we"), ("n", "e"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_result_does_not_depend_on_order_or_hash_seed(kind: Kind) -> None:
    draw = random.Random(3)
    syllables = "ka ro mi te lu ban dor sel vi nup ost ära ing".split()
    words = Counter("".join(draw.choices(syllables, k=draw.randrange(1, 5))) for _ in range(3000))
    expected = merge(words, kind, size=300)
    assert len(expected.vocab) == 300
    turned = Counter(dict(reversed(words.items())))
    assert merge(turned, kind, size=300) == expected
    script = (
        "import sys; from collections import Counter;"
        "from bertsmith.text.tokenizer.trainer import merge;"
        "words = Counter(sys.stdin.buffer.read().decode().split());"
        f"print(merge(words, {kind!r}, size=300))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=" ".join(words.elements()).encode(),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.stdout.decode().strip() == repr(expected)


def test_rare_and_surplus_characters_are_left_out() -> None:
    words = Counter({"ab": 30_000, "ж": 1})
    assert "ж</w>" not in merge(words, "bpe", size=50).vocab
    assert "ж</w>" in merge(Counter({"ab": 1, "ж": 1}), "bpe", size=50).vocab
    limited = merge(Counter({"aaa": 1, "bb": 1, "c": 1}), "bpe", size=50, alphabet_limit=2)
    assert limited.vocab[5:9] == ["a", "b", "a</w>", "b</w>"]


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_out_of_range(kind: Kind) -> None:
    words = Counter({"ab": 2})
    with pytest.raises(UsageError, match="take 9; use at least 9"):
        merge(words, kind, size=8)
    assert len(merge(words, kind, size=9).vocab) == 9
    with pytest.raises(UsageError, match="too large"):
        merge(words, kind, size=MOST_PIECES + 1)
    with pytest.raises(UsageError, match="must be at least 1"):
        merge(words, kind, size=50, min_frequency=0)
    with pytest.raises(DataError, match="contains no words"):
        merge(Counter({"x" * 101: 5}), kind, size=50)


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int | None]] = []
    words = Counter({"abcd": 4})
    merge(words, "bpe", size=16, progress=lambda *told: seen.append(told))
    assert seen == [("merge", 16, 16)]
    assert ALPHABET_LIMIT == 12_000
