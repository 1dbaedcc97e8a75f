import inspect

import pytest
import torch

from bertsmith.models.modules import attention as module
from bertsmith.models.modules.attention import (
    Past,
    attend_to_past,
    attention,
    length_groups,
    padded,
)
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.packed import pack

HEADS, WIDTH = 3, 8


def random_qkv(tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(tokens, 3, HEADS, WIDTH, generator=generator, dtype=torch.float64)


def shapes(lengths: list[int]) -> list[tuple[int, int, int]]:
    return [(one.sequences, one.length, one.tokens) for one in length_groups(lengths)]


def test_groups_are_runs_of_like_length():
    assert shapes([32, 32, 32, 32, 16, 16, 16, 16]) == [(4, 32, 128), (4, 16, 64)]
    assert all(group.real_BL is None for group in length_groups([32, 32, 32, 32, 200, 200]))
    # Beyond 128 tokens a group of one length is taken as it is, of several is padded.
    assert shapes([200, 200, 130]) == [(2, 200, 400), (1, 130, 130)]
    assert shapes([200, 199, 195]) == [(3, 208, 594)]


def test_groups_of_unlike_or_short_lengths_are_padded():
    [group] = length_groups([4, 3, 3])
    assert (group.sequences, group.length, group.tokens) == (3, 16, 10)
    assert group.real_BL.sum(1).tolist() == [4, 3, 3]
    padded_KBNL, rows_TKN = group.rows(1, 1)
    assert rows_TKN.tolist() == [0, 1, 2, 3, 16, 17, 18, 32, 33, 34]
    tokens = [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]  # Padding has the last of its own sequence.
    assert padded_KBNL.view(3, 16).tolist() == [row + row[-1:] * (16 - len(row)) for row in tokens]
    padded_KBNL, rows_TKN = group.rows(3, 2)
    there_and_back = padded_KBNL[rows_TKN]
    assert there_and_back.tolist() == list(range(10 * 3 * 2))


def test_small_groups_of_short_sequences_are_joined():
    assert shapes([40, 30, 17, 16, 9]) == [(3, 48, 87), (2, 16, 25)]
    # Nothing joins a run that is large enough by itself.
    assert shapes([32, 31, 30, 29, 16]) == [(4, 32, 122), (1, 16, 16)]


@pytest.mark.parametrize(
    "lengths", [[1], [16, 16], [3, 9, 1, 1, 4], [40, 40, 12], [150, 150, 145, 33, 29, 5, 5, 4]]
)
@pytest.mark.parametrize("dense_length", [0, 20, 1000])
@pytest.mark.parametrize("causal", [False, True])
def test_every_cpu_path_equals_the_padded_reference(lengths, dense_length, causal, monkeypatch):
    monkeypatch.setattr(module, "_DENSE_LENGTH", dense_length)
    packed = pack([[1] * length for length in lengths])
    results = []
    for run in (
        lambda qkv: attention(
            qkv, packed, Dropout(0.1).eval(), length_groups(lengths), causal=causal
        ),
        lambda qkv: padded(qkv, packed, Dropout(0.1).eval(), causal=causal),
    ):
        qkv = random_qkv(sum(lengths)).requires_grad_()
        out_TD = run(qkv)
        weights = torch.arange(out_TD.numel(), dtype=torch.float64).view_as(out_TD).cos()
        (out_TD * weights).sum().backward()
        results.append((out_TD, qkv.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_the_padded_reference_is_the_formula(causal):
    lengths = [5, 1, 3]
    packed, qkv = pack([[1] * length for length in lengths]), random_qkv(9)
    expected = []
    for one in qkv.split(lengths):
        q, k, v = one.transpose(0, 2).unbind(1)  # [N, L, H]
        scores = q @ k.mT / WIDTH**0.5
        if causal:
            for row in range(len(one)):
                scores[:, row, row + 1 :] = -torch.inf
        expected.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    found = padded(qkv, packed, Dropout(0.0), causal=causal)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [[4, 4, 3], [4, 4, 4, 4, 3]])
def test_gradients_with_dropout_equal_finite_differences(lengths, causal):
    packed = pack([[1] * length for length in lengths])
    dropout = Dropout(0.4).train()

    def run(qkv: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(11)  # the same masks at every evaluation
        return attention(qkv, packed, dropout, length_groups(lengths), causal=causal)

    qkv = random_qkv(sum(lengths))
    assert torch.autograd.gradcheck(run, qkv.clone().requires_grad_(), fast_mode=True)
    assert not torch.equal(run(qkv), padded(qkv, packed, dropout.eval(), causal=causal))


@pytest.mark.parametrize("lengths", [[6, 6], [6, 5], [6, 6, 6, 6, 4]])
def test_with_dropout_too_a_causal_token_sees_none_that_follows(lengths):
    packed, dropout = pack([[1] * length for length in lengths]), Dropout(0.4).train()

    def run(qkv: torch.Tensor, *, causal: bool) -> torch.Tensor:
        torch.manual_seed(11)  # the same masks
        return attention(qkv, packed, dropout, length_groups(lengths), causal=causal)

    qkv = random_qkv(sum(lengths))
    changed = qkv.clone()
    changed[4:6] += 3.0
    for causal in (True, False):
        same_T = (run(qkv, causal=causal) == run(changed, causal=causal)).all(1)
        assert same_T[6:].all()
        assert same_T[:4].tolist() == [causal] * 4
        assert not same_T[4:6].any()


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


@pytest.mark.parametrize("cuts", [[11], [1] * 11, [5, 1, 4, 1]])
def test_attention_to_the_past_is_that_of_the_whole(cuts):
    qkv = random_qkv(11)
    whole = padded(qkv, pack([[1] * 11]), Dropout(0.0), causal=True)
    past = Past(torch.full((2, 20, HEADS, WIDTH), torch.nan, dtype=qkv.dtype))
    found = torch.cat([attend_to_past(part, past) for part in qkv.split(cuts)])
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
    assert past.tokens == 11


@pytest.mark.parametrize("causal", [False, True])
def test_the_cuda_kernel_is_asked_as_it_wants_to_be(causal, monkeypatch):
    """Without the hardware: its call binds to its signature, and it is told what is causal."""
    signature = inspect.signature(module.varlen_attn)
    asked = {}

    def kernel(*arguments, **options):
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        asked.update(bound.arguments)
        return bound.arguments["query"]

    monkeypatch.setattr(module, "varlen_attn", kernel)
    packed, qkv = pack([[1] * 4, [1] * 3]), random_qkv(7)
    out = module._variable_length(qkv, packed, causal)
    assert torch.equal(out, qkv[:, 0].flatten(1))
    assert asked["cu_seq_q"].tolist() == asked["cu_seq_k"].tolist() == [0, 4, 7]
    assert (asked["max_q"], asked["max_k"]) == (4, 4)
    # The kernel's own way to say: everything to the left, nothing to the right.
    assert asked["window_size"] == ((-1, 0) if causal else (-1, -1))


@pytest.mark.parametrize("lengths", [[32, 32], [48, 40], [7], [40, 33, 5, 5], [300, 290]])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.2])
def test_half_precision_is_close_and_rows_beyond_the_last_token_cost_nothing(lengths, causal, p):
    packed, tokens = pack([[1] * length for length in lengths]), sum(lengths)
    dropout, groups = Dropout(p).train(), length_groups(lengths)
    exact = random_qkv(tokens).requires_grad_()
    half = torch.cat([exact.detach(), torch.full((5, 3, HEADS, WIDTH), 9.0)]).bfloat16()
    half.requires_grad_()
    torch.manual_seed(11)  # The same masks.
    expected = attention(exact, packed, dropout, groups, causal=causal)
    torch.manual_seed(11)
    found = attention(half, packed, dropout, groups, causal=causal)
    assert (found.shape, found.dtype) == ((tokens + 5, HEADS * WIDTH), torch.bfloat16)
    torch.testing.assert_close(found[:tokens].double(), expected, rtol=0.05, atol=0.05)
    found[:tokens].float().cos().sum().backward()
    expected.cos().sum().backward()
    torch.testing.assert_close(half.grad[:tokens].double(), exact.grad, rtol=0.05, atol=0.05)
    assert not half.grad[tokens:].any()
