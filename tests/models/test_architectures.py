"""Every architecture is saved and loaded alike, pre-trained and under each kind of task."""

import json

import pytest
import torch
from conftest import TOY_VOCAB
from transformers import AutoModelForCausalLM, OpenAIGPTForSequenceClassification

from bertsmith.config import Kind
from bertsmith.errors import FolderError, UsageError
from bertsmith.models.architectures import (
    TaskShape,
    build,
    build_for_task,
    encoder_of,
    objective_of,
)
from bertsmith.models.folder import load_any, load_encoder, load_pretraining, load_task, save_model
from bertsmith.models.packed import LanguageBatch, pack
from bertsmith.models.tuned import TaskBatch
from bertsmith.shape_files import architecture_of, shape_from_keys, shape_keys
from bertsmith.shapes import BertConfig, ElmoConfig, GptConfig
from bertsmith.text.tokenizer import Tokenizer

SIZE = len(TOY_VOCAB)
SHAPES = {
    "bert": BertConfig(
        vocab_size=SIZE,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    ),
    "gpt": GptConfig(vocab_size=SIZE, n_positions=32, n_embd=16, n_layer=2, n_head=2),
    "elmo": ElmoConfig(
        vocab_size=SIZE, characters=12, filters=((1, 4), (2, 4)), projection=8, lstm_width=16
    ),
}
LEFT = BertConfig(
    **{**{f: getattr(SHAPES["bert"], f) for f in BertConfig.__struct_fields__}, "is_decoder": True}
)
ALL = [*SHAPES.values(), LEFT]
KINDS: list[Kind] = ["classify", "regress", "choose", "tag", "answer"]
ROWS = [[2, 7, 8, 3, 9, 3], [2, 6, 3, 12, 13, 3]]
SEGMENTS = [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]


def ids(shape):
    return f"{architecture_of(shape)}{'-left' * getattr(shape, 'is_decoder', False)}"


def fresh(shape):
    torch.manual_seed(0)
    return build(shape, pieces=TOY_VOCAB, pair_task=False).eval()


@pytest.mark.parametrize("shape", ALL, ids=ids)
def test_a_pretrained_folder_comes_back_identical(shape, tmp_path):
    model = fresh(shape)
    save_model(tmp_path, model, Tokenizer(TOY_VOCAB), card="")
    back, anew = load_pretraining(tmp_path)
    assert anew == []
    assert back.config == shape
    assert type(load_any(tmp_path)) is type(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    keys = json.loads((tmp_path / "config.json").read_text())
    assert shape_from_keys(keys, "config.json") == shape
    assert shape_from_keys(shape_keys(shape), "") == shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ALL, ids=ids)
def test_a_tuned_folder_answers_as_before(shape, kind, tmp_path):
    save_model(tmp_path / "pre", fresh(shape), Tokenizer(TOY_VOCAB), card="")
    task = TaskShape(
        kind=kind,
        labels=("a", "b", "c") if kind in ("classify", "tag") else (),
        pieces=TOY_VOCAB,
        mask_id=4,
        paired=True,
        symmetric=kind == "regress",
        frozen=isinstance(shape, ElmoConfig),
    )
    torch.manual_seed(1)
    model = build_for_task(shape, task).eval()
    load_encoder(tmp_path / "pre", model)
    words = torch.tensor([1, 2, 7]) if kind == "tag" else None
    batch = TaskBatch(pack(ROWS, SEGMENTS), None, words_P=words, group=2 if kind == "choose" else 1)
    with torch.no_grad():
        before = model.outputs(batch)
    save_model(tmp_path / "tuned", model, Tokenizer(TOY_VOCAB), card="")
    back = load_task(tmp_path / "tuned")
    with torch.no_grad():
        assert torch.equal(back.outputs(batch), before)
    assert (back.kind, back.labels) == (kind, task.labels)


@pytest.mark.parametrize("kind", ["classify", "tag", "answer"])
def test_a_bert_with_a_bilstm_answers_as_before(kind, tmp_path):
    task = TaskShape(
        kind=kind, labels=("a", "b") if kind != "answer" else (), mask_id=4, bilstm=True
    )
    torch.manual_seed(1)
    model = build_for_task(LEFT, task).eval()
    words = torch.tensor([1, 2, 7]) if kind == "tag" else None
    batch = TaskBatch(pack(ROWS, SEGMENTS), None, words_P=words)
    with torch.no_grad():
        before = model.outputs(batch)
    save_model(tmp_path, model, Tokenizer(TOY_VOCAB), card="")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
    with torch.no_grad():
        assert torch.equal(load_task(tmp_path).outputs(batch), before)


def test_left_to_right_bert_is_transformers_decoder(tmp_path):
    """The paper's ablation has an architecture in `transformers`: a BERT that is a decoder."""
    model = fresh(LEFT)
    save_model(tmp_path, model, Tokenizer(TOY_VOCAB), card="")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == "BertLMHeadModel"
    row = torch.tensor([[2, 7, 8, 9, 3]])
    loss = model.losses(LanguageBatch(pack(row.tolist()), backward=False))["forward"]
    expected = theirs(input_ids=row, labels=row).loss
    assert float(loss.detach()) / 4 == pytest.approx(float(expected.detach()), abs=1e-5)


def test_tuned_gpt_classifies_alike_in_transformers(tmp_path):
    task = TaskShape(kind="classify", labels=("a", "b"), mask_id=4)
    torch.manual_seed(0)
    model = build_for_task(SHAPES["gpt"], task).eval()
    save_model(tmp_path, model, Tokenizer(TOY_VOCAB), card="")
    theirs = OpenAIGPTForSequenceClassification.from_pretrained(tmp_path).eval()
    theirs.config.pad_token_id = 0
    arranged = torch.tensor([[2, 7, 8, 3, 9, 4]])
    with torch.no_grad():
        ours = model.outputs(TaskBatch(pack([ROWS[0]], [SEGMENTS[0]]), None))
        torch.testing.assert_close(theirs(arranged).logits, ours, atol=1e-5, rtol=1e-5)


def test_what_each_sees():
    """Changing a later token moves the earlier states of what reads both sides, and of no other."""
    changed = [[2, 7, 8, 3, 9, 3], [2, 7, 8, 3, 30, 3]]
    for shape in ALL:
        encoder = encoder_of(fresh(shape).double())
        with torch.no_grad():
            one, other = (encoder(pack([row]))[:4] for row in changed)
        forward, backward = ((one - other).abs().amax(0) > 1e-12).chunk(2)
        match objective_of(fresh(shape)):
            case "masked":
                assert forward.any()
                assert backward.any()
            case "forward":
                assert not forward.any()
                assert not backward.any()
            case "both":
                assert not forward.any()
                assert backward.any()


def test_pooled_state_of_a_left_to_right_bert_has_read_everything():
    task = TaskShape(kind="classify", labels=("a", "b"), mask_id=4)
    model = build_for_task(LEFT, task).eval()
    one, other = (
        TaskBatch(pack([row], [SEGMENTS[0]]), None) for row in (ROWS[0], [2, 7, 8, 3, 30, 3])
    )
    with torch.no_grad():
        assert not torch.equal(model.outputs(one), model.outputs(other))


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("gpt", {"bilstm": True}, "--bilstm is for a BERT"),
        ("bert", {"frozen": True}, "--frozen is for an ELMo"),
    ],
)
def test_what_only_another_architecture_has_is_refused(name, asked, said):
    task = TaskShape(kind="classify", labels=("a", "b"), mask_id=4, **asked)
    with pytest.raises(UsageError, match=said):
        build_for_task(SHAPES[name], task)


def test_weights_of_another_vocabulary_are_told(tmp_path):
    save_model(tmp_path, fresh(SHAPES["gpt"]), Tokenizer(TOY_VOCAB), card="")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 99}))
    with pytest.raises(FolderError) as caught:
        load_pretraining(tmp_path)
    assert "gpt.embeddings.word.weight has shape (50, 16), config.json says (99, 16)" in str(
        caught.value
    )
