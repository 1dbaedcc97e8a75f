"""The only place that builds `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]` (paper, section 3).

`join` builds one input from two lists, `join_flat` many at once from flat arrays; `single`, `pair`
and `windows` start from text and keep the place of every piece in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertsmith.errors import UsageError
from bertsmith.text.tokenizer import Encoding, Tokenizer

Integers = npt.NDArray[np.integer]

# Where a special token stands in the text, and which of its words it belongs to.
NOWHERE = (0, 0)
NO_WORD = -1


@dataclass(frozen=True, slots=True)
class Input:
    """One model input, position by position.

    Attributes:
        ids: piece ids with the special tokens.
        segments: 0 for `[CLS] a [SEP]`, 1 for `b [SEP]`.
        offsets: character places `(start, end)` in a (segment 0) or b (segment 1); `NOWHERE` at
            special tokens.
        words: the number of the word in its text; `NO_WORD` at special tokens.
        best: whether no other window of the same text gives this piece more context; always true
            outside `windows` and always false at the special tokens that join the texts.
    """

    ids: list[int]
    segments: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]
    best: list[bool]


def join(
    cls_id: int, sep_id: int, a_ids: Sequence[int], b_ids: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Builds `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`; returns ids and segments."""
    ids = [cls_id, *a_ids, sep_id]
    segments = [0] * len(ids)
    if b_ids is not None:
        ids += [*b_ids, sep_id]
        segments += [1] * (len(b_ids) + 1)
    return ids, segments


def join_flat(
    a_ids_T: Integers,
    a_lengths: Integers,
    b_ids_T: Integers | None,
    b_lengths: Integers | None,
    *,
    cls_id: int,
    sep_id: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`join` for many inputs at once.

    Args:
        a_ids_T: the first texts' ids laid end to end.
        a_lengths: how many ids each first text has, `[B]`.
        b_ids_T: the second texts' ids laid end to end, or None for single texts.
        b_lengths: how many ids each second text has, `[B]`; None exactly when `b_ids_T` is.
        cls_id: id of `[CLS]`.
        sep_id: id of `[SEP]`.

    Returns:
        ids_T, segments_T (both int64, inputs laid end to end) and the length of each input, int64
        `[B]`.
    """
    first = a_lengths.astype(np.int64) + 2
    second = np.zeros_like(first) if b_lengths is None else b_lengths.astype(np.int64) + 1
    lengths = first + second
    ends = np.cumsum(lengths)
    starts = ends - lengths
    total = int(ends[-1]) if len(ends) else 0
    segments_T = np.repeat(
        np.tile(np.array([0, 1]), len(first)), np.stack([first, second], axis=1).reshape(-1)
    )
    ids_T = np.full(total, sep_id, np.int64)
    ids_T[starts] = cls_id
    is_text_T = np.ones(total, np.bool_)
    is_text_T[starts] = False
    is_text_T[starts + first - 1] = False
    if b_ids_T is None:
        ids_T[is_text_T] = a_ids_T
    else:
        is_text_T[ends - 1] = False
        ids_T[is_text_T & (segments_T == 0)] = a_ids_T
        ids_T[is_text_T & (segments_T == 1)] = b_ids_T
    return ids_T, segments_T, lengths


def single(
    tokenizer: Tokenizer, text: str, *, longest: int | None = None, allow_special: bool = False
) -> Input:
    """`[CLS] text [SEP]`, its end cut off where it would exceed `longest` tokens.

    Args:
        tokenizer: gives pieces and special ids.
        text: any text.
        longest: most tokens of the whole input, special tokens included.
        allow_special: whether `[MASK]`, written so, is the special token.

    Raises:
        UsageError: `longest` leaves no room for text.
    """
    a = tokenizer.encode(text, allow_special=allow_special)
    if longest is not None:
        a = _part(a, 0, _room(longest, specials=2))
    return _build(tokenizer, a, None)


def pair(
    tokenizer: Tokenizer,
    a: str,
    b: str,
    *,
    longest: int | None = None,
    allow_special: bool = False,
) -> Input:
    """`[CLS] a [SEP] b [SEP]`, the longer text cut first where it would exceed `longest` tokens.

    Raises:
        UsageError: `longest` leaves no room for text.
    """
    first = tokenizer.encode(a, allow_special=allow_special)
    second = tokenizer.encode(b, allow_special=allow_special)
    if longest is not None:
        room = _room(longest, specials=3)
        a_kept, b_kept = fit_pair(len(first.ids), len(second.ids), room)
        first, second = _part(first, 0, a_kept), _part(second, 0, b_kept)
    return _build(tokenizer, first, second)


def fit_pair(a_length: int, b_length: int, room: int) -> tuple[int, int]:
    """How many pieces of a and of b stay when together they may be `room` (at least 0).

    What Google's `_truncate_seq_pair` arrives at by dropping one piece at a time from the longer
    text, and from b when both are equally long.
    """
    if a_length + b_length <= room:
        return a_length, b_length
    a_half, b_half = (room + 1) // 2, room // 2
    if b_length <= b_half:
        return room - b_length, b_length
    if a_length <= a_half:
        return a_length, room - a_length
    return a_half, b_half


def windows(
    tokenizer: Tokenizer,
    a: str | None,
    b: str,
    *,
    longest: int,
    stride: int,
    longest_a: int = 64,
) -> list[Input]:
    """Overlapping windows over a long text b, each with a (a question, say) in front if given.

    Every piece of b is in at least one window; `best` marks it in exactly one, the window that
    gives it most context on its poorer side (Google's `run_squad.py`, `_check_is_max_context`).

    Args:
        tokenizer: gives pieces and special ids.
        a: goes in front of every window, or None for windows `[CLS] b [SEP]`.
        b: the text to slide over; offsets are characters of it.
        longest: most tokens of a window, special tokens included.
        stride: pieces from the start of one window to the start of the next (lowered to the room
            there is, so that nothing of b is skipped).
        longest_a: pieces of a that are kept, the paper's code's limit for questions.

    Raises:
        UsageError: `longest` leaves no room for b, or `stride` is below 1.
    """
    if stride < 1:
        raise UsageError(f"The stride between windows is {stride}; it must be at least 1.")
    text = tokenizer.encode(b)
    front = None if a is None else _part(tokenizer.encode(a), 0, longest_a)
    specials = 2 if front is None else 3 + len(front.ids)
    room = _room(longest, specials=specials)
    count = len(text.ids)
    spans = [(0, min(room, count))]
    while spans[-1][1] < count:
        start = spans[-1][0] + min(stride, room)
        spans.append((start, min(start + room, count)))
    best = _best_window(spans, count)
    inputs = []
    for index, (start, end) in enumerate(spans):
        part, is_best = _part(text, start, end), [best[i] == index for i in range(start, end)]
        if front is None:
            inputs.append(_build(tokenizer, part, None, a_best=is_best))
        else:
            inputs.append(_build(tokenizer, front, part, b_best=is_best))
    return inputs


def _best_window(spans: list[tuple[int, int]], count: int) -> list[int]:
    """For each piece, the window whose smaller side of context is largest; the first if equal.

    As in Google's script a longer window wins by a hundredth per token where the sides tie.
    """
    chosen = [0] * count
    scores = [-1.0] * count
    for index, (start, end) in enumerate(spans):
        for piece in range(start, end):
            score = min(piece - start, end - 1 - piece) + 0.01 * (end - start)
            if score > scores[piece]:
                chosen[piece], scores[piece] = index, score
    return chosen


def _room(longest: int, *, specials: int) -> int:
    if longest <= specials:
        raise UsageError(
            f"A length of {longest} tokens leaves no room for text beside {specials} tokens that "
            f"must be there; use a length of at least {specials + 1}."
        )
    return longest - specials


def _part(encoding: Encoding, start: int, end: int) -> Encoding:
    return Encoding(encoding.ids[start:end], encoding.offsets[start:end], encoding.words[start:end])


def _build(
    tokenizer: Tokenizer,
    a: Encoding,
    b: Encoding | None,
    *,
    a_best: list[bool] | None = None,
    b_best: list[bool] | None = None,
) -> Input:
    ids, segments = join(tokenizer.cls_id, tokenizer.sep_id, a.ids, None if b is None else b.ids)
    offsets = [NOWHERE, *a.offsets, NOWHERE]
    words = [NO_WORD, *a.words, NO_WORD]
    best = [False, *(a_best if a_best is not None else [True] * len(a.ids)), False]
    if b is not None:
        offsets += [*b.offsets, NOWHERE]
        words += [*b.words, NO_WORD]
        best += [*(b_best if b_best is not None else [True] * len(b.ids)), False]
    return Input(ids, segments, offsets, words, best)
