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
from bertsmith.text.tokenizer import trainer
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer
from bertsmith.text.tokenizer.vocabulary import merge, shortfall, train

SYLLABLES = "ka ro mi te lu ban dor sel vi nup ost ära ing 我 果".split()


def babble(count: int, *, seed: int = 3) -> list[str]:
    """Lines of made-up words, some far commoner than others, with punctuation and capitals."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randrange(1, 6))) for _ in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=12)).capitalize() + "." for _ in range(count)]


def plain_merge(words: Counter[str], size: int, min_frequency: int) -> list[str]:
    """The definition: count all pairs anew for every merge."""
    alphabet = sorted({c for word in words for c in word})
    inner = sorted({c for word in words if len(word) > 1 for c in word})
    pieces = alphabet + [f"##{c}" for c in inner]
    split = {word: [word[0], *(f"##{c}" for c in word[1:])] for word in words}
    while len(pieces) < size - len(SPECIAL):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        frequent = [(-n, pair) for pair, n in pairs.items() if n >= min_frequency]
        if not frequent:
            break
        left, right = min(frequent)[1]
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if parts[i] == left and parts[i + 1] == right:
                    parts[i : i + 2] = [left + right[2:]]
                i += 1
        if left + right[2:] not in pieces:
            pieces.append(left + right[2:])
    return [*SPECIAL, *pieces]


counted = st.dictionaries(
    st.text(alphabet="abc我", min_size=1, max_size=9), st.integers(1, 30), min_size=1, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(counted, st.integers(13, 60), st.integers(1, 4))
def test_merges_follow_the_definition(words: dict[str, int], size: int, lowest: int) -> None:
    counts = Counter(words)
    assert merge(counts, size=size, min_frequency=lowest) == plain_merge(counts, size, lowest)


def test_layout_and_literal_pieces() -> None:
    vocab = train(["low low low lower lowest new newer 我们, 我."], size=100)
    assert vocab[:5] == list(SPECIAL)
    alphabet = [*",.elnorstw", "们", "我", *(f"##{c}" for c in "elnorstw")]
    assert vocab[5 : 5 + len(alphabet)] == alphabet
    # Equally frequent pairs go by their text: "##o" + "##w" before "l" + "##o".
    assert vocab[5 + len(alphabet) :] == ["##ow", "low", "##er", "##ew", "new"]


def test_result_does_not_depend_on_order_hash_seed_or_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = babble(600)
    expected = train(lines, size=400)
    assert len(expected) == 400
    shuffled = random.Random(1).sample(lines, len(lines))
    assert train(shuffled, size=400) == expected
    monkeypatch.setattr("bertsmith.text.tokenizer.words._BLOCK_CHARACTERS", 2000)
    assert train(shuffled, size=400) == expected
    assert train(lines, size=400, workers=2) == expected
    script = (
        "import sys; from bertsmith.text.tokenizer.vocabulary import train;"
        "sys.stdout.buffer.write('\\n'.join(train(sys.stdin.buffer.read().decode().split('\\n'),"
        "size=400)).encode())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            input="\n".join(lines).encode(),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout.decode().split("\n") == expected


@pytest.mark.parametrize("lower_case", [True, False])
def test_trained_vocabulary_knows_its_text(lower_case: bool) -> None:
    lines = babble(300)
    vocab = train(lines, size=500, lower_case=lower_case)
    assert len(set(vocab)) == len(vocab) == 500
    ids_T, _ = Tokenizer(vocab, Cleaning(lower_case=lower_case)).encode_flat(lines)
    assert 1 not in ids_T  # no [UNK]
    assert ("K" in "".join(vocab[5:])) is not lower_case
    assert ("ä" in "".join(vocab)) is not lower_case
    characters = sum(len(line.replace(" ", "")) for line in lines)
    assert len(ids_T) < characters / 2.5
    more = train(lines, size=300, lower_case=lower_case)
    assert vocab[:300] == more


def test_too_small_a_size_names_the_smallest_possible() -> None:
    lines = babble(50)
    with pytest.raises(UsageError, match="use at least") as caught:
        train(lines, size=20)
    smallest = int(str(caught.value).rstrip(".").rsplit(" ", 1)[1])
    assert len(train(lines, size=smallest)) == smallest
    with pytest.raises(UsageError, match=f"at least {smallest}"):
        train(lines, size=smallest - 1)


def test_too_little_text_gives_a_smaller_vocabulary_and_says_so() -> None:
    vocab = train(["ab ab"], size=50)
    assert vocab == [*SPECIAL, "a", "b", "##a", "##b", "ab"]
    note = shortfall(vocab, size=50)
    assert note is not None
    assert "has 10 pieces instead of 50" in note
    assert shortfall(vocab, size=10) is None
    assert train(["ab ab"], size=50, min_frequency=3) == vocab[:-1]


@pytest.mark.parametrize("texts", [[], ["", " \n\t"], ["\x00\u200b"], ["x" * 101]])
def test_no_words_is_an_error(texts: list[str]) -> None:
    with pytest.raises(DataError, match="contains no words"):
        train(texts, size=100)


def test_rare_characters_are_left_out_the_commonest_kept() -> None:
    text = ["ab " * 30_000 + "ж"]
    assert "ж" not in train(text, size=50)
    assert "ж" in train(["ab ж"], size=50)
    limited = train(["aaa bb c"], size=50, alphabet_limit=2)
    assert [piece for piece in limited[5:] if len(piece) == 1] == ["a", "b"]


def test_sizes_out_of_range() -> None:
    with pytest.raises(UsageError, match="too large"):
        train(["ab"], size=trainer.MOST_PIECES + 1)
    with pytest.raises(UsageError, match="must be at least 1"):
        train(["ab"], size=50, min_frequency=0)
    with pytest.raises(UsageError, match="workers is 0; it must be at least 1"):
        train(["ab"], size=50, workers=0)


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int | None]] = []
    lines = babble(200)
    train(lines, size=400, progress=lambda *told: seen.append(told))
    assert ("count", sum(map(len, lines)), None) in seen
    assert seen[-1] == ("merge", 400, 400)
