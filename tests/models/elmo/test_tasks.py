"""ELMo's task networks: their formulas, what they see of pairs, and how a batch is laid out."""

import msgspec
import pytest
import torch
from heads import head_of
from torch import Tensor
from torch.nn import functional

from bertsmith.models.bert.tasks import TaskBatch, task_loss
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import ElmoForPretraining
from bertsmith.models.elmo.tasks import ElmoForTask, Padded, attend, pooled, taken_apart
from bertsmith.models.modules.packed import pack

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", "##a", "the", "##ing"]
LABELS = {
    "classification": ("no", "yes", "maybe"),
    "token-classification": ("O", "B-X", "I-X", "B-Y"),
}
CONFIG = ElmoConfig(
    vocab_size=len(PIECES),
    characters=8,
    char_width=4,
    filters=((1, 5), (2, 6)),
    highways=1,
    projection=4,
    lstm_width=6,
    dropout=0.0,
)
CASES: dict[str, tuple[str, bool]] = {
    "classification": ("classification", False),
    "classification of pairs": ("classification", True),
    "regression": ("regression", False),
    "regression on pairs": ("regression", True),
    "multiple-choice": ("multiple-choice", True),
    "token-classification": ("token-classification", False),
    "question-answering": ("question-answering", True),
}
# Pieces of the first and of the second text; some texts have none.
SIZES = [(4, 7), (9, 2), (0, 5), (6, 6), (3, 0), (2, 8)]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def new_model(case: str, *, tune: bool = True, dropout: float = 0.0) -> ElmoForTask:
    kind, paired = CASES[case]
    torch.manual_seed(0)
    model = ElmoForTask(
        CONFIG.with_dropout(dropout),
        PIECES,
        head_of(kind, frozen=not tune, paired=paired, labels=LABELS.get(kind, ())),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
    return model.double().eval()


def examples(paired: bool, seed: int = 1) -> list[tuple[list[int], list[int]]]:
    """Ids and segments of each input."""
    draw = torch.Generator().manual_seed(seed)

    def pieces(count: int) -> list[int]:
        return torch.randint(5, len(PIECES), (count,), generator=draw).tolist()

    rows = []
    for a, b in SIZES:
        if paired:
            rows.append(([2, *pieces(a), 3, *pieces(b), 3], [0] * (a + 2) + [1] * (b + 1)))
        else:
            rows.append(([2, *pieces(a + b), 3], [0] * (a + b + 2)))
    return rows


def batch_of(case: str, groups: list[int]) -> TaskBatch:
    """The given groups of the examples (`multiple-choice`: two each), with targets of their own."""
    kind, paired = CASES[case]
    group = 2 if kind == "multiple-choice" else 1
    rows = [group * number + place for number in groups for place in range(group)]
    everything = examples(paired)
    packed = pack([everything[row][0] for row in rows], [everything[row][1] for row in rows])
    match kind:
        case "classification":
            return TaskBatch(packed, torch.tensor([number % 3 for number in groups]))
        case "regression":
            return TaskBatch(packed, torch.tensor(groups, dtype=torch.float64))
        case "multiple-choice":
            targets = torch.tensor([number % 2 for number in groups])
            return TaskBatch(packed, targets, group=2)
        case "token-classification":
            words_P = ((packed.positions_T % 3 == 1) & (packed.ids_T != 3)).nonzero()[:, 0]
            return TaskBatch(packed, packed.ids_T[words_P] % 4, words_P=words_P)
        case _:
            # The first context token, or that there is no answer.
            starts = [SIZES[row][0] + 2 if SIZES[row][1] > row % 3 else 0 for row in rows]
            return TaskBatch(packed, torch.tensor([[start, start] for start in starts]))


def groups_of(case: str) -> list[int]:
    return list(range(3 if CASES[case][0] == "multiple-choice" else 6))


def outputs_by_group(case: str, batch: TaskBatch, outputs: Tensor) -> list[Tensor]:
    kind = CASES[case][0]
    lengths = batch.packed.lengths
    if kind == "question-answering":
        return list(outputs.split(lengths))
    if kind == "token-classification":
        counts = torch.searchsorted(batch.words_P, batch.packed.starts.long()).diff()
        return list(outputs.split(counts.tolist()))
    return list(outputs.split(batch.group))


@pytest.mark.parametrize("case", CASES)
def test_neighbours_order_and_cuts_change_no_output_loss_or_gradient(case):
    model, groups = new_model(case), groups_of(case)

    def asked(cuts: list[list[int]]) -> tuple[dict[int, Tensor], float, list[Tensor]]:
        model.zero_grad()
        found, total = {}, 0.0
        for numbers in cuts:
            batch = batch_of(case, numbers)
            outputs = outputs_by_group(case, batch, model.outputs(batch).detach())
            found |= dict(zip(numbers, outputs, strict=True))
            loss = model.losses(batch)["task"]
            loss.backward()
            total += loss.item()
        return found, total, [parameter.grad.clone() for parameter in model.parameters()]

    whole, loss, gradients = asked([groups])
    # All the same would show nothing.
    assert not torch.allclose(whole[0][:1], whole[1][:1], atol=1e-3)
    for cuts in ([[number] for number in groups], [groups[:0:-1], groups[:1]]):
        found, total, others = asked(cuts)
        for number in groups:
            torch.testing.assert_close(found[number], whole[number], rtol=1e-5, atol=1e-5)
        assert total == pytest.approx(loss, rel=1e-5)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_training_gives_every_parameter_a_finite_gradient(case):
    for tune in (True, False):
        model = new_model(case, tune=tune, dropout=0.3).train()
        batch = batch_of(case, groups_of(case))
        losses = model.losses(batch)
        assert losses.keys() == batch.counts.keys() == {"task"}
        losses["task"].backward()
        for name, parameter in model.named_parameters():
            learns = tune or not name.startswith("elmo.")
            assert parameter.requires_grad == learns, name
            assert (parameter.grad is not None) == learns, name
            assert not learns or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("case", CASES)
def test_training_drops_out_and_evaluation_does_not(case):
    model, batch = new_model(case, dropout=0.5), batch_of(case, groups_of(case))
    assert torch.equal(model.outputs(batch), model.outputs(batch))
    model.train()
    assert not torch.equal(model.outputs(batch), model.outputs(batch))


@pytest.mark.parametrize("case", CASES)
def test_under_autocast_outputs_are_the_same_to_its_precision(case):
    model, batch = new_model(case).float(), batch_of(case, groups_of(case))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.outputs(batch)
    assert found.dtype == (torch.float64 if model.head.is_number else torch.float32)
    assert (found == found.bfloat16()).float().mean() < 0.2  # Not rounded to bf16.
    torch.testing.assert_close(found, model.outputs(batch), rtol=0.1, atol=0.1)


def test_a_frozen_encoder_stays_as_it_is_while_the_network_learns():
    model = new_model("token-classification", tune=False, dropout=0.5)
    packed = batch_of("token-classification", [0, 1]).packed
    before = list(model.elmo.layers(packed))
    model.train()
    assert model.reader.training
    assert not any(module.training for module in model.elmo.modules())
    after = list(model.elmo.layers(packed))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert new_model("token-classification", tune=True).train().elmo.training


def alone(model: ElmoForTask, ids: list[int]) -> Tensor:
    """The first BiLSTM's states of one text, [L, D]."""
    layers = list(model.elmo.layers(pack([ids])))
    shares = model.mix.weights.exp() / model.mix.weights.exp().sum()
    mixed = model.mix.gamma * sum(
        share * layer for share, layer in zip(shares, layers, strict=True)
    )
    return model.reader.lstm(mixed[:, None])[0][:, 0]


def most_and_mean(states_LD: Tensor) -> Tensor:
    return torch.cat([states_LD.amax(0), states_LD.mean(0)])


def test_one_text_is_pooled_as_written_out():
    model = new_model("classification")
    found = model.outputs(batch_of("classification", [0, 1, 2]))
    for (ids, _), scores_C in zip(examples(paired=False)[:3], found, strict=True):
        hidden = torch.tanh(model.hidden(most_and_mean(alone(model, ids))))
        torch.testing.assert_close(scores_C, model.output(hidden).float())
    assert found.shape == (3, 3)


@pytest.mark.parametrize("case", ["classification of pairs", "multiple-choice"])
def test_pairs_are_compared_as_written_out(case):
    model, batch = new_model(case), batch_of(case, groups_of(case))
    found = model.outputs(batch)
    assert found.shape == (6, 3 if case == "classification of pairs" else 1)
    for (ids, segments), scores_C in zip(examples(paired=True), found, strict=True):
        cut = segments.index(1)
        a_KD, b_QD = alone(model, ids[:cut]), alone(model, [2, *ids[cut:]])
        parts = []
        for own, other in ((a_KD, b_QD), (b_QD, a_KD)):
            seen = torch.stack([functional.softmax(other @ row, 0) @ other for row in own])
            both = torch.cat([own, seen, own - seen, own * seen], 1)
            parts.append(most_and_mean(model.pair.compare(both).clamp(min=0)))
        hidden = torch.tanh(model.hidden(torch.cat(parts)))
        torch.testing.assert_close(scores_C, model.output(hidden).float())


def test_words_are_tagged_by_their_first_pieces_states():
    model, batch = new_model("token-classification"), batch_of("token-classification", [0, 1])
    states_TD = torch.cat([alone(model, ids) for ids, _ in examples(paired=False)[:2]])
    expected = model.output(states_TD[batch.words_P]).float()
    torch.testing.assert_close(model.outputs(batch), expected)


def test_answers_are_looked_for_as_written_out():
    model, batch = (
        new_model("question-answering"),
        batch_of("question-answering", groups_of("question-answering")),
    )
    found = model.outputs(batch).split(batch.packed.lengths)
    for (ids, segments), scores_L2 in zip(examples(paired=True), found, strict=True):
        cut = segments.index(1)
        q_QD, c_KD = alone(model, ids[:cut]), alone(model, [2, *ids[cut:]])
        alike_KQ = torch.stack(
            [
                torch.stack([model.question.similarity(torch.cat([c, q, c * q]))[0] for q in q_QD])
                for c in c_KD
            ]
        )
        seen_KD = alike_KQ.softmax(1) @ q_QD
        asked_D = alike_KQ.amax(1).softmax(0) @ c_KD
        beside = torch.cat([c_KD, seen_KD, c_KD * seen_KD, c_KD * asked_D], 1)
        states = model.spans.lstm(beside[:, None])[0][:, 0]
        scores = model.output(states).float()
        # The first is that of [CLS], the last that of [SEP].
        expected = torch.full((len(ids), 2), -1e4)
        expected[0], expected[cut:-1] = scores[0], scores[1:-1]
        torch.testing.assert_close(scores_L2, expected)
    # Where nothing is answered, nothing of the probability is.
    shares = found[0].softmax(0)
    assert shares[1:6].max() == 0
    assert shares[-1].max() == 0


def test_pairs_are_taken_apart_into_framed_texts():
    packed = pack([[2, 7, 3, 8, 9, 3], [2, 3, 5, 3]], [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1]])
    texts, places_S = taken_apart(packed)
    assert texts.ids_T.tolist() == [2, 7, 3, 2, 3, 2, 8, 9, 3, 2, 5, 3]
    assert texts.starts.tolist() == [0, 3, 5, 9, 12]
    assert texts.positions_T.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3, 0, 1, 2]
    assert texts.longest == 4
    assert places_S.tolist() == [0, 1, 2, 6, 7, 0, 3, 4, 5, 6, 8, 9]


def test_padding_takes_no_part():
    states_BLD = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]])
    text = Padded(states_BLD, torch.tensor([[True, True, False]]))
    assert pooled(text).tolist() == [[3.0, -2.0, 2.0, -3.0]]
    found = attend(torch.tensor([[[0.0, 0.0, 99.0]]]), text)
    assert found.tolist() == [[[2.0, -3.0]]]


def test_losses_are_those_of_bert_with_class_weights():
    model, batch = new_model("classification"), batch_of("classification", [0, 1, 2, 3])
    expected = task_loss(model.head, model.outputs(batch), batch, None)
    torch.testing.assert_close(model.losses(batch)["task"], expected)
    model.class_weights = torch.tensor([0.5, 1.0, 4.0])
    losses_B = functional.cross_entropy(model.outputs(batch), batch.targets, reduction="none")
    expected = (losses_B * model.class_weights[batch.targets]).sum()
    torch.testing.assert_close(model.losses(batch)["task"], expected)
    assert "class_weights" not in model.state_dict()


@pytest.mark.parametrize("case", CASES)
def test_its_keys_say_how_to_build_it_again(case):
    kind, paired = CASES[case]
    model = new_model(case, tune=False)
    keys = model.config_keys
    expected = head_of(kind, frozen=True, paired=paired).keys["bertsmith_task"]
    assert keys["bertsmith_task"] == expected
    # `transformers` has no class for it.
    assert "architectures" not in keys
    shape = msgspec.json.decode(msgspec.json.encode(keys | msgspec.structs.asdict(CONFIG)))
    assert ElmoConfig.from_keys(shape, "c") == CONFIG
    if kind in LABELS:
        assert keys["id2label"] == {str(n): name for n, name in enumerate(LABELS[kind])}
    again = ElmoForTask(CONFIG, PIECES, model.head)
    again.load_state_dict(model.state_dict())
    batch = batch_of(case, groups_of(case))
    torch.testing.assert_close(again.double().outputs(batch), model.outputs(batch))


def test_the_encoder_is_that_of_pretraining():
    pretrained = ElmoForPretraining(CONFIG, PIECES).state_dict()
    names = {name for name in pretrained if name.startswith("elmo.")}
    tuned = new_model("token-classification").state_dict()
    assert names == {name for name in tuned if name.startswith("elmo.")}
    assert all(pretrained[name].shape == tuned[name].shape for name in names)


def test_output_layers_are_drawn_as_berts():
    torch.manual_seed(0)
    model = ElmoForTask(
        CONFIG, PIECES, head_of("token-classification", labels=[str(n) for n in range(400)])
    )
    assert model.output.weight.abs().max() <= 0.04
    assert model.output.weight.std().item() == pytest.approx(0.0176, rel=0.03)
    assert model.output.bias.abs().max() == 0
