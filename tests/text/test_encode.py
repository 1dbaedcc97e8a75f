import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.errors import UsageError
from bertsmith.text.encode import (
    NO_WORD,
    NOWHERE,
    fit_pair,
    join,
    join_flat,
    pair,
    single,
    windows,
)
from bertsmith.text.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENIZER = Tokenizer([*SPECIAL, *LETTERS, "，", "我", ".", *(f"##{c}" for c in LETTERS)])
CLS, SEP = TOKENIZER.cls_id, TOKENIZER.sep_id

texts = st.text(alphabet="ab z.我", max_size=40)
some_ids = st.lists(st.integers(5, 60_000), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(some_ids, some_ids), max_size=8), st.booleans())
def test_join_flat_is_join_many_times(pairs: list[tuple[list[int], list[int]]], two: bool) -> None:
    def flat(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        return (
            np.array([i for ids in lists for i in ids], np.uint16),
            np.array([len(ids) for ids in lists], np.int32),
        )

    a_ids_T, a_lengths = flat([a for a, _ in pairs])
    b_ids_T, b_lengths = flat([b for _, b in pairs]) if two else (None, None)
    ids_T, segments_T, lengths = join_flat(
        a_ids_T, a_lengths, b_ids_T, b_lengths, cls_id=2, sep_id=3
    )
    expected = [join(2, 3, a, b if two else None) for a, b in pairs]
    assert ids_T.tolist() == [i for ids, _ in expected for i in ids]
    assert segments_T.tolist() == [i for _, segments in expected for i in segments]
    assert lengths.tolist() == [len(ids) for ids, _ in expected]
    assert ids_T.dtype == segments_T.dtype == lengths.dtype == np.int64


def test_join_is_the_layout_of_the_paper() -> None:
    assert join(2, 3, [7, 8]) == ([2, 7, 8, 3], [0, 0, 0, 0])
    assert join(2, 3, [7, 8], [9]) == ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])
    assert join(2, 3, [], []) == ([2, 3, 3], [0, 0, 1])


def test_single() -> None:
    built = single(TOKENIZER, "ab 我.")
    assert TOKENIZER.tokens(built.ids) == ["[CLS]", "a", "##b", "我", ".", "[SEP]"]
    assert built.segments == [0] * 6
    assert built.offsets == [NOWHERE, (0, 1), (1, 2), (3, 4), (4, 5), NOWHERE]
    assert built.words == [NO_WORD, 0, 0, 1, 2, NO_WORD]
    assert single(TOKENIZER, "ab 我.", longest=4).ids == [*built.ids[:3], SEP]
    masked = single(TOKENIZER, "a[MASK]", allow_special=True)
    assert masked.ids == [CLS, TOKENIZER.vocab.index("a"), TOKENIZER.mask_id, SEP]
    assert single(TOKENIZER, "").ids == [CLS, SEP]


def test_pair() -> None:
    built = pair(TOKENIZER, "a b", "z.")
    assert TOKENIZER.tokens(built.ids) == ["[CLS]", "a", "b", "[SEP]", "z", ".", "[SEP]"]
    assert built.segments == [0, 0, 0, 0, 1, 1, 1]
    assert built.offsets[4:] == [(0, 1), (1, 2), NOWHERE]
    short = pair(TOKENIZER, "a b c d e", "z .", longest=7)
    assert TOKENIZER.tokens(short.ids) == ["[CLS]", "a", "b", "[SEP]", "z", ".", "[SEP]"]
    assert len(short.ids) == len(short.segments) == len(short.best) == len(short.words) == 7


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_fit_pair_is_dropping_one_at_a_time(a: int, b: int, room: int) -> None:
    left, right = a, b
    while left + right > room:
        if left > right:
            left -= 1
        else:
            right -= 1
    assert fit_pair(a, b, room) == (left, right)


@pytest.mark.parametrize(
    ("build", "needed"),
    [
        (lambda: single(TOKENIZER, "a", longest=2), 3),
        (lambda: pair(TOKENIZER, "a", "b", longest=3), 4),
        (lambda: windows(TOKENIZER, "a b", "c", longest=5, stride=1), 6),
        (lambda: windows(TOKENIZER, None, "c", longest=1, stride=1), 3),
    ],
)
def test_no_room_is_refused(build: object, needed: int) -> None:
    with pytest.raises(UsageError, match=f"use a length of at least {needed}"):
        build()  # type: ignore[operator]
    with pytest.raises(UsageError, match="stride between windows is 0"):
        windows(TOKENIZER, None, "a", longest=9, stride=0)


@settings(max_examples=150, deadline=None)
@given(st.none() | texts, texts, st.integers(10, 20), st.integers(1, 30))
def test_windows_cover_every_piece_once_at_its_best(
    a: str | None, b: str, longest: int, stride: int
) -> None:
    pieces = TOKENIZER.encode(b)
    found = windows(TOKENIZER, a, b, longest=longest, stride=stride, longest_a=4)
    place = {offset: index for index, offset in enumerate(pieces.offsets)}
    context: dict[int, list[tuple[int, bool]]] = {}
    for window in found:
        assert len(window.ids) <= longest
        assert window.ids[0] == CLS
        assert window.ids[-1] == SEP
        segment = 0 if a is None else 1
        inside = [
            at
            for at, (where, word) in enumerate(zip(window.segments, window.words, strict=True))
            if where == segment and word != NO_WORD
        ]
        for at in inside:
            index = place[window.offsets[at]]
            assert window.ids[at] == pieces.ids[index]
            assert window.words[at] == pieces.words[index]
            sides = min(at - inside[0], inside[-1] - at)
            context.setdefault(index, []).append((sides, window.best[at]))
    assert sorted(context) == list(range(len(pieces.ids)))
    for seen in context.values():
        best = [sides for sides, is_best in seen if is_best]
        assert best == [max(sides for sides, _ in seen)]


def test_windows_layout() -> None:
    found = windows(TOKENIZER, "q", "a b c d e f g", longest=8, stride=2)
    assert [TOKENIZER.decode(window.ids) for window in found] == [
        "[CLS] q [SEP] a b c d [SEP]",
        "[CLS] q [SEP] c d e f [SEP]",
        "[CLS] q [SEP] e f g [SEP]",
    ]
    assert [window.best[3:-1] for window in found] == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True],
    ]
    assert found[2].offsets[3:-1] == [(8, 9), (10, 11), (12, 13)]
    empty = windows(TOKENIZER, None, "", longest=8, stride=2)
    assert [window.ids for window in empty] == [[CLS, SEP]]
