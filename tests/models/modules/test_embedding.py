"""The table of word embeddings, whole and by rows."""

import pytest
import torch
from torch.nn import functional

from bertsmith.models.modules.embedding import WordEmbedding

IDS_U = torch.tensor([1, 2, 5, 7])


def made() -> tuple[WordEmbedding, torch.Tensor]:
    """A table of 9 pieces that trains four of them, and the table as it was."""
    torch.manual_seed(0)
    words = WordEmbedding(9, 3)
    before_VD = words.weight.detach().clone()
    words.train_only(IDS_U)
    return words, before_VD


def test_rows_are_those_of_the_table() -> None:
    words, before_VD = made()
    ids_T = torch.tensor([7, 1, 1, 5])
    assert words.weight.shape == (4, 3)
    assert torch.equal(words(ids_T), before_VD[ids_T])
    everything_T = torch.arange(9)
    assert torch.equal(words.eval()(everything_T), before_VD)


def test_a_piece_that_is_not_trained_is_a_mistake_in_training() -> None:
    words, _ = made()
    with pytest.raises(IndexError):
        words(torch.tensor([1, 3]))


def test_gradients_are_those_of_the_whole_table() -> None:
    words, before_VD = made()
    ids_T = torch.tensor([7, 1, 1, 5])
    goal_TD = torch.randn(4, 3)
    whole_VD = before_VD.clone().requires_grad_()
    (functional.embedding(ids_T, whole_VD) * goal_TD).sum().backward()
    (words(ids_T) * goal_TD).sum().backward()
    assert whole_VD.grad is not None
    assert words.weight.grad is not None
    assert torch.equal(words.weight.grad, whole_VD.grad[IDS_U])


def test_state_is_the_whole_table_with_what_was_trained() -> None:
    words, before_VD = made()
    with torch.no_grad():
        words.weight += 1
    state = words.state_dict()
    expected_VD = before_VD.clone()
    expected_VD[IDS_U] += 1
    assert list(state) == ["weight"]
    assert torch.equal(state["weight"], expected_VD)
    assert torch.equal(words.eval()(torch.arange(9)), expected_VD)


def test_what_is_saved_is_no_view_of_what_is_trained() -> None:
    words, _ = made()
    saved_VD = words.state_dict()["weight"]
    kept_VD = saved_VD.clone()
    with torch.no_grad():
        words.weight += 1
    assert torch.equal(saved_VD, kept_VD)
