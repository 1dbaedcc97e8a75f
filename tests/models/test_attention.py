import pytest
import torch

from bertsmith.models import attention as module
from bertsmith.models.attention import Group, attention, length_groups, padded
from bertsmith.models.dropout import Dropout
from bertsmith.models.packed import pack

HEADS, WIDTH = 3, 8


def random_qkv(tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(tokens, 3, HEADS, WIDTH, generator=generator, dtype=torch.float64)


def shapes(lengths: list[int]) -> list[tuple[int, int, int, int]]:
    return [(one.start, one.sequences, one.length, one.tokens) for one in length_groups(lengths)]


def test_groups_are_runs_of_equal_length():
    assert shapes([9, 9, 9, 9, 2, 2, 2, 2]) == [(0, 4, 9, 36), (36, 4, 2, 8)]
    assert shapes([200, 199, 200]) == [(0, 1, 200, 200), (200, 1, 199, 199), (399, 1, 200, 200)]
    assert all(group.real_BL is None for group in length_groups([9, 9, 9, 9, 2, 300]))
    assert Group(8, 3, 2, 6).rows == slice(8, 14)


def test_small_groups_of_short_sequences_are_padded_to_one():
    [joined, rest] = length_groups([10, 9, 9, 5, 3])
    assert (joined.start, joined.sequences, joined.length, joined.tokens) == (0, 4, 10, 33)
    assert joined.real_BL.sum(1).tolist() == [10, 9, 9, 5]
    assert (rest.start, rest.length, rest.real_BL) == (33, 3, None)
    # Nothing joins a run that is large enough by itself.
    assert shapes([10, 10, 10, 10, 9]) == [(0, 4, 10, 40), (40, 1, 9, 9)]


@pytest.mark.parametrize(
    "lengths", [[1], [7, 7, 7], [3, 9, 1, 1, 4], [40, 40, 12], [11, 9, 9, 6, 5, 5, 5, 5, 4]]
)
@pytest.mark.parametrize("dense_length", [0, 20, 1000])
def test_every_cpu_path_equals_the_padded_reference(lengths, dense_length, monkeypatch):
    monkeypatch.setattr(module, "_DENSE_LENGTH", dense_length)
    packed = pack([[1] * length for length in lengths])
    results = []
    for run in (
        lambda qkv: attention(qkv, packed, Dropout(0.1).eval(), length_groups(lengths)),
        lambda qkv: padded(qkv, packed, Dropout(0.1).eval()),
    ):
        qkv = random_qkv(sum(lengths)).requires_grad_()
        out_TD = run(qkv)
        weights = torch.arange(out_TD.numel(), dtype=torch.float64).view_as(out_TD).cos()
        (out_TD * weights).sum().backward()
        results.append((out_TD, qkv.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)


def test_gradients_with_dropout_equal_finite_differences():
    lengths = [4, 4, 3]
    packed = pack([[1] * length for length in lengths])
    dropout = Dropout(0.4).train()

    def run(qkv: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(11)  # the same masks at every evaluation
        return attention(qkv, packed, dropout, length_groups(lengths))

    assert torch.autograd.gradcheck(run, random_qkv(11).requires_grad_())
    assert not torch.equal(run(random_qkv(11)), padded(random_qkv(11), packed, dropout.eval()))


def test_sequences_never_see_each_other():
    lengths = [5, 5, 6]
    packed = pack([[1] * length for length in lengths])
    qkv = random_qkv(16)
    before = attention(qkv, packed, Dropout(0.0), length_groups(lengths))
    qkv[5:10] += 3.0
    after = attention(qkv, packed, Dropout(0.0), length_groups(lengths))
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[10:], after[10:])
    assert not torch.equal(before[5:10], after[5:10])
