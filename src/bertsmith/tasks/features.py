"""Examples to model inputs: stretches of one flat row of pieces, never a list of tokens each.

A text is encoded once, however many inputs it is in (a context with its questions and windows, a
beginning with its choices). An input, a *row* of the table, names a stretch for segment A and, in a
paired task, one for segment B; `[CLS]` and `[SEP]` come when a batch is joined. Memory is that of
the pieces: a few bytes each.

Nothing is cut in silence. Windows slide over what is too long, and where words or answers are
looked for every piece counts in the window that gives it most context; or what is cut is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import UsageError
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.pool import Integers, Pool, gather
from bertsmith.text.tokenizer.encode import (
    fit_pair,
    join_flat,
    room_for_text,
    window_spans,
)
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ROW = np.dtype(
    [
        ("example", np.int64),
        ("a_start", np.int64),
        ("a_length", np.int64),
        ("b_start", np.int64),
        ("b_length", np.int64),
    ]
)
"""One input. Without a segment B the last two are 0."""
WORD = np.dtype([("row", np.int64), ("place", np.int64), ("end", np.int64), ("target", np.int64)])
"""A word to tag: its input, the places of its first and last piece there, and the number of its tag
(-1). A window may end within a word."""


@dataclass(frozen=True)
class Features:
    """The inputs of a list of examples, in order, and what is to be said of them."""

    pieces_T: Integers
    """Every text's pieces, laid end to end."""
    rows: NDArray[np.void]
    """`ROW` [R]; the rows of an example follow each other."""
    paired: bool
    """Whether rows have a segment B."""
    whole: Integers
    """Tokens that each example (choice, document of words) would have as one input of any length,
    specials counted."""
    group: int = 1
    """Rows that are answered together: the choices of an example."""
    targets: Integers | NDArray[np.float32] | None = None
    """None if unlabelled. The class of each row, [R]; its number, float32 [R]; its labels, float32
    [R, C]; the right choice [R / group]; places of the first and last piece of an answer in the
    input, [R, 2], both 0 (`[CLS]`) where the row does not hold it. Of words: in `words`."""
    words: NDArray[np.void] | None = None
    """`WORD`, in the order of the examples' words, each once, where words are tagged."""
    places_T2: NDArray[np.int32] | None = None
    """Characters `(start, end)` in their text of `pieces_T`, where answers are looked for."""
    truncated: int = 0
    """Examples that lost pieces to the limit."""

    @property
    def specials(self) -> int:
        """`[CLS]` and `[SEP]`s of a row."""
        return 3 if self.paired else 2

    @property
    def lengths(self) -> Integers:
        """Tokens of each row, specials counted, [R]."""
        lengths: Integers = self.rows["a_length"] + self.rows["b_length"] + self.specials
        return lengths

    @cached_property
    def item_lengths(self) -> Integers:
        """Tokens of each item, all its rows together, [items]."""
        lengths: Integers = self.lengths.reshape(-1, self.group).sum(1)
        return lengths

    @property
    def items(self) -> int:
        """How many groups of rows there are: what a batch counts."""
        return len(self.rows) // self.group

    @property
    def windowed(self) -> int:
        """Examples that take more than one row because they are long."""
        counts = np.bincount(self.rows["example"], minlength=1)
        return int((counts > self.group).sum())

    @cached_property
    def word_edges(self) -> Integers:
        """Where the words of each row begin in `words`, [R + 1]: they are in the rows' order."""
        assert self.words is not None
        edges: Integers = np.searchsorted(self.words["row"], np.arange(len(self.rows) + 1))
        return edges

    def joined(
        self, rows: Integers, tokenizer: Tokenizer
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """ids_T, segments_T and lengths [B] of the given rows, specials put in."""
        chosen = self.rows[rows]
        a_T = gather(self.pieces_T, chosen["a_start"], chosen["a_length"])
        b_T = gather(self.pieces_T, chosen["b_start"], chosen["b_length"])
        return join_flat(
            a_T,
            chosen["a_length"],
            b_T if self.paired else None,
            chosen["b_length"] if self.paired else None,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
        )


def encode_texts(examples: Sequence[TextExample], tokenizer: Tokenizer, limits: Limits) -> Features:
    """The inputs of texts or pairs of texts, without targets.

    Raises:
        UsageError: the limits leave no room for text, or some inputs are single texts and some
            pairs.
    """
    paired = examples[0].b is not None
    for example in examples:
        if (example.b is not None) != paired:
            raise UsageError(
                f"{example.where}: this is a {'single text' if paired else 'pair of texts'}, "
                f"unlike {examples[0].where}; give one sort at a time."
            )
    pool = Pool(tokenizer)
    rows = np.zeros(len(examples), dtype=ROW)
    rows["example"] = np.arange(len(examples))
    rows["a_start"], rows["a_length"] = pool.add([example.a for example in examples])
    if paired:
        rows["b_start"], rows["b_length"] = pool.add([example.b or "" for example in examples])
    specials = 3 if paired else 2
    room = room_for_text(limits.max_length, specials=specials)
    text = rows["a_length"] + rows["b_length"]
    too_long = cut = text > room
    if limits.long_texts == "windows" and too_long.any():
        # Windows go over one text only.
        cut = too_long & (np.minimum(rows["a_length"], rows["b_length"]) > room // 2)
        rows = np.concatenate(
            [
                _slide(row, room, limits.stride, paired=paired) if long else np.array([row])
                for row, long in zip(rows, too_long, strict=True)
            ]
        )
    rows["a_length"], rows["b_length"] = fit_pair(rows["a_length"], rows["b_length"], room)
    return Features(
        pool.pieces_T,
        rows,
        paired,
        whole=text + specials,
        truncated=int(cut.sum()),
    )


def with_targets(features: Features, values: Integers | NDArray[np.float32]) -> Features:
    """With the target of each example, [N] or [N, C], given to each of its rows."""
    return replace(features, targets=values[features.rows["example"]])


def _slide(row: np.void, room: int, stride: int, *, paired: bool) -> NDArray[np.void]:
    """Windows over the longer text; of a pair, beside at most half the room of the shorter one."""
    over, beside = ("b", "a") if paired and row["b_length"] > row["a_length"] else ("a", "b")
    kept = min(int(row[f"{beside}_length"]), room // 2)
    spans = window_spans(int(row[f"{over}_length"]), room=room - kept, stride=stride)
    rows = np.repeat(np.array([row]), len(spans))
    rows[f"{beside}_length"] = kept
    rows[f"{over}_start"] += spans[:, 0]
    rows[f"{over}_length"] = spans[:, 1] - spans[:, 0]
    return rows
