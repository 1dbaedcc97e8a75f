import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from bertsmith.core.runtime import World
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.model import Bert
from bertsmith.models.modules.linear import TILE, Linear, OutputLinear, linear, whole_tiles
from bertsmith.models.modules.packed import PretrainBatch, pack
from bertsmith.training.parallel.place import Place


def test_rows_are_filled_up_to_whole_tiles():
    rows = torch.arange(66.0).view(33, 2)
    filled = whole_tiles(rows, torch.bfloat16)
    assert (filled.shape, filled.dtype) == ((64, 2), torch.bfloat16)
    assert torch.equal(filled[:33], rows.bfloat16())
    assert not filled[33:].any()
    assert whole_tiles(filled) is filled


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 45])
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


def test_other_precisions_are_torchs_own():
    for dtype in (torch.float32, torch.float64):
        layer, x = Linear(6, 3).to(dtype), torch.randn(4, 6, dtype=dtype)
        expected = functional.linear(x, layer.weight, layer.bias)
        assert torch.equal(layer(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # It leaves float64 alone.
        assert torch.equal(layer(x), expected)


def test_an_output_layer_gives_fp32():
    torch.manual_seed(3)
    layer, states = OutputLinear(24, 2), torch.randn(9, 24).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(states)
    assert out.dtype == torch.float32
    assert torch.equal(out, functional.linear(states.float(), layer.weight, layer.bias))
    out.sum().backward()
    assert states.grad.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32


class Products(TorchDispatchMode):
    """Notes the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, int, int]] = set()

    def __torch_dispatch__(self, function, types, given=(), named=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            one, other = given[-2:]
            self.shapes.add((*one.shape, other.shape[1]))
        return function(*given, **(named or {}))


def test_pretraining_in_half_precision_is_close_and_meets_few_shapes():
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForPretraining(config)
    gradients, shapes = [], []
    for precision, last in (("fp32", 19), ("bf16", 19), ("bf16", 16)):
        lengths = [40, 40, 35, last]
        ids = torch.randint(5, 50, (sum(lengths),), generator=torch.Generator().manual_seed(3))
        masked = torch.arange(3, sum(lengths), 6)
        packed = pack([row.tolist() for row in ids.split(lengths)])
        batch = PretrainBatch(packed, masked, ids[masked], torch.tensor([0, 1, 0, 1]))
        model.zero_grad()
        with Products() as products, Place(World(), ids.device, precision).autocast():
            loss = torch.stack(list(model.losses(batch).values())).sum()
        with products:
            loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        shapes.append(products.shapes)
    assert gradients[1].dtype == torch.float32
    assert (gradients[1] - gradients[0]).norm() <= 0.02 * gradients[0].norm()
    # 134 and 131 tokens, 22 and 22 masked: the same products, all of whole tiles.
    assert shapes[1] == shapes[2]
    rows = {max(set(shape) - {50, 48, 16, 2}, default=TILE) for shape in shapes[1]}
    assert rows == {32, 160}
    assert {134} < {number for shape in shapes[0] for number in shape}


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
