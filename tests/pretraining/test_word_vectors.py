"""Word vectors by counting neighbours."""

import numpy as np
import pytest

from bertsmith.pretraining import word_vectors as module
from bertsmith.pretraining.word_vectors import word_vectors


def two_topics(length: int = 20_000) -> list[np.ndarray]:
    """Two texts: one of the ids 0 to 9, one of 10 to 19; id 20 is never there."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 10, length), rng.integers(10, 20, length)]


def cosines(vectors: np.ndarray) -> np.ndarray:
    rows = vectors[:20] / np.linalg.norm(vectors[:20], axis=1, keepdims=True)
    return np.asarray(rows @ rows.T)


def test_pieces_among_the_same_neighbours_are_alike() -> None:
    vectors_VR = word_vectors(two_topics(), vocab_size=21, rank=4)
    assert vectors_VR.shape == (21, 4)
    assert vectors_VR.dtype == np.float32
    similar = cosines(vectors_VR[:, :1])
    assert similar[:10, :10].min() > 0.99
    assert similar[:10, 10:].max() < -0.99


def test_the_mean_is_zero_and_unseen_pieces_have_no_vector() -> None:
    vectors_VR = word_vectors(two_topics(), vocab_size=21, rank=4)
    np.testing.assert_allclose(vectors_VR.mean(0), 0, atol=1e-6)
    assert not vectors_VR[20].any()


def test_counts_are_those_of_a_plain_count() -> None:
    ids = np.array([3, 1, 2, 3, 3, 0, 1], dtype=np.uint16)
    counts_VC, frequencies_V = module._neighbour_counts([ids], 5)
    expected = np.zeros((5, 5))
    for i, left in enumerate(ids):
        for j, right in enumerate(ids):
            if i != j and abs(i - j) <= 5:
                expected[left, right] += 1 / abs(i - j)
    order = np.argsort(-frequencies_V, kind="stable")
    assert frequencies_V.tolist() == [1, 2, 1, 3, 0]
    np.testing.assert_allclose(counts_VC, expected[:, order], rtol=1e-6)


def test_ppmi_is_the_logarithm_of_how_much_oftener_than_by_chance() -> None:
    counts = np.array([[4, 0], [1, 3]], dtype=np.float32)
    contexts = np.array([5, 3]) ** 0.75
    chance = np.array([[4], [4]]) * contexts / contexts.sum()
    with np.errstate(divide="ignore"):
        expected = np.maximum(np.log(counts / chance), 0)
    np.testing.assert_allclose(module._ppmi(counts.copy()), expected, rtol=1e-5)


def test_singular_vectors_are_those_of_a_full_decomposition() -> None:
    rng = np.random.default_rng(1)
    matrix = (rng.normal(size=(60, 8)) * 2.0 ** -np.arange(8)) @ rng.normal(size=(8, 50))
    left, values = module._singular_vectors(matrix.astype(np.float32), 4)
    exact_left, exact, _ = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(values, exact[:4], rtol=1e-4)
    assert np.abs((left * exact_left[:, :4]).sum(0)).min() > 0.9999


@pytest.mark.parametrize("rank", [3, 50])
def test_a_rank_beyond_the_vocabulary_is_filled_with_zeros(rank: int) -> None:
    vectors_VR = word_vectors(two_topics(500), vocab_size=21, rank=rank)
    assert vectors_VR.shape == (21, rank)
    assert np.isfinite(vectors_VR).all()
    assert not vectors_VR[:, 21:].any()


@pytest.mark.parametrize("texts", [[], [np.array([], dtype=np.int64)], [np.array([3])]])
def test_too_little_text_gives_no_direction(texts: list[np.ndarray]) -> None:
    vectors_VR = word_vectors(texts, vocab_size=5, rank=2)
    assert np.isfinite(vectors_VR).all()
    assert np.abs(vectors_VR).max() < 1e-3
