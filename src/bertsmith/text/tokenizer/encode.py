"""The only place that builds `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]` (paper, section 3).

A vocabulary without special tokens, OpenAI's, has single texts as they are, and no pairs.

`join` builds one input from two lists, `join_flat` many at once from flat arrays; `single` and
`pair` start from text and keep the place of every piece in it. `fit_pair` cuts what is too long,
`window_spans` and `best_windows` slide over it instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertsmith.core.errors import UsageError
from bertsmith.text.tokenizer.tokenizer import Encoding, Tokenizer

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
    """

    ids: list[int]
    segments: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]


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
    tokenizer: Tokenizer, text: str, *, max_length: int | None = None, allow_special: bool = False
) -> Input:
    """`[CLS] text [SEP]`, its end cut off where it would exceed `max_length` tokens.

    Args:
        tokenizer: gives pieces and special ids; without the latter, the input is the text alone.
        text: any text.
        max_length: most tokens of the whole input, special tokens included.
        allow_special: whether `[MASK]`, written so, is the special token.

    Raises:
        UsageError: `max_length` leaves no room for text.
    """
    a = tokenizer.encode(text, allow_special=allow_special)
    if max_length is not None:
        specials = len(tokenizer.start_ids) + len(tokenizer.end_ids)
        a = _part(a, 0, room_for_text(max_length, specials=specials))
    if not tokenizer.has_special:
        return Input(a.ids, [0] * len(a.ids), a.offsets, a.words)
    return _build(tokenizer, a, None)


def pair(
    tokenizer: Tokenizer,
    a: str,
    b: str,
    *,
    max_length: int | None = None,
    allow_special: bool = False,
) -> Input:
    """`[CLS] a [SEP] b [SEP]`, the longer text cut first where it would exceed `max_length` tokens.

    Raises:
        UsageError: `max_length` leaves no room for text, or the vocabulary has no special tokens.
    """
    first = tokenizer.encode(a, allow_special=allow_special)
    second = tokenizer.encode(b, allow_special=allow_special)
    if max_length is not None:
        room = room_for_text(max_length, specials=3)
        a_kept, b_kept = fit_pair(np.array(len(first.ids)), np.array(len(second.ids)), room)
        first, second = _part(first, 0, int(a_kept)), _part(second, 0, int(b_kept))
    return _build(tokenizer, first, second)


def fit_pair(a_lengths: Integers, b_lengths: Integers, room: int) -> tuple[Integers, Integers]:
    """How many pieces of each a and b stay when together they may be `room` (at least 0).

    What Google's `_truncate_seq_pair` arrives at by dropping one piece at a time from the longer
    text, and from b when both are equally long.
    """
    a_half, b_half = (room + 1) // 2, room // 2
    a_cut = np.where(b_lengths <= b_half, room - b_lengths, np.minimum(a_lengths, a_half))
    a_kept = np.where(a_lengths + b_lengths <= room, a_lengths, a_cut)
    return a_kept, np.minimum(b_lengths, room - a_kept)


def window_spans(count: int, *, room: int, stride: int) -> Integers:
    """Overlapping windows over `count` pieces: starts and ends, int64 [W, 2], W at least 1.

    Every piece is in a window; only the last window may have fewer than `room` pieces.

    Args:
        count: pieces of the text.
        room: pieces of a window.
        stride: pieces by which neighbouring windows overlap, as in `transformers`; lowered to two
            thirds of `room`, so that a long question beside the windows does not multiply them.
    """
    step = room - min(stride, greatest_overlap(room))
    more = max(0, -(-(count - room) // step))
    starts = np.arange(more + 1, dtype=np.int64) * step
    return np.stack([starts, np.minimum(starts + room, count)], axis=1)


def greatest_overlap(room: int) -> int:
    """Most pieces by which windows of `room` pieces may overlap."""
    return room * 2 // 3


def best_windows(spans: Integers, count: int) -> Integers:
    """For each piece, the window that gives it most context on its poorer side; int64 [count].

    Google's `_check_is_max_context` (`run_squad.py`): a longer window wins by a hundredth per token
    where the poorer sides tie, then the first.
    """
    best = np.zeros(count, dtype=np.int64)
    scores_T = np.full(count, -1.0)
    for window, (start, end) in enumerate(spans.tolist()):
        places = np.arange(start, end)
        poorer = np.minimum(places - start, end - 1 - places) + 0.01 * (end - start)
        better = poorer > scores_T[start:end]
        best[start:end][better] = window
        scores_T[start:end][better] = poorer[better]
    return best


def room_for_text(max_length: int, *, specials: int) -> int:
    """Pieces of text that an input of `max_length` tokens has room for.

    Raises:
        UsageError: none.
    """
    if max_length <= specials:
        raise UsageError(
            f"A length of {max_length} tokens leaves no room for text after {specials} special "
            f"tokens; use a length of at least {specials + 1}."
        )
    return max_length - specials


def _part(encoding: Encoding, start: int, end: int) -> Encoding:
    return Encoding(encoding.ids[start:end], encoding.offsets[start:end], encoding.words[start:end])


def _build(tokenizer: Tokenizer, a: Encoding, b: Encoding | None) -> Input:
    ids, segments = join(tokenizer.cls_id, tokenizer.sep_id, a.ids, None if b is None else b.ids)
    offsets = [NOWHERE, *a.offsets, NOWHERE]
    words = [NO_WORD, *a.words, NO_WORD]
    if b is not None:
        offsets += [*b.offsets, NOWHERE]
        words += [*b.words, NO_WORD]
    return Input(ids, segments, offsets, words)
