"""GPT's task heads: arranged as the paper has it, equal to `transformers`, unmoved by layout."""

import msgspec
import pytest
import torch
from heads import head_of
from torch import Tensor, nn
from torch.nn import functional
from transformers import OpenAIGPTConfig, OpenAIGPTForSequenceClassification

from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.tasks import GptForTask
from bertsmith.models.modules import vocabulary
from bertsmith.models.modules.packed import pack
from bertsmith.models.parameters import to_ours, to_theirs

KINDS: tuple[str, ...] = (
    "classification",
    "regression",
    "multiple-choice",
    "token-classification",
    "question-answering",
)
LABELS = {
    "classification": ("no", "yes", "maybe"),
    "token-classification": ("O", "B-X", "I-X", "B-Y"),
}
CLS, SEP, EXTRACT = 2, 3, 4
CONFIG = GptConfig(
    vocab_size=31,
    n_positions=40,
    n_embd=32,
    n_layer=2,
    n_head=2,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
    initializer_range=0.3,
)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def new_model(kind: str, *, config: GptConfig = CONFIG, seed: int = 0, both_orders: bool = False):
    torch.manual_seed(seed)
    model = GptForTask(
        config,
        head_of(kind, labels=LABELS.get(kind, ()), extract_id=EXTRACT, both_orders=both_orders),
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


def new_pairs(lengths: list[tuple[int, int]], *, seed: int = 1):
    """Pairs of random texts of the given lengths, joined."""
    draw = torch.Generator().manual_seed(seed)
    ids, segments = [], []
    for a, b in lengths:
        words = torch.randint(5, 31, (a + b,), generator=draw).tolist()
        ids.append([CLS, *words[:a], SEP, *words[a:], SEP])
        segments.append([0] * (a + 2) + [1] * (b + 1))
    return ids, segments


def new_batch(kind: str, lengths: list[tuple[int, int]], *, chosen: list[int] | None = None):
    """Random pairs with random targets, or of such a batch the `chosen` pairs alone."""
    ids, segments = new_pairs(lengths)
    draw = torch.Generator().manual_seed(2)
    count, group = len(ids), 2 if kind == "multiple-choice" else 1
    rows = list(range(count)) if chosen is None else chosen
    packed = pack([ids[row] for row in rows], [segments[row] for row in rows])
    match kind:
        case "classification":
            targets = torch.randint(0, 3, (count,), generator=draw)[rows]
        case "regression":
            targets = torch.randn(count, generator=draw)[rows]
        case "multiple-choice":
            targets = torch.randint(0, 2, (count // 2,), generator=draw)[
                [row // 2 for row in rows[::2]]
            ]
        case "question-answering":
            spans_B2 = [torch.randint(0, len(row), (2,), generator=draw) for row in ids]
            targets = torch.stack([spans_B2[row] for row in rows])
        case _:
            # Every third token from the second on begins a word.
            tags = [torch.randint(0, 4, (len(row) // 3,), generator=draw) for row in ids]
            starts = packed.starts.tolist()
            words = [
                start + 1 + 3 * word
                for start, row in zip(starts, rows, strict=False)
                for word in range(len(tags[row]))
            ]
            words_P = torch.tensor(words)
            tags_P = torch.cat([tags[row] for row in rows])
            return TaskBatch(packed, tags_P, words_P=words_P, ends_P=words_P + 1)
    return TaskBatch(packed, targets, group=group)


PAIRS = [(4, 3), (15, 12), (2, 1), (4, 3), (8, 11), (1, 2), (6, 4), (9, 9)]


def test_inputs_end_with_the_extract_token():
    ids, segments = new_pairs([(3, 2), (1, 4)])
    single = [CLS, 9, 8, SEP]
    packed = pack([*ids, single], [*segments, [0] * 4])
    arranged = new_model("classification").arranged(packed)
    expected = [*ids[0][:-1], EXTRACT, *ids[1][:-1], EXTRACT, CLS, 9, 8, EXTRACT]
    assert arranged.ids_T.tolist() == expected
    assert arranged.starts.tolist() == [0, 8, 16, 20]
    assert packed.ids_T.tolist() == [*ids[0], *ids[1], *single]


def test_both_orders_come_after_each_other():
    ids, segments = new_pairs([(3, 2), (1, 4)])
    single = [CLS, 9, 8, SEP]
    packed = pack([*ids, single], [*segments, [0] * 4])
    arranged = new_model("regression", both_orders=True).arranged(packed)
    assert arranged.starts.tolist() == [0, 8, 16, 20, 28, 36, 40]
    assert arranged.positions_T.tolist() == 2 * packed.positions_T.tolist()
    rows = [row.tolist() for row in arranged.ids_T.split(arranged.lengths)]
    turned = [
        [CLS, *row[a + 2 : -1], SEP, *row[1 : a + 1], EXTRACT]
        for row, a in zip(ids, (3, 1), strict=True)
    ]
    assert rows == [
        *([*row[:-1], EXTRACT] for row in ids),
        [CLS, 9, 8, EXTRACT],
        *turned,
        [CLS, 9, 8, EXTRACT],
    ]


def test_two_texts_read_both_ways_have_no_first():
    ids, segments = new_pairs([(5, 2), (3, 3)])
    other = [
        [CLS, *row[a + 2 : -1], SEP, *row[1 : a + 1], SEP]
        for row, a in zip(ids, (5, 3), strict=True)
    ]
    lengths_a = (2, 3)
    turned = pack(
        other,
        [[0] * (a + 2) + [1] * (len(row) - a - 2) for row, a in zip(other, lengths_a, strict=True)],
    )
    straight = pack(ids, segments)
    model, plain = new_model("regression", both_orders=True), new_model("regression")
    one, two = (model.outputs(TaskBatch(packed, None)) for packed in (straight, turned))
    torch.testing.assert_close(one, two, **CLOSE)
    one_way, other_way = (plain.outputs(TaskBatch(packed, None)) for packed in (straight, turned))
    assert (one_way - other_way).abs().min() > 1e-3
    # The states are added, and the output layer is linear.
    torch.testing.assert_close(one, one_way + other_way, **CLOSE)


def test_only_pairs_have_two_orders():
    with pytest.raises(ValueError, match="both_orders is for pairs of texts, not for level token"):
        new_model("token-classification", both_orders=True)


def their_model(ours: GptForTask) -> OpenAIGPTForSequenceClassification:
    theirs = OpenAIGPTForSequenceClassification(
        OpenAIGPTConfig(**msgspec.structs.asdict(ours.config), **ours.config_keys, pad_token_id=0)
    )
    theirs.load_state_dict(to_theirs(ours.config, ours.state_dict()))
    return theirs.eval()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_scores_equal_those_of_transformers(kind):
    ours = new_model(kind)
    theirs = their_model(ours)
    batch = new_batch(kind, PAIRS)
    lengths = batch.packed.lengths
    real_BL = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids_BL = torch.zeros(real_BL.shape, dtype=torch.int64)
    ids_BL[real_BL] = ours.arranged(batch.packed).ids_T
    output = theirs(input_ids=ids_BL, attention_mask=real_BL.long(), labels=batch.targets)
    scores = ours.outputs(batch).float()
    torch.testing.assert_close(scores, output.logits, **CLOSE)
    if kind == "classification":
        loss = functional.cross_entropy(scores, batch.targets)
        assert theirs.config.id2label == dict(enumerate(LABELS[kind]))
    else:
        loss = functional.mse_loss(scores[:, 0], batch.targets)
    torch.testing.assert_close(loss, output.loss, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [5, 10**6])
def test_the_loss_is_the_tasks_and_half_the_language_models(kind, rows, monkeypatch):
    monkeypatch.setattr(vocabulary, "_strip_and_block", lambda *_: (rows, 2 * rows))
    model, batch = new_model(kind), new_batch(kind, PAIRS)
    scores, targets = model.outputs(batch), batch.targets
    texts = list(scores.split(batch.packed.lengths)) if kind == "question-answering" else []
    match kind:
        case "regression":
            task = functional.mse_loss(scores[:, 0], targets)
        case "multiple-choice":
            task = functional.cross_entropy(scores.view(-1, 2), targets)
        case "question-answering":
            losses = [
                functional.cross_entropy(row.T, t) for row, t in zip(texts, targets, strict=True)
            ]
            task = torch.stack(losses).mean()
        case _:
            task = functional.cross_entropy(scores, targets)

    arranged = model.arranged(batch.packed)
    language = []
    for ids in arranged.ids_T.split(arranged.lengths):
        logits_LV = model.gpt(pack([ids.tolist()])) @ model.gpt.embeddings.word.weight.T
        language.append(functional.cross_entropy(logits_LV[:-1], ids[1:]))
    weights = torch.ones(len(PAIRS))
    if kind == "token-classification":
        weights = torch.tensor([float(len(ids) // 3) for ids in new_pairs(PAIRS)[0]])
    auxiliary = (torch.stack(language) * weights).sum() / weights.sum()
    loss = model.losses(batch)["task"] / batch.counts["task"]
    # A regression's loss is summed in fp64.
    torch.testing.assert_close(loss.float(), (task + 0.5 * auxiliary).float(), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "both_orders"),
    [*((kind, False) for kind in KINDS), ("classification", True), ("regression", True)],
)
def test_neighbours_and_order_change_no_output_loss_or_gradient(kind, both_orders):
    model = new_model(kind, both_orders=both_orders)
    groups = (
        [[0, 1], [2, 3], [4, 5], [6, 7]] if kind == "multiple-choice" else [[n] for n in range(8)]
    )

    def parts(kind: str, batch: TaskBatch, outputs: Tensor) -> list[Tensor]:
        if kind == "question-answering":
            return list(outputs.split(batch.packed.lengths))
        if kind == "token-classification":
            return list(outputs.split([length // 3 for length in batch.packed.lengths]))
        return list(outputs.split(batch.group))

    def asked(cuts: list[list[int]]) -> tuple[dict[int, Tensor], float, list[Tensor]]:
        model.zero_grad()
        found, total = {}, 0.0
        for numbers in cuts:
            batch = new_batch(kind, PAIRS, chosen=[row for n in numbers for row in groups[n]])
            rows = parts(kind, batch, model.outputs(batch).detach())
            found |= dict(zip(numbers, rows, strict=True))
            loss = model.losses(batch)["task"]
            loss.backward()
            total += loss.item()
        return found, total, [parameter.grad.clone() for parameter in model.parameters()]

    order = list(range(len(groups)))
    whole, loss, gradients = asked([order])
    # All the same would show nothing.
    assert not torch.allclose(whole[0], whole[1][: len(whole[0])], atol=1e-3)
    for cuts in ([[n] for n in order], [order[::-1]], [order[2:], order[:2]]):
        found, total, others = asked(cuts)
        for number in order:
            torch.testing.assert_close(found[number], whole[number], **CLOSE)
        assert total == pytest.approx(loss, rel=1e-5)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_word_is_read_at_its_last_piece():
    ids = [[CLS, 9, 8, 7, 6, 5, SEP], [CLS, 9, 8, SEP], [CLS, 10, 11, 12, SEP]]
    packed = pack(ids)
    words_P, ends_P = torch.tensor([[1, 3, 4, 8, 12, 14], [2, 3, 5, 9, 13, 14]])
    model = new_model("token-classification")
    hidden_TD = model.gpt(model.arranged(packed))
    expected = model.classifier(hidden_TD[[2, 3, 5, 9, 13, 14]])
    found = model.outputs(TaskBatch(packed, None, words_P=words_P, ends_P=ends_P))
    torch.testing.assert_close(found, expected, **CLOSE)


def test_no_answer_is_read_where_everything_was():
    packed = pack([[CLS, 9, SEP, 7, 6, SEP], [CLS, 10, SEP, 12, SEP]])
    model = new_model("question-answering")
    scores_T2 = model.span(model.gpt(model.arranged(packed)))
    found = model.outputs(TaskBatch(packed, None))
    torch.testing.assert_close(found[[0, 6]], scores_T2[[5, 10]], **CLOSE)
    others = [1, 2, 3, 4, 5, 7, 8, 9, 10]
    torch.testing.assert_close(found[others], scores_T2[others], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_training_drops_out_and_every_parameter_learns(kind):
    model = new_model(kind, config=CONFIG.with_dropout(0.4))
    batch = new_batch(kind, PAIRS)
    assert torch.equal(model.outputs(batch), model.outputs(batch))
    model.train()
    assert not torch.equal(model.outputs(batch), model.outputs(batch))
    # Before the output layer too, but for spans, as in BERT's.
    model.gpt.eval()
    assert torch.equal(model.outputs(batch), model.outputs(batch)) == (kind == "question-answering")
    model.train().losses(batch)["task"].backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_class_weights_weigh_the_task_alone():
    model, batch = new_model("classification"), new_batch("classification", PAIRS)
    before = model.losses(batch)["task"]
    losses_B = functional.cross_entropy(model.outputs(batch), batch.targets, reduction="none")
    model.class_weights = torch.tensor([0.5, 1.0, 4.0])
    extra = (losses_B * (model.class_weights[batch.targets] - 1)).sum()
    assert abs(extra) > 0.1
    torch.testing.assert_close(model.losses(batch)["task"], before + extra, **CLOSE)
    assert "class_weights" not in model.state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_keys_go_there_and_back(kind):
    model = new_model(kind)
    theirs = to_theirs(model.config, model.state_dict())
    head = {"question-answering": {"qa_outputs.weight", "qa_outputs.bias"}}.get(
        kind, {"score.weight"}
    )
    assert {name for name in theirs if not name.startswith("transformer.")} == head
    back = to_ours(CONFIG, theirs, source="x")
    assert back.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back[name]), name
    keys = model.config_keys
    # `transformers` has a GPT that gives a text classes or a number, and no other.
    has_it = kind in ("classification", "regression")
    name = "OpenAIGPTForSequenceClassification" if has_it else "OpenAIGPTModel"
    assert keys["architectures"] == [name]
    assert keys["bertsmith_task"] == head_of(kind, extract_id=EXTRACT).keys["bertsmith_task"]
    names = LABELS.get(kind, ("score",) if kind == "regression" else ())
    assert keys.get("id2label", {}) == {str(n): name for n, name in enumerate(names)}
    shape = msgspec.structs.asdict(CONFIG)
    assert GptConfig.from_keys({"model_type": "openai-gpt"} | keys | shape, "x") == CONFIG


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_not_rounded_to_half_precision(kind):
    model, batch = new_model(kind), new_batch(kind, [(3, 5), (9, 2), (7, 7), (12, 4)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model.outputs(batch)
    assert scores.dtype == (torch.float64 if kind == "regression" else torch.float32)
    assert (scores == scores.bfloat16()).float().mean() < 0.2
