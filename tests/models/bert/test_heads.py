"""The pre-training losses: right, and unmoved by how a batch is laid out."""

import math

import pytest
import torch
from torch.nn import functional

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.modules import vocabulary
from bertsmith.models.modules.packed import PretrainBatch, pack
from bertsmith.models.modules.vocabulary import projected_cross_entropy

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=40,
    initializer_range=0.2,
)


def example(seed: int, length: int) -> tuple[list[int], list[int], list[int], list[int], int]:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 50, (length,), generator=draw).tolist()
    places = sorted(torch.randperm(length, generator=draw)[: max(1, length // 6)].tolist())
    labels = torch.randint(5, 50, (len(places),), generator=draw).tolist()
    segments = [0] * (length // 2) + [1] * (length - length // 2)
    return ids, segments, places, labels, seed % 2


def batch_of(examples) -> PretrainBatch:
    masked, labels, start = [], [], 0
    for ids, _, places, right, _ in examples:
        masked += [start + place for place in places]
        labels += right
        start += len(ids)
    return PretrainBatch(
        pack([row[0] for row in examples], [row[1] for row in examples]),
        torch.tensor(masked),
        torch.tensor(labels),
        torch.tensor([row[4] for row in examples]),
    )


def model(dtype: torch.dtype = torch.float64) -> BertForPretraining:
    torch.manual_seed(0)
    return BertForPretraining(CONFIG).to(dtype).eval()


def total(model: BertForPretraining, batches: list[PretrainBatch]) -> tuple[float, list]:
    model.zero_grad()
    counts = {name: sum(batch.counts[name] for batch in batches) for name in ("mlm", "nsp")}
    value = 0.0
    for batch in batches:
        losses = model.losses(batch)
        loss = sum(losses[name] / counts[name] for name in counts)
        loss.backward()
        value += loss.item()
    return value, [parameter.grad.clone() for parameter in model.parameters()]


def assert_same(one: tuple[float, list], other: tuple[float, list]) -> None:
    # The loss is summed in fp32 whatever the model's type.
    assert math.isclose(one[0], other[0], rel_tol=1e-6)
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_loss_and_gradients_do_not_depend_on_packing_order_or_micro_batches():
    examples = [example(seed, length) for seed, length in enumerate([12, 30, 5, 12, 21, 40, 7, 1])]
    bert = model()
    whole = total(bert, [batch_of(examples)])
    assert_same(whole, total(bert, [batch_of(examples[::-1])]))
    by_length = sorted(examples, key=lambda row: -len(row[0]))
    assert_same(whole, total(bert, [batch_of(by_length)]))
    for cuts in ([3], [1, 2, 7], [4, 5, 6]):
        parts = [
            batch_of(examples[a:b]) for a, b in zip([0, *cuts], [*cuts, len(examples)], strict=True)
        ]
        assert_same(whole, total(bert, parts))


@pytest.mark.parametrize("rows", [(1, 1), (7, 21), (70, 70), (10**6, 10**6)])
@pytest.mark.parametrize("shared", [False, True])
def test_projected_cross_entropy_equals_pytorchs_for_any_strip_and_block(rows, shared, monkeypatch):
    monkeypatch.setattr(vocabulary, "_strip_and_block", lambda *_: rows)
    generator = torch.Generator().manual_seed(2)
    shapes = ((77, 6), (50, 6), (50,))
    values = [torch.randn(shape, generator=generator) * 2 for shape in shapes]
    labels = torch.randint(0, 50, (77,), generator=generator)
    ours = [value.clone().requires_grad_() for value in values]
    theirs = [value.clone().requires_grad_() for value in values]
    shares = torch.rand(77, generator=generator) if shared else None
    loss = projected_cross_entropy(*ours, labels, shares)
    each = functional.cross_entropy(functional.linear(*theirs), labels, reduction="none")
    expected = each.sum() if shares is None else each @ shares
    torch.testing.assert_close(loss, expected)
    (loss * 0.25).backward()
    (expected * 0.25).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_projected_cross_entropy_ends_at_the_smallest_probability():
    logits = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True)
    loss = projected_cross_entropy(logits, torch.eye(3), None, torch.tensor([0]))
    loss.backward()
    assert 87 < loss.item() < 88
    assert logits.grad.tolist() == [[-1.0, 1.0, 0.0]]


def test_projected_cross_entropy_of_nothing_has_gradients_of_zeros():
    hidden, word = torch.empty(0, 4, requires_grad=True), torch.eye(4, requires_grad=True)
    projected_cross_entropy(hidden, word, None, torch.empty(0, dtype=torch.int64)).backward()
    assert hidden.grad.shape == (0, 4)
    assert not word.grad.any()


def test_gradients_of_projected_cross_entropy_in_float64(monkeypatch):
    monkeypatch.setattr(vocabulary, "_strip_and_block", lambda *_: (2, 4))
    draw = torch.Generator().manual_seed(3)
    shapes = ((9, 4), (7, 4), (7,))
    values = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    labels = torch.randint(0, 7, (9,), generator=draw)
    loss = projected_cross_entropy(*values, labels)
    loss.backward()
    gradients = [value.grad for value in values]
    expected = functional.cross_entropy(functional.linear(*values), labels, reduction="sum")
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, values), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_projected_cross_entropy_in_half_precision_counts_no_filled_rows():
    generator = torch.Generator().manual_seed(2)
    values = [torch.randn(shape, generator=generator) for shape in ((45, 6), (50, 6), (50,))]
    labels = torch.randint(0, 50, (45,), generator=generator)
    ours = [value.clone().requires_grad_() for value in values]
    theirs = [value.clone().requires_grad_() for value in values]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = projected_cross_entropy(*ours, labels)
    expected = functional.cross_entropy(functional.linear(*theirs), labels, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=5e-3, atol=0)
    loss.backward()
    expected.backward()
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad.shape == b.grad.shape
        torch.testing.assert_close(a.grad, b.grad, rtol=0.05, atol=0.02)


def test_projected_cross_entropy_survives_huge_logits():
    hidden = torch.full((2, 4), 1e4).requires_grad_()
    word = torch.eye(4)[:3].contiguous()
    loss = projected_cross_entropy(hidden, word, torch.zeros(3), torch.tensor([0, 2]))
    loss.backward()
    assert math.isclose(loss.item(), 2 * math.log(3), rel_tol=1e-6)
    assert torch.isfinite(hidden.grad).all()


def test_evaluate_counts_losses_and_right_answers():
    bert = model(torch.float32)
    batch = batch_of([example(seed, 20) for seed in range(6)])
    scores = bert.evaluate(batch)
    losses = bert.losses(batch)
    assert math.isclose(scores["mlm"][0], losses["mlm"].item(), rel_tol=1e-5)
    assert math.isclose(scores["nsp"][0], losses["nsp"].item(), rel_tol=1e-5)
    hidden_TD = bert.bert(batch.packed)
    guesses = bert.logits(hidden_TD[batch.masked_P]).argmax(-1)
    assert scores["mlm"][1] == (guesses == batch.labels_P).sum().item()
    assert bert.evaluate(batch) == scores


def test_training_gives_every_parameter_a_finite_gradient():
    bert = BertForPretraining(CONFIG).train()
    batch = batch_of([example(seed, 24) for seed in range(4)])
    torch.stack(list(bert.losses(batch).values())).sum().backward()
    for name, parameter in bert.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_initial_weights_are_googles():
    bert = BertForPretraining(BertConfig(vocab_size=2000, hidden_size=128, num_attention_heads=2))
    weight = bert.bert.embeddings.word.weight
    assert weight.abs().max() <= 0.04
    assert abs(weight.std().item() - 0.0176) < 2e-4  # 0.02 cut at two deviations
    assert bert.bert.blocks[0].attention.qkv.bias.abs().max() == 0
    assert bert.bert.blocks[0].attention_norm.weight.min() == 1


def test_last_layer_at_chosen_rows_is_that_of_the_whole():
    bert = model(torch.float64)
    batch = batch_of([example(seed, 24) for seed in range(4)])
    rows_R = torch.tensor([30, 0, 47, 95, 30])
    whole_TD, chosen_RD = bert.bert(batch.packed), bert.bert(batch.packed, rows_R)
    torch.testing.assert_close(chosen_RD, whole_TD[rows_R], atol=1e-12, rtol=1e-12)
    first_BD, masked_PD = bert.hidden(batch.packed, batch.masked_P)
    torch.testing.assert_close(first_BD, whole_TD[[0, 24, 48, 72]], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(masked_PD, whole_TD[batch.masked_P], atol=1e-12, rtol=1e-12)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match="41 tokens; this model has positions for 40"):
        model().bert(pack([[6] * 41]))


def test_model_without_pair_task_has_no_pair_head():
    bert = BertForPretraining(CONFIG, pair_task=False)
    assert not any(name.startswith(("pooler", "next_sentence")) for name in bert.state_dict())
    packed = pack([[2, 7, 3]])
    with pytest.raises(ValueError, match="without a next-sentence head"):
        bert.pair_logits(bert.bert(packed, packed.firsts_B))
