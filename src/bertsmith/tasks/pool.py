"""Texts encoded into one flat row of pieces, each once, and stretches gathered out of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.arrays import ranges
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Integers = NDArray[np.integer]


def gather(pieces_T: Integers, starts: Integers, lengths: Integers) -> Integers:
    """Many stretches of `pieces_T`, laid end to end."""
    gathered: Integers = pieces_T[ranges(starts, lengths)]
    return gathered


class Pool:
    """Texts encoded into one flat row."""

    def __init__(self, tokenizer: Tokenizer, *, placed: bool = False) -> None:
        self._tokenizer = tokenizer
        self._placed = placed
        self._parts: list[Integers] = []
        self._places: list[NDArray[np.int32]] = []
        self._size = 0

    def add(self, texts: Sequence[str], *, at_least_one: bool = False) -> tuple[Integers, Integers]:
        """Where each text's pieces start and how many there are.

        Args:
            texts: any texts.
            at_least_one: give a text that has no piece (control characters alone) an `[UNK]`.
        """
        if self._placed:
            ids_T, places_T2, lengths = self._tokenizer.encode_placed(texts)
            self._places.append(places_T2)
        else:
            ids_T, lengths = self._tokenizer.encode_flat(texts)
        added_T: Integers = ids_T
        if at_least_one and not lengths.all():
            empty = np.flatnonzero(lengths == 0)
            places = (np.cumsum(lengths) - lengths)[empty]
            added_T = np.insert(ids_T, places, self._tokenizer.unk_id)
            lengths = np.maximum(lengths, 1)
        starts = self._size + np.cumsum(lengths) - lengths
        self._parts.append(added_T)
        self._size += len(added_T)
        return starts, lengths

    @property
    def pieces_T(self) -> Integers:
        """All pieces so far."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def places_T2(self, start: int, length: int) -> NDArray[np.int32]:
        """Places of a stretch of pieces."""
        if len(self._places) > 1:
            self._places = [np.concatenate(self._places)]
        return self._places[0][start : start + length]
