"""From a model's outputs to probabilities.

The outputs of a task are one array: of a text [R, C] scores of every row of the features, of
choices [R, 1], of words [W, C] for every word, of spans [T, 2] start and end scores of every token
of every row, laid end to end.
"""

import numpy as np
from numpy.typing import NDArray

from bertsmith.tasks.features import Features

Outputs = NDArray[np.float32] | NDArray[np.float64]


def averaged(features: Features, outputs: Outputs) -> NDArray[np.float64]:
    """Scores of each example: the mean over its windows."""
    example_of = features.rows["example"]
    counts = np.bincount(example_of)
    totals = np.zeros((len(counts), outputs.shape[1]))
    np.add.at(totals, example_of, outputs)
    mean: NDArray[np.float64] = totals / counts[:, None]
    return mean


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares along the last axis."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(-1, keepdims=True)
    return shares
