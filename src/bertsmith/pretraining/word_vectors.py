"""Word vectors by counting: singular vectors of the PPMI matrix (Levy and Goldberg 2014).

Pieces with the same neighbours get similar vectors. Ten seconds of counting replace what a language
model learns from its first millions of tokens; `initial_weights` uses them.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_WINDOW = 5
"""Neighbours on each side; a neighbour at distance d counts 1 / d."""
_CONTEXTS = 4096
"""Number of most frequent pieces that count as neighbours."""
_TABLE_BYTES = 512 * 2**20
"""Memory limit of the count table; vocabularies beyond 32,768 pieces get fewer contexts."""
_SMOOTHING = 0.75
"""Exponent of the neighbours' frequencies, which limits rare ones (Levy et al. 2015)."""
_SPARE = 20
"""Oversampling of the randomised SVD (Halko et al. 2011)."""
_ITERATIONS = 3


def word_vectors(
    texts: Iterable[NDArray[np.integer]], *, vocab_size: int, rank: int
) -> NDArray[np.float32]:
    """Vectors of pieces by their neighbours in a text.

    Args:
        texts: ids of running text, int [T] each; neighbours are counted within one array.
        vocab_size: V.
        rank: length of a vector; at most min(V, 4096) elements are not 0.

    Returns:
        float32 [V, rank]: left singular vectors of the PPMI matrix times the fourth root of their
        singular values, strongest direction first, with mean 0 over the pieces that occur. Rows of
        pieces that do not occur are 0. Deterministic.
    """
    counts_VC, frequencies_V = _neighbour_counts(texts, vocab_size)
    vectors = np.zeros((vocab_size, rank), dtype=np.float32)
    occurs_V = frequencies_V > 0
    if not occurs_V.any():
        return vectors
    ppmi_VC = _ppmi(counts_VC)
    left, values = _singular_vectors(ppmi_VC, min(rank, *ppmi_VC.shape))
    found = left * values**0.25
    found -= found[occurs_V].mean(0)
    found[~occurs_V] = 0
    vectors[:, : found.shape[1]] = found
    return vectors


def _neighbour_counts(
    texts: Iterable[NDArray[np.integer]], vocab_size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Weighted counts [V, C] of frequent neighbours of every piece, and counts of pieces [V]."""
    texts = list(texts)
    frequencies_V = np.zeros(vocab_size, dtype=np.int64)
    for ids_T in texts:
        frequencies_V += np.bincount(ids_T, minlength=vocab_size)
    most = min(_CONTEXTS, _TABLE_BYTES // (4 * vocab_size))
    contexts = np.argsort(-frequencies_V, kind="stable")[:most]
    column_V = np.full(vocab_size, -1, dtype=np.int64)
    column_V[contexts] = np.arange(len(contexts))
    counts = np.zeros(vocab_size * len(contexts), dtype=np.float32)
    for ids_T in texts:
        rows_T = ids_T.astype(np.int64)
        columns_T = column_V[rows_T]
        rows_T *= len(contexts)
        for distance in range(1, min(_WINDOW, len(ids_T) - 1) + 1):
            weight = np.float32(1 / distance)
            for rows, columns in (
                (rows_T[distance:], columns_T[:-distance]),
                (rows_T[:-distance], columns_T[distance:]),
            ):
                np.add.at(counts, (rows + columns)[columns >= 0], weight)
    return counts.reshape(vocab_size, -1), frequencies_V


def _ppmi(counts_VC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positive pointwise mutual information, in place of the counts."""
    totals_V = counts_VC.sum(1)
    contexts_C = counts_VC.sum(0) ** np.float32(_SMOOTHING)
    contexts_C /= max(contexts_C.sum(), np.float32(1e-30))
    with np.errstate(divide="ignore"):  # log 0 is -inf, which the maximum makes 0.
        for row, total in zip(counts_VC, totals_V, strict=True):
            if total:
                np.log(np.divide(row, total * contexts_C, out=row, where=contexts_C > 0), out=row)
    return np.maximum(counts_VC, 0, out=counts_VC)


def _singular_vectors(
    matrix: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first `rank` left singular vectors and singular values, by subspace iteration."""
    width = min(rank + _SPARE, *matrix.shape)
    basis = np.random.default_rng(0).standard_normal((matrix.shape[1], width), dtype=np.float32)
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(matrix @ basis)
        basis, _ = np.linalg.qr(matrix.T @ basis)
    left, values, _ = np.linalg.svd(matrix @ basis, full_matrices=False)
    # The sign of a singular vector is arbitrary; fixed, so that libraries agree.
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    return (left * signs)[:, :rank], values[:rank]
