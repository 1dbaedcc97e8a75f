import math

import pytest
import torch

from bertsmith.models.modules.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_its_share_and_scales_the_rest(p):
    torch.manual_seed(0)
    mask = keep_mask(torch.Size((1000, 301)), p, torch.float32)
    kept = mask != 0
    dropped = 1 - kept.double().mean().item()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / mask.numel()) + 1 / 65536
    assert torch.allclose(mask[kept], torch.tensor(1 / (1 - p)), rtol=2e-4)
    # neighbours are independent: both dropped p * p of the time
    pairs = (~kept[:, 1:] & ~kept[:, :-1]).double().mean().item()
    assert abs(pairs - p * p) < 5 * math.sqrt(p * p * (1 - p * p) / mask.numel()) + 1e-4


def test_a_share_next_to_one_is_finite():
    mask = keep_mask(torch.Size((1000,)), 1 - 1e-9, torch.float32)
    assert set(mask.tolist()) <= {0.0, 65536.0}


def test_manual_seed_decides_everything():
    dropout, hidden = Dropout(0.3).train(), torch.ones(64, 33)
    torch.manual_seed(4)
    first = [dropout(hidden), dropout(hidden)]
    torch.manual_seed(4)
    again = [dropout(hidden), dropout(hidden)]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])


def test_add_equals_dropout_then_sum_with_its_gradients():
    dropout = Dropout(0.4).train()
    hidden, residual = torch.randn(9, 7).requires_grad_(), torch.randn(9, 7).requires_grad_()
    torch.manual_seed(1)
    mask = dropout(torch.ones(9, 7))
    torch.manual_seed(1)
    added = dropout.add(hidden, residual)
    torch.testing.assert_close(added, residual + hidden * mask)
    added.square().sum().backward()
    torch.testing.assert_close(residual.grad, 2 * added.detach())
    torch.testing.assert_close(hidden.grad, 2 * added.detach() * mask)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9999])
def test_a_mask_in_half_precision_is_the_other_rounded(p):
    masks = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(2)
        masks[dtype] = keep_mask(torch.Size((31, 9)), p, dtype)
    assert masks[torch.bfloat16].dtype == torch.bfloat16
    assert torch.equal(masks[torch.bfloat16], masks[torch.float32].bfloat16())


def test_half_precision_is_added_to_a_residual_of_full():
    dropout = Dropout(0.4).train()
    hidden, residual = torch.randn(9, 7).bfloat16().requires_grad_(), torch.randn(9, 7)
    torch.manual_seed(1)
    mask = dropout(torch.ones(9, 7))
    torch.manual_seed(1)
    added = dropout.add(hidden, residual)
    torch.testing.assert_close(added, residual + hidden.detach().float() * mask)
    added.sum().backward()
    assert torch.equal(hidden.grad, mask.bfloat16())


def test_evaluation_and_zero_change_nothing():
    hidden = torch.randn(5, 5)
    assert Dropout(0.5).eval()(hidden) is hidden
    assert Dropout(0.0).train()(hidden) is hidden
    assert torch.equal(Dropout(0.5).eval().add(hidden, hidden), hidden + hidden)
