"""Which class was taken for which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.tasks.metric import Row, row


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> NDArray[np.int64]:
    """How many examples of each class (rows) were given each class (columns) [C, C]."""
    counts_CC = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts_CC, (np.asarray(gold), np.asarray(predicted)), 1)
    return counts_CC


def per_class(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> list[Row]:
    """A row for each class, in the classes' order."""
    counts_CC = confusion(gold, predicted, classes)
    columns = counts_CC.diagonal(), counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    return [row(*cells) for cells in zip(classes, *columns, strict=True)]
