"""Model folders as other tools leave them: the outputs of `transformers`, or a clear refusal."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from heads import head_of
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForTokenClassification,
    BertModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from bertsmith.checkpoints.folder import (
    load_any,
    load_config,
    load_encoder,
    load_pretraining,
    load_task,
    save_model,
)
from bertsmith.core.errors import FolderError, ModelWarning, UsageError
from bertsmith.models.bert.heads import BertForNextSentence, BertForPretraining
from bertsmith.models.bert.tasks import BertForTask, TaskBatch
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build, encoder_of
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

IDS = [[2, 7, 9, 11, 3, 20, 21, 3], [2, 30, 5, 3]]
SEGMENTS = [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0]]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
WORDS = "bert.embeddings.word_embeddings.weight"


def their_config(**changes) -> BertConfig:
    shape = {
        "vocab_size": 33,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 16,
        "initializer_range": 0.3,
    }
    return BertConfig(**(shape | changes))


def write(folder: Path, kind=BertForPreTraining, **changes):
    """A random model of `transformers`, saved by it, biases included."""
    torch.manual_seed(0)
    theirs = kind(their_config(**changes)).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(folder)
    return theirs


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change) -> None:
    tensors = {
        name: value.clone() for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(change(tensors), folder / "model.safetensors", {"format": "pt"})


def hidden_of(theirs) -> Tensor:
    """The last hidden states of the sequences above, end to end."""
    encoder = getattr(theirs, "bert", theirs)
    with torch.no_grad():
        return torch.cat(
            [
                encoder(torch.tensor([ids]), token_type_ids=torch.tensor([kinds]))[0][0]
                for ids, kinds in zip(IDS, SEGMENTS, strict=True)
            ]
        )


@torch.no_grad()
def check_same(folder: Path, theirs) -> None:
    """The folder's words, pairs and states are those of `theirs`."""
    ours = load_any(folder)
    packed = pack(IDS, SEGMENTS)
    hidden_TD = encoder_of(ours)(packed)
    torch.testing.assert_close(hidden_TD, hidden_of(theirs), **CLOSE)
    if isinstance(ours, BertForPretraining):
        torch.testing.assert_close(
            ours.logits(hidden_TD), theirs.cls.predictions(hidden_TD), **CLOSE
        )
    if hasattr(theirs, "cls") and hasattr(theirs.cls, "seq_relationship"):
        first_BD = hidden_TD[packed.firsts_B]
        pooled_BD = torch.tanh(theirs.bert.pooler.dense(first_BD))
        torch.testing.assert_close(
            ours.pair_logits(first_BD), theirs.cls.seq_relationship(pooled_BD), **CLOSE
        )


# Names.


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "module.model.", "_orig_mod.", "0.auto_model.", "encoder."]
)
def test_names_behind_a_wrappers_prefix(tmp_path, prefix):
    theirs = write(tmp_path)
    edit_weights(tmp_path, lambda t: {f"{prefix}{name}": value for name, value in t.items()})
    check_same(tmp_path, theirs)


def test_a_prefix_before_a_bare_encoder_and_a_head_without_one(tmp_path):
    theirs = write(tmp_path, BertModel)
    edit_weights(
        tmp_path,
        lambda t: (
            {f"encoder.{name}": value for name, value in t.items()}
            | {"classifier.weight": torch.zeros(3, 24)}
        ),
    )
    check_same(tmp_path, theirs)


def test_old_norm_names_behind_a_prefix(tmp_path):
    theirs = write(tmp_path)

    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "module." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    edit_weights(tmp_path, lambda t: {old(name): value for name, value in t.items()})
    check_same(tmp_path, theirs)


def test_several_encoders_are_refused(tmp_path):
    write(tmp_path)
    edit_weights(
        tmp_path,
        lambda t: {f"{who}.{name}": v.clone() for name, v in t.items() for who in ("a", "b")},
    )
    with pytest.raises(FolderError, match=r"holds 2 encoders, with names that begin with a\., b\."):
        load_any(tmp_path)


def test_one_parameter_under_two_names_is_refused(tmp_path):
    write(tmp_path)
    edit_weights(
        tmp_path,
        lambda t: (
            t | {"bert.embeddings.LayerNorm.gamma": t["bert.embeddings.LayerNorm.weight"] + 1}
        ),
    )
    with pytest.raises(FolderError, match=r"LayerNorm\.gamma and .*LayerNorm\.weight are the same"):
        load_any(tmp_path)


def test_errors_name_tensors_as_in_the_file(tmp_path):
    write(tmp_path)
    edit_weights(tmp_path, lambda t: {f"module.{name}": value for name, value in t.items()})
    edit_weights(tmp_path, lambda t: t | {"module.cls.predictions.bias": torch.zeros(32)})
    with pytest.raises(FolderError) as error:
        load_pretraining(tmp_path)
    assert "module.cls.predictions.bias has shape (32,), config.json says (33,)" in str(error.value)


# Copies of the output weights, and heads that are not used.

COPIES = {
    "cls.predictions.decoder.weight": WORDS,
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("alone", [True, False])
def test_one_of_the_decoders_two_tensors(tmp_path, copy, alone):
    theirs = write(tmp_path)

    def change(tensors):
        tensors[copy] = tensors[COPIES[copy]].clone()
        if alone:
            del tensors[COPIES[copy]]
        return tensors

    edit_weights(tmp_path, change)
    check_same(tmp_path, theirs)


def test_output_weights_that_differ_matter_to_the_words_only(tmp_path):
    write(tmp_path, BertForMaskedLM)
    edit_weights(tmp_path, lambda t: t | {"cls.predictions.decoder.weight": torch.ones(33, 24)})
    with pytest.raises(FolderError, match=f"decoder.weight differs from {WORDS}"):
        load_pretraining(tmp_path)
    task = BertForTask(load_config(tmp_path), head_of("classification", labels=("a", "b")))
    assert load_encoder(tmp_path, task) == ["pooler"]


def test_heads_without_use_are_left_out_and_named(tmp_path):
    theirs = write(tmp_path)
    edit_weights(
        tmp_path,
        lambda t: (
            t | {"crf.transitions": torch.zeros(3, 3), "classifier.weight": torch.ones(3, 24)}
        ),
    )
    edit_config(tmp_path, architectures=["BertCrfForNer"])
    with pytest.warns(ModelWarning, match=r"ignoring .*: crf\.transitions\.$"):
        check_same(tmp_path, theirs)


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.distance_embedding.weight",
        "bert.encoder.layer.1.output.adapters.a.adapter_down.0.weight",
        "bert.embeddings.projection.weight",
        "cls.predictions.transform.extra.weight",
    ],
)
def test_what_would_be_computed_is_never_left_out(tmp_path, name):
    write(tmp_path)
    edit_weights(tmp_path, lambda t: t | {f"model.{n}": t.pop(n) for n in list(t)} | {})
    edit_weights(tmp_path, lambda t: t | {f"model.{name}": torch.zeros(2, 2)})
    with pytest.raises(FolderError) as error:
        load_any(tmp_path)
    assert f"1 tensors have no place in a BERT of 2 layers, the first is model.{name}" in str(
        error.value
    )


def test_next_sentence_head_alone(tmp_path):
    theirs = write(tmp_path, BertForNextSentencePrediction)
    ours = load_any(tmp_path)
    assert isinstance(ours, BertForNextSentence)
    check_same(tmp_path, theirs)
    model, fresh = load_pretraining(tmp_path, fresh_heads=True)
    assert fresh == ["mlm"]
    assert torch.equal(model.next_sentence.weight, theirs.cls.seq_relationship.weight)


# Files.


def test_weights_in_shards(tmp_path):
    theirs = write(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert not (tmp_path / "model.safetensors").exists()
    check_same(tmp_path, theirs)
    assert set(index["weight_map"]) == set(whole)

    first = index["weight_map"][WORDS]
    for change, why in (
        ({WORDS: "../other.safetensors"}, "weight_map names the file '../other.safetensors'"),
        ({WORDS: "pytorch_model.bin"}, "expected a .safetensors file in the same folder"),
        ({WORDS: "gone.safetensors"}, "gone.safetensors is missing"),
        ({"bert.extra": first}, f"{first} lacks bert.extra"),
    ):
        text = json.dumps({"weight_map": index["weight_map"] | change})
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(FolderError) as error:
            load_any(tmp_path)
        assert why in str(error.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name", [WORDS, "bert.encoder.layer.0.output.LayerNorm.bias", "cls.seq_relationship.bias"]
)
def test_numbers_that_are_not_finite_are_refused_everywhere(tmp_path, number, dtype, name):
    write(tmp_path)

    def change(tensors):
        tensors = {called: tensor.to(dtype) for called, tensor in tensors.items()}
        tensors[name].view(-1)[1] = number
        return tensors

    edit_weights(tmp_path, change)
    task = BertForTask(load_config(tmp_path), head_of("classification", labels=("a", "b")))
    for load in (load_any, load_pretraining, lambda folder: load_encoder(folder, task)):
        with pytest.raises(FolderError) as error:
            load(tmp_path)
        where = tmp_path / "model.safetensors"
        assert str(error.value).startswith(f"{where}: {name} holds 1 numbers that are not finite")


def test_weights_of_a_tuned_model_are_checked_too(tmp_path):
    write(tmp_path, BertForTokenClassification, num_labels=3)
    edit_weights(tmp_path, lambda t: t | {"classifier.bias": torch.tensor([0, torch.nan, 1])})
    with pytest.raises(FolderError, match=r"classifier\.bias holds 1 numbers that are not finite"):
        load_task(tmp_path)


def test_beyond_fp32_is_not_finite(tmp_path):
    write(tmp_path)
    edit_weights(
        tmp_path,
        lambda t: t | {"cls.predictions.bias": torch.full((33,), 1e300, dtype=torch.float64)},
    )
    with pytest.raises(FolderError, match=r"cls\.predictions\.bias holds"):
        load_any(tmp_path)


def test_whole_numbers_are_no_weights(tmp_path):
    write(tmp_path)
    edit_weights(tmp_path, lambda t: t | {WORDS: t[WORDS].to(torch.int8)})
    with pytest.raises(FolderError, match=f"{WORDS} holds I8, expected F32"):
        load_any(tmp_path)


# config.json.


@pytest.mark.parametrize(
    "activation",
    [
        *("gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"),
        *("gelu_accurate", "relu", "silu", "swish", "tanh"),
    ],
)
def test_activations(tmp_path, activation):
    check_same(tmp_path, write(tmp_path, hidden_act=activation))
    assert load_config(tmp_path).hidden_act == activation


def test_an_unknown_activation_is_named(tmp_path):
    write(tmp_path)
    edit_config(tmp_path, hidden_act="gelu_fats")
    with pytest.raises(UsageError, match=r"'gelu_fats' \(perhaps you meant 'gelu_fast'\)"):
        load_config(tmp_path)


SILENT = {
    "_num_labels": 5,
    "num_labels": 5,
    "pruned_heads": {},
    "torchscript": False,
    "use_bfloat16": True,
    "tokenizer_class": "BertJapaneseTokenizer",
    "task_specific_params": {"a": {"max_length": 3}},
    "do_sample": True,
    "num_beams": 4,
    "temperature": 1.0,
    "top_k": 50,
    "repetition_penalty": 1.2,
    "language": "german",
    "name": "Bert",
    "xla_device": None,
    "pad_token_id": None,
    "cross_attention_hidden_size": None,
    "output_past": True,
    "emb_size": 24,
}
REPORTED = {
    "training": "",
    "structure": [],
    "cell": {},
    "adapters": {"adapters": {}, "config_map": {}},
    "license": "mit",
    "num_train_epochs": 3,
    "use_relative_attention": False,
    "embedding_dropout": 0.1,
}
REFUSED = {
    "rotary_dim": 32,
    "embedding_projection_size": 64,
    "norm_position": "pre",
    "use_relative_attention": True,
    "auto_map": {"AutoModel": "modeling_other.Other"},
    "quantization_config": {"bits": 4},
    "ropeTheta": 1e4,
    "hidden_sizes": 24,
    "adapters": {"adapters": {"a": {"reduction": 16}}},
}


def test_keys_without_meaning_are_silent(tmp_path):
    theirs = write(tmp_path)
    edit_config(tmp_path, **SILENT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        check_same(tmp_path, theirs)


def test_unknown_keys_that_compute_nothing_are_reported(tmp_path):
    theirs = write(tmp_path)
    edit_config(tmp_path, **REPORTED)
    named = ", ".join(sorted(REPORTED))
    with pytest.warns(ModelWarning, match=f"unknown keys are ignored: {named}"):
        check_same(tmp_path, theirs)


@pytest.mark.parametrize("key", REFUSED)
def test_unknown_keys_that_could_compute_are_refused(tmp_path, key):
    write(tmp_path)
    edit_config(tmp_path, **{key: REFUSED[key]})
    with pytest.raises(FolderError, match=f"unknown key '{key}'"):
        load_config(tmp_path)


@pytest.mark.parametrize("key", ["pruned_heads", "embedding_size", "tie_encoder_decoder"])
def test_known_keys_must_have_the_value_that_is_computed(tmp_path, key):
    write(tmp_path)
    edit_config(tmp_path, **{key: {"0": [1]} if key == "pruned_heads" else 64})
    with pytest.raises(UsageError, match=f"{key} is .*; bertsmith computes only"):
        load_config(tmp_path)


def test_classes_are_counted_where_they_have_no_names(tmp_path):
    theirs = write(tmp_path, BertForTokenClassification, num_labels=3)
    keys = json.loads((tmp_path / "config.json").read_text())
    del keys["id2label"], keys["label2id"]
    (tmp_path / "config.json").write_text(json.dumps(keys | {"num_labels": 3}))
    ours = load_task(tmp_path)
    assert ours.head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    packed = pack(IDS, SEGMENTS)
    with torch.no_grad():
        scores = ours.outputs(TaskBatch(packed, None, words_P=torch.arange(12)))
        torch.testing.assert_close(scores, theirs.classifier(hidden_of(theirs)), **CLOSE)


# Numbers that the weights contradict, before anything is allocated.


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("vocab_size", 10**9, "vocab_size is 1000000000; it must be at most 268,435,456"),
        (
            "vocab_size",
            200_000_000,
            f"{WORDS} has shape (33, 24), config.json says (200000000, 24)",
        ),
        ("vocab_size", 32, f"{WORDS} has shape (33, 24), config.json says (32, 24)"),
        ("hidden_size", 100_000_000, "has shape (33, 24), config.json says (33, 100000000)"),
        ("num_hidden_layers", 3000, "num_hidden_layers is 3,000, but"),
        ("num_hidden_layers", 200_000_000, "num_hidden_layers is 200,000,000, but"),
        ("num_hidden_layers", 1, "num_hidden_layers is 1, but"),
        ("intermediate_size", 200_000_000, "config.json says (200000000, 24)"),
        ("max_position_embeddings", 200_000_000, "config.json says (200000000, 24)"),
        ("type_vocab_size", 200_000_000, "config.json says (200000000, 24)"),
        ("num_labels", 10**12, "num_labels is 1000000000000, expected a number from 1 to"),
        ("architectures", 5, "architectures is 5, expected a list of names"),
        ("architectures", [5], "architectures is [5], expected a list of names"),
        ("architectures", "BertModel", "architectures is 'BertModel', expected a list of names"),
        ("id2label", 5, "id2label is 5, expected a name for each class"),
        (
            "bertsmith_task",
            {"level": "token", "features": {"layers": [-1], "width": 200_000_000}},
            "classifier.weight has shape (3, 24), config.json says (3, 200000000)",
        ),
    ],
)
def test_absurd_numbers_are_compared_with_the_weights(tmp_path, key, value, why):
    write(tmp_path, BertForTokenClassification, num_labels=3)
    keys = json.loads((tmp_path / "config.json").read_text())
    if key == "num_labels":
        del keys["id2label"]
    (tmp_path / "config.json").write_text(json.dumps(keys | {key: value}))
    with pytest.raises((FolderError, UsageError)) as error:
        load_any(tmp_path)
    assert why in str(error.value)


GPT = GptConfig(vocab_size=12, n_positions=8, n_embd=16, n_layer=2, n_head=2)
ELMO = ElmoConfig(
    vocab_size=12, characters=8, filters=((1, 4), (2, 4)), highways=1, projection=6, lstm_width=8
)


@pytest.mark.parametrize(
    ("shape", "key", "value", "why"),
    [
        (GPT, "n_layer", 3000, "n_layer is 3,000, but"),
        (GPT, "n_positions", 200_000_000, "has shape (8, 16), config.json says (200000000, 16)"),
        (GPT, "n_embd", 200_000_000, "has shape (12, 16), config.json says (12, 200000000)"),
        (GPT, "n_embd", 10**18, "must be at most 268,435,456"),
        (ELMO, "lstm_layers", 3000, "lstm_layers is 3,000, but"),
        (ELMO, "highways", 3000, "highways is 3,000, but"),
        (ELMO, "filters", [[1, 4]] * 3000, "filters is 3,000, but"),
        (ELMO, "filters", [[1, 4], [2, 10**12]], "a width at most 268,435,456 filters"),
        (ELMO, "lstm_width", 200_000_000, "config.json says (800000000, 6)"),
        (ELMO, "projection", 200_000_000, "config.json says (200000000"),
        (ELMO, "characters", 10**5, "a word has at most 1,000 characters"),
        (ELMO, "vocab_size", 10**8, "vocab_size is 100,000,000, but the tokenizer beside it"),
    ],
)
def test_absurd_numbers_of_a_gpt_and_an_elmo(tmp_path, shape, key, value, why):
    pieces = (*SPECIAL, *"abcdefg")
    model = build(shape, pieces=pieces, pair_task=False)
    save_model(tmp_path, model, Tokenizer(pieces), card="")
    edit_config(tmp_path, **{key: value})
    with pytest.raises((FolderError, UsageError)) as error:
        load_any(tmp_path)
    assert why in str(error.value)


def test_a_gpts_wrapped_names_and_shards(tmp_path):
    torch.manual_seed(0)
    theirs = OpenAIGPTLMHeadModel(
        OpenAIGPTConfig(vocab_size=12, n_positions=8, n_embd=16, n_layer=2, n_head=2, afn="swish")
    ).eval()
    theirs.save_pretrained(tmp_path / "a", max_shard_size="5KB")
    assert not (tmp_path / "a" / "model.safetensors").exists()
    theirs.save_pretrained(tmp_path / "b")
    edit_weights(tmp_path / "b", lambda t: {f"module.{name}": value for name, value in t.items()})
    ids = [5, 7, 2, 9]
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0]
        for folder in (tmp_path / "a", tmp_path / "b"):
            ours = load_any(folder)
            found = ours.logits(ours.gpt(pack([ids])))
            torch.testing.assert_close(found, expected, **CLOSE)
