"""Task heads: equal to those of `transformers`, unmoved by how a batch is laid out; folders."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from heads import head_of
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from transformers import BertConfig as TheirConfig

from bertsmith.checkpoints.folder import (
    load_any,
    load_encoder,
    load_pretraining,
    load_task,
    save_model,
)
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.model import Bert
from bertsmith.models.bert.tasks import ARCHITECTURES, BertForTask, TaskBatch
from bertsmith.models.head_config import FeatureBased
from bertsmith.models.modules.packed import pack
from bertsmith.models.parameters import to_theirs
from bertsmith.text.tokenizer.tokenizer import Tokenizer

VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz")
KINDS: tuple[str, ...] = (
    "classification",
    "regression",
    "multiple-choice",
    "token-classification",
    "question-answering",
)
PEERS = {
    "classification": BertForSequenceClassification,
    "regression": BertForSequenceClassification,
    "multiple-choice": BertForMultipleChoice,
    "token-classification": BertForTokenClassification,
    "question-answering": BertForQuestionAnswering,
}
LABELS = {
    "classification": ("no", "yes", "maybe"),
    "token-classification": ("O", "B-X", "I-X", "B-Y"),
}
SHAPE = {
    "vocab_size": len(VOCAB),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.3,
}
CONFIG = BertConfig(**SHAPE)
DROPPING = BertConfig(**(SHAPE | {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}))
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def new_model(kind: str, *, config: BertConfig = CONFIG, features=None, seed: int = 0):
    torch.manual_seed(seed)
    model = BertForTask(
        config, head_of(kind, labels=LABELS.get(kind, ()), features=features)
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


def new_batch(kind: str, lengths: list[int], *, seed: int = 1, group: int = 2) -> TaskBatch:
    """Random rows with random targets; every third token from the second on is a word to tag."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=draw)

    ids = [[2, *(numbers(26, length - 1) + 5).tolist()] for length in lengths]
    packed = pack(ids, [(torch.arange(length) > length // 2).long().tolist() for length in lengths])
    count = len(lengths)
    match kind:
        case "classification":
            return TaskBatch(packed, numbers(3, count))
        case "regression":
            return TaskBatch(packed, torch.randn(count, generator=draw))
        case "multiple-choice":
            return TaskBatch(packed, numbers(group, count // group), group=group)
        case "token-classification":
            words_P = torch.nonzero(packed.positions_T % 3 == 1)[:, 0]
            return TaskBatch(packed, numbers(4, len(words_P)), words_P=words_P)
        case _:
            targets_B2 = torch.stack([numbers(length, 2) for length in lengths])
            return TaskBatch(packed, targets_B2)


def parts_of(batch: TaskBatch, groups: list[int]) -> TaskBatch:
    """The given groups of a batch's rows, in the given order, as a batch of their own."""
    starts, group = batch.packed.starts.tolist(), batch.group
    rows = [row for number in groups for row in range(number * group, (number + 1) * group)]
    slices = [slice(starts[row], starts[row + 1]) for row in rows]
    packed = pack(
        [batch.packed.ids_T[part].tolist() for part in slices],
        [batch.packed.segments_T[part].tolist() for part in slices],
    )
    if batch.words_P is None:
        return TaskBatch(packed, batch.targets[groups], group=group)
    row_of_P = torch.searchsorted(batch.packed.starts, batch.words_P, right=True) - 1
    kept = torch.cat([torch.nonzero(row_of_P == row)[:, 0] for row in rows])
    moved = dict(zip(rows, packed.starts.tolist(), strict=False))
    words_P = torch.tensor(
        [
            moved[int(row)] + int(word) - starts[int(row)]
            for row, word in zip(row_of_P[kept], batch.words_P[kept], strict=True)
        ]
    )
    return TaskBatch(packed, batch.targets[kept], words_P=words_P)


def rows_of_groups(kind: str, batch: TaskBatch, outputs: Tensor) -> list[Tensor]:
    """Outputs cut by group of rows."""
    lengths = batch.packed.lengths
    if kind == "question-answering":
        return list(outputs.split(lengths))
    if kind == "token-classification":
        counts = [len(range(1, length, 3)) for length in lengths]
        return list(outputs.split(counts))
    return list(outputs.split(batch.group))


def their_inputs(kind: str, batch: TaskBatch) -> dict[str, Tensor]:
    """The batch, padded, as `transformers` wants it, with labels."""
    lengths = batch.packed.lengths
    real_BL = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    shape = (-1, batch.group, max(lengths)) if kind == "multiple-choice" else real_BL.shape

    def padded(values_T: Tensor, blank: int) -> Tensor:
        cells = torch.full(real_BL.shape, blank)
        cells[real_BL] = values_T
        return cells.view(shape)

    inputs = {
        "input_ids": padded(batch.packed.ids_T, 0),
        "token_type_ids": padded(batch.packed.segments_T, 0),
        "attention_mask": real_BL.long().view(shape),
    }
    if kind == "question-answering":
        starts_B, ends_B = batch.targets.unbind(1)
        return inputs | {"start_positions": starts_B, "end_positions": ends_B}
    if kind == "token-classification":
        labels_T = torch.full((batch.tokens,), -100)
        labels_T[batch.words_P] = batch.targets
        return inputs | {"labels": padded(labels_T, -100)}
    return inputs | {"labels": batch.targets}


def their_outputs(kind: str, batch: TaskBatch, output) -> Tensor:
    real_BL = torch.arange(batch.packed.longest) < torch.tensor(batch.packed.lengths)[:, None]
    if kind == "question-answering":
        return torch.stack([output.start_logits[real_BL], output.end_logits[real_BL]], 1)
    if kind == "token-classification":
        return output.logits[real_BL][batch.words_P]
    return output.logits.reshape(-1, 1) if kind == "multiple-choice" else output.logits


@pytest.mark.parametrize("kind", KINDS)
def test_our_folder_is_theirs_and_theirs_is_ours(tmp_path, kind):
    ours = new_model(kind)
    save_model(tmp_path / "a", ours, Tokenizer(VOCAB), card="# A model\n")
    theirs, report = PEERS[kind].from_pretrained(tmp_path / "a", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    if kind in LABELS:
        assert theirs.config.id2label == dict(enumerate(LABELS[kind]))
        assert theirs.config.label2id == {name: n for n, name in enumerate(LABELS[kind])}

    # `transformers` lets padding take part in the softmax of a span: no padding there.
    lengths = [11] * 4 if kind == "question-answering" else [11, 4, 17, 9, 9, 2]
    batch = new_batch(kind, lengths)
    with torch.no_grad():
        output = theirs.eval()(**their_inputs(kind, batch))
        scores = ours.outputs(batch).float()
    torch.testing.assert_close(scores, their_outputs(kind, batch, output), **CLOSE)

    loss = ours.train().losses(batch)["task"] / batch.counts["task"]
    their_loss = theirs.train()(**their_inputs(kind, batch)).loss
    torch.testing.assert_close(loss, their_loss, **CLOSE)
    loss.backward()
    their_loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    mapped = to_theirs(ours.config, gradients)
    assert sorted(mapped) == sorted(name for name, _ in theirs.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(mapped[name], parameter.grad, **CLOSE, msg=name)

    theirs.save_pretrained(tmp_path / "b")
    for back in (load_task(tmp_path / "b"), load_any(tmp_path / "b")):
        assert back.head == head_of(kind, labels=LABELS.get(kind, ()))
        assert not back.training
        assert back.state_dict().keys() == ours.state_dict().keys()
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, back.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_and_order_change_no_output_loss_or_gradient(kind):
    model = new_model(kind)
    batch = new_batch(kind, [9, 30, 2, 9, 21, 5, 12, 9])
    groups = list(range(8 // batch.group))

    def asked(cuts: list[list[int]]) -> tuple[dict[int, Tensor], float, list[Tensor]]:
        model.zero_grad()
        found, total = {}, 0.0
        for numbers in cuts:
            part = parts_of(batch, numbers)
            rows = rows_of_groups(kind, part, model.outputs(part).detach())
            found |= dict(zip(numbers, rows, strict=True))
            loss = model.losses(part)["task"]
            loss.backward()
            total += loss.item()
        return found, total, [parameter.grad.clone() for parameter in model.parameters()]

    whole, loss, gradients = asked([groups])
    # All the same would show nothing.
    assert not torch.allclose(whole[0], whole[1][: len(whole[0])], atol=1e-3)
    for cuts in ([[n] for n in groups], [groups[::-1]], [groups[2:], groups[:2]]):
        found, total, others = asked(cuts)
        for number in groups:
            torch.testing.assert_close(found[number], whole[number], **CLOSE)
        assert total == pytest.approx(loss, rel=1e-5)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_drops_out_and_evaluation_does_not(kind):
    model, batch = new_model(kind, config=DROPPING), new_batch(kind, [12, 12, 7, 5])
    assert torch.equal(model.outputs(batch), model.outputs(batch))
    model.train()
    assert not torch.equal(model.outputs(batch), model.outputs(batch))
    # Before the output layer too, but for spans (Google's heads, and theirs).
    model.bert.eval()
    assert torch.equal(model.outputs(batch), model.outputs(batch)) == (kind == "question-answering")


def test_class_weights_weigh_the_examples_of_their_class():
    model, batch = new_model("classification"), new_batch("classification", [5, 6, 7, 8])
    losses_B = functional.cross_entropy(model.outputs(batch), batch.targets, reduction="none")
    assert batch.targets.unique().numel() > 1
    weights_C = torch.tensor([0.5, 1.0, 4.0])
    torch.testing.assert_close(model.losses(batch)["task"], losses_B.sum())
    model.class_weights = weights_C
    expected = (losses_B * weights_C[batch.targets]).sum()
    torch.testing.assert_close(model.losses(batch)["task"], expected)
    assert "class_weights" not in model.state_dict()


def test_fresh_weights_are_a_function_of_the_seed():
    one, same, other = (
        new_model("token-classification", seed=seed).state_dict() for seed in (4, 4, 5)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


FEATURES = {
    "concat": FeatureBased((-1, 1, 0), "concat", width=10),
    "sum": FeatureBased((-2, -1), "sum", width=10),
}


@pytest.mark.parametrize("combine", FEATURES)
def test_the_feature_based_tagger_is_a_bilstm_on_a_frozen_encoder(tmp_path, combine):
    chosen = FEATURES[combine]
    model, batch = (
        new_model("token-classification", features=chosen),
        new_batch("token-classification", [9, 3, 14, 9]),
    )
    assert model.features.lstm.input_size == (96 if combine == "concat" else 32)
    assert model.features.lstm.hidden_size == 5
    assert tuple(model.classifier.weight.shape) == (4, 10)
    if combine == "sum":
        nn.init.normal_(model.features.mix)

    # The same, sequence by sequence, without packing.
    found = model.outputs(batch)
    expected = []
    starts = batch.packed.starts.tolist()
    for first, last in pairwise(starts):
        alone = pack([batch.packed.ids_T[first:last]], [batch.packed.segments_T[first:last]])
        layers = list(model.bert.layers(alone))
        if combine == "concat":
            features_LD = torch.cat([layers[2], layers[1], layers[0]], -1)
        else:
            shares = functional.softmax(model.features.mix, 0)
            features_LD = shares[0] * layers[1] + shares[1] * layers[2]
        hidden_L1W, _ = model.features.lstm(features_LD[:, None])
        expected.append(model.classifier(hidden_L1W[1::3, 0]))
    torch.testing.assert_close(found, torch.cat(expected), **CLOSE)

    save_model(tmp_path, model, Tokenizer(VOCAB), card="# A model\n")
    keys = json.loads((tmp_path / "config.json").read_text())
    assert keys["bertsmith_task"] == {
        "level": "token",
        "features": {"layers": list(chosen.layers), "combine": combine, "width": 10},
    }
    assert keys["architectures"] == ["BertModel"]
    back = load_any(tmp_path)
    assert back.head == head_of(
        "token-classification", labels=LABELS["token-classification"], features=chosen
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    assert torch.equal(found, back.outputs(batch))


@pytest.mark.parametrize("combine", FEATURES)
def test_the_features_stay_as_they_are_while_the_head_learns(combine):
    model = new_model("token-classification", config=DROPPING, features=FEATURES[combine])
    batch = new_batch("token-classification", [9, 3, 14])
    # Before the first `train()` too: that is when an optimizer and DDP look.
    assert not any(parameter.requires_grad for parameter in model.bert.parameters())
    before = list(model.bert.layers(batch.packed))
    model.train()
    assert model.training
    assert not any(module.training for module in model.bert.modules())
    assert model.features.training
    for one, other in zip(before, model.bert.layers(batch.packed), strict=True):
        assert torch.equal(one, other)
    model.losses(batch)["task"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith("bert."), name
        assert (parameter.grad is None) == name.startswith("bert."), name
    assert not model.eval().bert.training


@pytest.mark.parametrize("layers", [(3,), (-4, -1), ()])
def test_layers_that_the_model_does_not_have_are_refused(layers):
    with pytest.raises(UsageError) as caught:
        new_model("token-classification", features=FeatureBased(layers))
    assert str(caught.value) == (
        f"features={layers}: the model has layers 0 (embeddings) to 2, or "
        "-3 to -1 counted from the last; name at least one."
    )


def theirs_saved(folder, peer, **keys):
    model = peer(TheirConfig(**SHAPE, **keys))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("peer", [BertForSequenceClassification, BertForTokenClassification])
def test_two_classes_are_what_transformers_does_not_write_down(tmp_path, peer):
    theirs = theirs_saved(tmp_path, peer)
    assert "id2label" not in json.loads((tmp_path / "config.json").read_text())
    ours = load_task(tmp_path)
    assert ours.head.labels == ("LABEL_0", "LABEL_1")
    assert torch.equal(ours.classifier.weight, theirs.classifier.weight)


def test_one_label_of_transformers_is_a_number(tmp_path):
    theirs_saved(tmp_path, BertForSequenceClassification, num_labels=1)
    assert load_task(tmp_path).head == head_of("regression")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"num_labels": 2, "problem_type": "regression"}, "regression"),
    ],
)
def test_several_answers_to_one_text_are_refused(tmp_path, keys, problem):
    theirs_saved(tmp_path, BertForSequenceClassification, **keys)
    with pytest.raises(FolderError) as caught:
        load_task(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: the model predicts 2 numbers for a text "
        f"(problem_type {problem}); bertsmith supports one per text. Use another model."
    )


@pytest.mark.parametrize("pooled", [True, False])
def test_an_encoder_of_any_folder_goes_under_a_task(tmp_path, pooled):
    theirs = theirs_saved(tmp_path, BertModel if pooled else BertForMaskedLM)
    model = new_model("classification", seed=3)
    head, pooler = model.classifier.weight.clone(), model.pooler.dense.weight.clone()
    assert load_encoder(tmp_path, model) == ([] if pooled else ["pooler"])
    encoder = theirs if pooled else theirs.bert
    assert torch.equal(model.bert.embeddings.word.weight, encoder.embeddings.word_embeddings.weight)
    assert torch.equal(model.classifier.weight, head)
    expected = theirs.pooler.dense.weight if pooled else pooler
    assert torch.equal(model.pooler.dense.weight, expected)
    assert load_encoder(tmp_path, new_model("token-classification")) == []
    other = new_model("token-classification", config=BertConfig(**(SHAPE | {"hidden_size": 16})))
    with pytest.raises(FolderError, match="one of the two files is from another model"):
        load_encoder(tmp_path, other)


@pytest.mark.parametrize("change", [-1, 1])
def test_only_words_behind_the_folders_own_start_anew(tmp_path, change):
    """A special token that was put behind the vocabulary does; a lost word does not."""
    save_model(tmp_path, BertForPretraining(CONFIG), Tokenizer(VOCAB), card="")
    wider = BertConfig(**(SHAPE | {"vocab_size": len(VOCAB) + 1}))
    model = new_model("token-classification", config=wider)
    drawn_VD = model.bert.embeddings.word.weight.clone()
    assert load_encoder(tmp_path, model) == []
    loaded_VD = model.bert.embeddings.word.weight
    assert torch.equal(loaded_VD[-1], drawn_VD[-1])
    assert not torch.equal(loaded_VD[:-1], drawn_VD[:-1])
    path = tmp_path / "config.json"
    keys = json.loads(path.read_text()) | {"vocab_size": len(VOCAB) + change}
    path.write_text(json.dumps(keys))
    with pytest.raises(FolderError) as caught:
        load_encoder(tmp_path, model)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'model.safetensors'}: ")
    assert f"has shape ({len(VOCAB)}, 32)" in told
    assert f"says ({len(VOCAB) + change}, 32)" in told


def test_any_folder_is_loaded_as_what_it_is(tmp_path):
    theirs_saved(tmp_path / "encoder", BertModel)
    assert type(load_any(tmp_path / "encoder")) is Bert
    tokenizer = Tokenizer(VOCAB)
    save_model(tmp_path / "pretrained", BertForPretraining(CONFIG), tokenizer, card="")
    assert type(load_any(tmp_path / "pretrained")) is BertForPretraining
    save_model(tmp_path / "tuned", new_model("question-answering"), tokenizer, card="")
    assert type(load_any(tmp_path / "tuned")) is BertForTask
    # Of a fine-tuned model the encoder can be trained on.
    model, fresh = load_pretraining(tmp_path / "tuned", pair_task=True, fresh_heads=True)
    assert fresh == ["mlm", "next_sentence", "pooler"]
    assert torch.equal(
        model.bert.embeddings.word.weight,
        load_task(tmp_path / "tuned").bert.embeddings.word.weight,
    )


def broken(folder, keys=None, lost=()):
    save_model(folder, new_model("classification"), Tokenizer(VOCAB), card="")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (keys or {})))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if name not in lost}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(FolderError) as caught:
        load_task(folder)
    return str(caught.value)


def test_what_is_wrong_with_a_fine_tuned_folder_is_told(tmp_path):
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    assert broken(tmp_path, {"id2label": {"0": "a", "1": "b", "2": "a"}}) == (
        f"{config}: id2label calls 2 classes 'a'; give each class a different name."
    )
    assert broken(tmp_path, {"id2label": {"0": "a", "2": "b"}}) == (
        f"{config}: id2label is {{'0': 'a', '2': 'b'}}, expected a name for each class from 0 on; "
        "correct it."
    )
    assert broken(tmp_path, {"architectures": ["BertForMaskedLM"]}) == (
        f"{config}: the model (BertForMaskedLM) has not been fine-tuned on a task; run "
        "`bertsmith finetune` with it first."
    )
    assert broken(tmp_path, {"architectures": []}).startswith(
        f"{config}: the model (no architecture named) has not been"
    )
    assert broken(tmp_path, {"bertsmith_task": {"level": "token", "features": {"width": "x"}}}) == (
        f"{config}, bertsmith_task: 'features.width' is a string, expected an integer; correct it."
    )
    told = broken(tmp_path, lost=["classifier.bias"])
    assert told.startswith(f"{weights} lacks 1 tensors, the first is classifier.bias")
    assert broken(tmp_path, {"id2label": {"0": "a", "1": "b"}}).startswith(
        f"{weights}: classifier.weight has shape (3, 32), config.json says (2, 32)"
    )


def test_transformers_cuts_at_the_positions_that_the_model_has(tmp_path):
    save_model(tmp_path, new_model("classification"), Tokenizer(VOCAB), card="")
    cut = AutoTokenizer.from_pretrained(tmp_path)("a " * 99, truncation=True)
    assert len(cut["input_ids"]) == CONFIG.max_position_embeddings == 40


def test_every_kind_has_an_architecture_and_counts_its_predictions():
    assert {kind: ARCHITECTURES[head_of(kind).level] for kind in KINDS} == {
        kind: peer.__name__ for kind, peer in PEERS.items()
    }
    counts = [new_batch(kind, [9, 3, 14, 9]).counts["task"] for kind in KINDS]
    assert counts == [4, 4, 2, 12, 4]
    unlabelled = replace(new_batch("token-classification", [9, 3]), targets=None)
    assert (unlabelled.counts, unlabelled.tokens) == ({"task": 0}, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_not_rounded_to_half_precision(kind):
    model, batch = new_model(kind), new_batch(kind, [9, 14, 30, 5])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model.outputs(batch)
    assert scores.dtype == (torch.float64 if kind == "regression" else torch.float32)
    assert (scores == scores.bfloat16()).float().mean() < 0.2
