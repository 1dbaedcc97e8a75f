"""Every architecture is saved and loaded alike, pre-trained and under each kind of task."""

import json

import pytest
import torch
from conftest import TOY_VOCAB
from heads import head_of
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
)
from transformers import (
    BertConfig as TheirBert,
)

from bertsmith.checkpoints.folder import (
    load_any,
    load_encoder,
    load_pretraining,
    load_task,
    save_model,
)
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config_files import config_from_keys, config_keys
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build, build_for_task, encoder_of, is_known_to_transformers
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import LanguageBatch, pack
from bertsmith.text.tokenizer.tokenizer import Tokenizer

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
KINDS: list[str] = [
    "classification",
    "regression",
    "multiple-choice",
    "token-classification",
    "question-answering",
]
ROWS = [[2, 7, 8, 3, 9, 3], [2, 6, 3, 12, 13, 3]]
SEGMENTS = [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]


def ids(shape):
    return f"{shape.family}{'-left' * getattr(shape, 'is_decoder', False)}"


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
    assert config_from_keys(keys, "config.json") == shape
    assert config_from_keys(config_keys(shape), "") == shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ALL, ids=ids)
def test_a_tuned_folder_answers_as_before(shape, kind, tmp_path):
    save_model(tmp_path / "pre", fresh(shape), Tokenizer(TOY_VOCAB), card="")
    head = head_of(
        kind,
        labels=("a", "b", "c") if kind in ("classification", "token-classification") else (),
        extract_id=4,
        paired=True,
        both_orders=kind == "regression",
        frozen=isinstance(shape, ElmoConfig),
    )
    torch.manual_seed(1)
    model = build_for_task(shape, head, pieces=TOY_VOCAB).eval()
    load_encoder(tmp_path / "pre", model)
    words = torch.tensor([1, 2, 7]) if kind == "token-classification" else None
    group = 2 if kind == "multiple-choice" else 1
    packed = pack(ROWS, SEGMENTS)
    batch = TaskBatch(packed, None, words_P=words, ends_P=words, group=group)
    with torch.no_grad():
        before = model.outputs(batch)
    save_model(tmp_path / "tuned", model, Tokenizer(TOY_VOCAB), card="")
    back = load_task(tmp_path / "tuned")
    with torch.no_grad():
        assert torch.equal(back.outputs(batch), before)
    assert back.head == model.head


@pytest.mark.parametrize("kind", ["classification", "token-classification", "question-answering"])
def test_a_bert_with_a_bilstm_answers_as_before(kind, tmp_path):
    head = head_of(
        kind, labels=("a", "b") if kind != "question-answering" else (), extract_id=4, bilstm=True
    )
    torch.manual_seed(1)
    model = build_for_task(LEFT, head).eval()
    words = torch.tensor([1, 2, 7]) if kind == "token-classification" else None
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


PEERS = {
    "classification": AutoModelForSequenceClassification,
    "regression": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
}
ALIKE = {
    "bert": ["classification", "regression", "token-classification", "question-answering"],
    "bert-left": ["token-classification", "question-answering"],
    "gpt": ["classification", "regression"],
    "elmo": [],
}


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(shape, kind) for shape in ALL for kind in KINDS],
    ids=lambda given: given if isinstance(given, str) else ids(given),
)
def test_a_class_of_transformers_is_named_where_its_outputs_are_ours(shape, kind, tmp_path):
    """The same texts, through `AutoTokenizer` there."""
    labels = ("a", "b", "c") if kind in ("classification", "token-classification") else ()
    head = head_of(kind, labels=labels, extract_id=4)
    torch.manual_seed(1)
    model = build_for_task(shape, head, pieces=TOY_VOCAB).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(tmp_path, model, Tokenizer(TOY_VOCAB), card="")
    keys = json.loads((tmp_path / "config.json").read_text())
    if kind == "multiple-choice" and ids(shape) == "bert":
        assert keys["architectures"] == ["BertForMultipleChoice"]
        return
    if kind not in ALIKE[ids(shape)]:
        bare = {"bert": ["BertModel"], "gpt": ["OpenAIGPTModel"]}
        assert keys.get("architectures") == bare.get(shape.family)
        assert keys["bertsmith_task"]["level"] == head.level
        assert not is_known_to_transformers(keys)
        return
    assert is_known_to_transformers(keys)
    theirs = PEERS[kind].from_pretrained(tmp_path).eval()
    assert keys["architectures"] == [type(theirs).__name__]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for texts, row, segments in (
        (("w2 w3", "w4"), ROWS[0], SEGMENTS[0]),
        (("w1",), [2, 6, 3], [0, 0, 0]),
    ):
        words = torch.arange(len(row)) if kind == "token-classification" else None
        batch = TaskBatch(pack([row], [segments]), None, words_P=words)
        with torch.no_grad():
            found = theirs(**tokenizer(*texts, return_tensors="pt"))
            ours = model.outputs(batch).float()
        if kind == "question-answering":
            scores = torch.stack([found.start_logits[0], found.end_logits[0]], -1)
        else:
            scores = found.logits[0] if kind == "token-classification" else found.logits
        torch.testing.assert_close(scores, ours, atol=1e-4, rtol=1e-4)
        assert scores.abs().max() > 0.01


def test_a_gpt_that_reads_both_ways_is_no_class_of_transformers(tmp_path):
    head = head_of("classification", labels=("a", "b"), extract_id=4, both_orders=True)
    save_model(tmp_path, build_for_task(SHAPES["gpt"], head), Tokenizer(TOY_VOCAB), card="")
    keys = json.loads((tmp_path / "config.json").read_text())
    assert keys["architectures"] == ["OpenAIGPTModel"]
    assert keys["bertsmith_task"] == {"level": "text", "extract_id": 4, "both_orders": True}
    assert load_task(tmp_path).head.both_orders
    keys["bertsmith_task"]["extract_id"] = SIZE
    (tmp_path / "config.json").write_text(json.dumps(keys))
    with pytest.raises(FolderError, match="extract_id is 50, but the vocabulary has 50 pieces"):
        load_task(tmp_path)


def test_models_whose_inputs_or_answers_are_unknown_are_refused(tmp_path):
    gpt = OpenAIGPTConfig(vocab_size=SIZE, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    OpenAIGPTForSequenceClassification(gpt).save_pretrained(tmp_path / "gpt")
    with pytest.raises(FolderError) as caught:
        load_any(tmp_path / "gpt")
    assert "tokenizer.json" in str(caught.value)
    # Its encoder goes under a task of ours all the same.
    head = head_of("classification", labels=("a", "b"), extract_id=4)
    assert load_encoder(tmp_path / "gpt", build_for_task(SHAPES["gpt"], head)) == []
    shape = {
        name: getattr(SHAPES["bert"], name)
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    }
    bert = TheirBert(**shape, intermediate_size=32, max_position_embeddings=32, is_decoder=True)
    BertForSequenceClassification(bert).save_pretrained(tmp_path / "bert")
    with pytest.raises(FolderError, match=r"predicts at \[CLS\] has seen no text there"):
        load_any(tmp_path / "bert")


def test_what_each_sees():
    """Changing a later token moves the earlier states of what reads both sides, and of no other."""
    changed = [[2, 7, 8, 3, 9, 3], [2, 7, 8, 3, 30, 3]]
    for shape in ALL:
        encoder = encoder_of(fresh(shape).double())
        with torch.no_grad():
            one, other = (encoder(pack([row]))[:4] for row in changed)
        forward, backward = ((one - other).abs().amax(0) > 1e-12).chunk(2)
        match fresh(shape).objective:
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
    head = head_of("classification", labels=("a", "b"), extract_id=4)
    model = build_for_task(LEFT, head).eval()
    one, other = (
        TaskBatch(pack([row], [SEGMENTS[0]]), None) for row in (ROWS[0], [2, 7, 8, 3, 30, 3])
    )
    with torch.no_grad():
        assert not torch.equal(model.outputs(one), model.outputs(other))


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("gpt", {"bilstm": True}, "bilstm applies only to BERT"),
        ("bert", {"frozen": True}, "frozen applies only to ELMo"),
    ],
)
def test_what_only_another_architecture_has_is_refused(name, asked, said):
    head = head_of("classification", labels=("a", "b"), extract_id=4, **asked)
    with pytest.raises(UsageError, match=said):
        build_for_task(SHAPES[name], head)


def test_weights_of_another_vocabulary_are_told(tmp_path):
    save_model(tmp_path, fresh(SHAPES["gpt"]), Tokenizer(TOY_VOCAB), card="")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 99}))
    with pytest.raises(FolderError) as caught:
        load_pretraining(tmp_path)
    assert "transformer.tokens_embed.weight has shape (50, 16), config.json says (99, 16)" in str(
        caught.value
    )
