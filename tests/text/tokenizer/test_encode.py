import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import UsageError
from bertsmith.text.tokenizer.encode import (
    NO_WORD,
    NOWHERE,
    best_windows,
    fit_pair,
    join,
    join_flat,
    pair,
    single,
    window_spans,
)
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENIZER = Tokenizer([*SPECIAL, *LETTERS, "，", "我", ".", *(f"##{c}" for c in LETTERS)])
CLS, SEP = TOKENIZER.cls_id, TOKENIZER.sep_id

# A vocabulary as OpenAI's: no special token but the unknown one.
OPENAI = Tokenizer(["<unk>", *LETTERS, *(f"{c}</w>" for c in LETTERS)], merges=[])

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


def test_texts_of_a_vocabulary_without_special_tokens() -> None:
    """There is nothing to frame them with; a pair has no delimiter."""
    built = single(OPENAI, "ab c")
    assert OPENAI.tokens(built.ids) == ["a", "b</w>", "c</w>"]
    assert (built.segments, built.words) == ([0, 0, 0], [0, 0, 1])
    assert built.offsets == [(0, 1), (1, 2), (3, 4)]
    assert single(OPENAI, "ab c", max_length=2).ids == built.ids[:2]
    with pytest.raises(UsageError, match="use a length of at least 1"):
        single(OPENAI, "ab c", max_length=0)
    with pytest.raises(UsageError, match=r"^The vocabulary has no \[CLS\]"):
        pair(OPENAI, "ab", "c")
    full = single(OPENAI.with_special(), "ab c")
    assert full.ids[1:-1] == built.ids
    assert (full.ids[0], full.ids[-1]) == (len(OPENAI) + 1, len(OPENAI) + 2)


def test_single() -> None:
    built = single(TOKENIZER, "ab 我.")
    assert TOKENIZER.tokens(built.ids) == ["[CLS]", "a", "##b", "我", ".", "[SEP]"]
    assert built.segments == [0] * 6
    assert built.offsets == [NOWHERE, (0, 1), (1, 2), (3, 4), (4, 5), NOWHERE]
    assert built.words == [NO_WORD, 0, 0, 1, 2, NO_WORD]
    assert single(TOKENIZER, "ab 我.", max_length=4).ids == [*built.ids[:3], SEP]
    masked = single(TOKENIZER, "a[MASK]", allow_special=True)
    assert masked.ids == [CLS, TOKENIZER.vocab.index("a"), TOKENIZER.mask_id, SEP]
    assert single(TOKENIZER, "").ids == [CLS, SEP]


def test_pair() -> None:
    built = pair(TOKENIZER, "a b", "z.")
    assert TOKENIZER.tokens(built.ids) == ["[CLS]", "a", "b", "[SEP]", "z", ".", "[SEP]"]
    assert built.segments == [0, 0, 0, 0, 1, 1, 1]
    assert built.offsets[4:] == [(0, 1), (1, 2), NOWHERE]
    short = pair(TOKENIZER, "a b c d e", "z .", max_length=7)
    assert TOKENIZER.tokens(short.ids) == ["[CLS]", "a", "b", "[SEP]", "z", ".", "[SEP]"]
    assert len(short.ids) == len(short.segments) == len(short.offsets) == len(short.words) == 7


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_fit_pair_is_dropping_one_at_a_time(a: int, b: int, room: int) -> None:
    left, right = a, b
    while left + right > room:
        if left > right:
            left -= 1
        else:
            right -= 1
    kept = fit_pair(np.array([a, 0]), np.array([b, 0]), room)
    assert [side.tolist() for side in kept] == [[left, 0], [right, 0]]


@pytest.mark.parametrize(
    ("build", "needed"),
    [
        (lambda: single(TOKENIZER, "a", max_length=2), 3),
        (lambda: pair(TOKENIZER, "a", "b", max_length=3), 4),
    ],
)
def test_no_room_is_refused(build: object, needed: int) -> None:
    with pytest.raises(UsageError, match=f"use a length of at least {needed}"):
        build()  # type: ignore[operator]


def test_window_spans() -> None:
    assert window_spans(7, room=4, stride=2).tolist() == [[0, 4], [2, 6], [4, 7]]
    assert window_spans(4, room=4, stride=2).tolist() == [[0, 4]]
    assert window_spans(0, room=4, stride=2).tolist() == [[0, 0]]
    assert window_spans(9, room=4, stride=0).tolist() == [[0, 4], [4, 8], [8, 9]]
    assert window_spans(7, room=4, stride=1).tolist() == [[0, 4], [3, 7]]
    # Never more than two thirds, or a long question would leave steps of a single piece.
    assert window_spans(7, room=4, stride=99).tolist() == window_spans(7, room=4, stride=2).tolist()


def test_best_windows_by_hand() -> None:
    spans = window_spans(7, room=4, stride=2)
    assert best_windows(spans, 7).tolist() == [0, 0, 0, 1, 1, 2, 2]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 30))
def test_every_piece_is_in_a_window_and_best_where_its_poorer_side_is_richest(
    count: int, room: int, stride: int
) -> None:
    spans = window_spans(count, room=room, stride=stride)
    best = best_windows(spans, count)
    assert spans[0, 0] == 0
    assert spans[-1, 1] == count
    assert all(end - start == room for start, end in spans[:-1].tolist())
    for piece in range(count):
        sides = {
            window: min(piece - start, end - 1 - piece)
            for window, (start, end) in enumerate(spans.tolist())
            if start <= piece < end
        }
        assert sides[int(best[piece])] == max(sides.values())
