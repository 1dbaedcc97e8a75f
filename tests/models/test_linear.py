import pytest
import torch
from torch import nn
from torch.nn import functional

from bertsmith.models.bert import Bert
from bertsmith.models.linear import Linear, linear, whole_tiles
from bertsmith.models.packed import pack
from bertsmith.shapes import BertConfig


def test_rows_are_filled_up_to_whole_tiles():
    rows = torch.arange(66.0).view(33, 2)
    filled = whole_tiles(rows, torch.bfloat16)
    assert (filled.shape, filled.dtype) == ((64, 2), torch.bfloat16)
    assert torch.equal(filled[:33], rows.bfloat16())
    assert not filled[33:].any()
    assert whole_tiles(filled) is filled


@pytest.mark.parametrize("rows", [1, 31, 32, 45])
@pytest.mark.parametrize("bias", [True, False])
def test_in_half_precision_it_is_what_autocast_computes(rows, bias):
    torch.manual_seed(3)
    ours = Linear(24, 8, bias=bias)
    theirs = nn.Linear(24, 8, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x, weights = torch.randn(rows, 24), torch.randn(rows, 8)
    results = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = layer(given)
        (out.float() * weights).sum().backward()
        found = {"out": out, "x": given.grad}
        results.append(found | {name: p.grad for name, p in layer.named_parameters()})
    for name, expected in results[1].items():
        assert results[0][name].dtype == expected.dtype
        torch.testing.assert_close(results[0][name], expected, rtol=1e-2, atol=1e-2)


def test_dimensions_before_the_last_stay():
    x, weight = torch.randn(2, 5, 6), torch.randn(3, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = linear(x, weight)
    assert (out.shape, out.dtype) == ((2, 5, 3), torch.bfloat16)
    torch.testing.assert_close(out.float(), functional.linear(x, weight), rtol=0.05, atol=0.05)


def test_in_full_precision_it_is_torchs_own():
    layer, x = Linear(6, 3), torch.randn(4, 6)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


def test_an_encoder_in_half_precision_gives_the_states_of_its_tokens_and_of_no_filled_rows():
    torch.manual_seed(1)
    bert = Bert(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=40,
        )
    ).eval()
    packed = pack([[1] + [7] * 19, [1, 8, 9], [1, 8, 9]])
    rows = torch.tensor([0, 20, 25])
    exact = list(bert.layers(packed))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = list(bert.layers(packed))
        chosen = bert(packed, rows)
    assert [len(states) for states in half] == [26, 26, 26]
    for one, other in zip(half, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=0.03, atol=0.03)
    torch.testing.assert_close(chosen, half[-1][rows], rtol=0.03, atol=0.03)
