"""Google's checkpoints, in and out, to the bit; `transformers` agrees to 1e-5."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_files as files
import torch
from safetensors.torch import load_file
from their_models import (
    VOCAB,
    check_outputs,
    google_arrays,
    google_folder,
    their_folder,
    their_model,
    write_vocab,
)
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
)

from bertsmith.checkpoints.convert import convert
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

# Google's checkpoints.


@pytest.mark.parametrize(
    "kind",
    [
        BertForPreTraining,
        BertForMaskedLM,
        BertForNextSentencePrediction,
        BertForSequenceClassification,
        BertForQuestionAnswering,
        BertModel,
    ],
)
def test_a_checkpoint_of_google_gives_the_same_model(tmp_path, kind):
    model = their_model(kind)
    if kind is BertModel:
        arrays = {f"bert.{name}": value for name, value in model.state_dict().items()}
        wrapped = their_model(BertForPreTraining)
        wrapped.load_state_dict(arrays, strict=False)
        wrapped.state_dict = lambda: arrays
        google_folder(tmp_path / "google", wrapped)
    else:
        google_folder(tmp_path / "google", model, shards=2, compressed=True)
    done = convert(tmp_path / "google", tmp_path / "out")
    assert done.architecture == kind.__name__
    assert set(done.dropped) == {
        "global_step",
        "bert/pooler/dense/bias/adam_m",
        "bert/pooler/dense/bias/adam_v",
    }
    stored = load_file(tmp_path / "out" / "model.safetensors")
    theirs = model.state_dict()
    for name, value in stored.items():
        expected = theirs[name if name in theirs else name.removeprefix("bert.")]
        assert torch.equal(value, expected), name
    check_outputs(tmp_path / "out", model)


def test_the_tokenizer_follows_the_vocabulary(tmp_path):
    google_folder(tmp_path / "uncased", their_model(BertForPreTraining))
    convert(tmp_path / "uncased", tmp_path / "lower")
    google_folder(tmp_path / "cased", their_model(BertForPreTraining))
    write_vocab(tmp_path / "cased", [*SPECIAL, *(f"W{number}" for number in range(28))])
    done = convert(tmp_path / "cased", tmp_path / "upper")
    assert "keeps capitals" in " ".join(done.notes)
    for name, text in (("lower", "W3"), ("upper", "W3")):
        ids = Tokenizer.load(tmp_path / name).encode(text).ids
        assert ids == [8]
        assert AutoTokenizer.from_pretrained(tmp_path / name)(text)["input_ids"] == [2, 8, 3]
    assert Tokenizer.load(tmp_path / "upper").encode("w3").ids == [1]


@pytest.mark.parametrize(("name", "doubts"), [("multi_cased_L-2", True), ("uncased_L-2", False)])
def test_a_folder_whose_name_contradicts_its_vocabulary_is_doubted(tmp_path, name, doubts):
    google_folder(tmp_path / name, their_model(BertForPreTraining))
    notes = convert(tmp_path / name, tmp_path / "out", dry_run=True).notes
    assert any("name says cased" in note for note in notes) == doubts


def test_every_unmatched_name_is_reported(tmp_path):
    more = {"my/adapter/kernel": np.ones((2, 2), np.float32), "step": np.array(3, np.int32)}
    google_folder(tmp_path / "google", their_model(BertForPreTraining), more=more)
    done = convert(tmp_path / "google", tmp_path / "out")
    unknown = {name for name, why in done.dropped.items() if "optimizer" not in why}
    assert unknown == {"my/adapter/kernel", "step"}
    assert len(done.mapped) == len(load_file(tmp_path / "out" / "model.safetensors"))


@pytest.mark.parametrize(
    "given",
    [
        "bert_model.ckpt",
        "bert_model.ckpt.index",
        "bert_model.ckpt.meta",
        "bert_model.ckpt.data-00000-of-00001",
        "",
    ],
)
def test_a_checkpoint_is_found_by_any_of_its_files(tmp_path, given):
    google_folder(tmp_path, their_model(BertForPreTraining))
    done = convert(tmp_path / given, tmp_path / "out", dry_run=True)
    assert len(done.mapped) == 46
    assert not (tmp_path / "out").exists()


def test_of_several_checkpoints_the_latest_is_taken_or_they_are_listed(tmp_path):
    model = their_model(BertForPreTraining)
    for step in (10, 20):
        google_folder(tmp_path / "g", model, prefix=f"model.ckpt-{step}")
    with pytest.raises(UsageError, match=r"model\.ckpt-10\.index, model\.ckpt-20\.index"):
        convert(tmp_path / "g", tmp_path / "out")
    text = 'model_checkpoint_path: "/data/run/model.ckpt-20"\nall_model_checkpoint_paths: "x"\n'
    (tmp_path / "g" / "checkpoint").write_text(text)
    (tmp_path / "g" / "model.ckpt-10.data-00000-of-00001").unlink()
    assert convert(tmp_path / "g", tmp_path / "out").parameters > 0


def google_damage(folder):
    """Name of a damage -> what does it, and what the message says."""
    index = folder / "bert_model.ckpt.index"
    data = folder / "bert_model.ckpt.data-00000-of-00001"
    config = folder / "bert_config.json"

    def edit(**changes):
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    def flip(path, at):
        changed = bytearray(path.read_bytes())
        changed[at] ^= 1
        path.write_bytes(changed)

    return {
        "no index": (index.unlink, r"index is missing"),
        "no data": (data.unlink, r"data-00000-of-00001 is missing"),
        "index": (lambda: flip(index, 30), r"index is damaged \(the checksum of the block"),
        "data": (lambda: flip(data, 999), r"the checksum of bert/embeddings/"),
        "cut": (lambda: data.write_bytes(data.read_bytes()[:-9]), r"was cut short"),
        "no config": (config.unlink, r"holds no bert_config\.json"),
        "layers": (lambda: edit(num_hidden_layers=3), r"num_hidden_layers is 3, but .* has 2"),
        "absurd": (lambda: edit(num_hidden_layers=1 << 27), r"is 134,217,728, but .* has 2"),
        "width": (
            lambda: edit(intermediate_size=50),
            r"dense/kernel has shape \(\d+, \d+\), bert_config\.json says",
        ),
        "no vocabulary": ((folder / "vocab.txt").unlink, r"holds no vocab\.txt; .*`tokenizer`"),
        "vocabulary": (
            lambda: write_vocab(folder, [*VOCAB, "more"]),
            r"vocabulary has 34 pieces, but .*vocab_size 33",
        ),
        "activation": (lambda: edit(hidden_act="swiglu"), r"hidden_act is 'swiglu'"),
        "not json": (lambda: config.write_text("{"), r"not valid JSON"),
    }


@pytest.mark.parametrize("damage", google_damage(Path()))
def test_a_damaged_checkpoint_of_google_is_refused_by_name(tmp_path, damage):
    folder = google_folder(tmp_path / "google", their_model(BertForPreTraining))
    do, message = google_damage(folder)[damage]
    do()
    with pytest.raises((FolderError, UsageError), match=message) as error:
        convert(folder, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["google"]


def test_sliced_missing_and_foreign_variables_are_refused(tmp_path):
    model = their_model(BertForPreTraining)
    slices = {"more": files.field(7, files.field(1, b"\x08\x00"))}
    changes = {"bert/embeddings/position_embeddings": slices}
    google_folder(tmp_path / "sliced", model, changes=changes)
    with pytest.raises(FolderError, match=r"position_embeddings is a partitioned variable"):
        convert(tmp_path / "sliced", tmp_path / "out")
    key = {"bert/pooler/dense/bias/adam_m": slices}
    google_folder(tmp_path / "slot", model, changes=key)
    convert(tmp_path / "slot", tmp_path / "fine")
    nan = google_arrays(model)["bert/pooler/dense/bias"] * np.nan
    google_folder(tmp_path / "nan", model, more={"bert/pooler/dense/bias": nan})
    with pytest.raises(FolderError, match=r"bert/pooler/dense/bias holds 24 numbers that are not"):
        convert(tmp_path / "nan", tmp_path / "out")
    some = google_arrays(model)
    del some["bert/encoder/layer_1/attention/self/query/kernel"]
    files.write_checkpoint(tmp_path / "slot" / "bert_model.ckpt", some)
    with pytest.raises(FolderError, match=r"lacks 1 tensors .* bert/encoder/layer_1/.*query/ker"):
        convert(tmp_path / "slot", tmp_path / "out")
    files.write_checkpoint(tmp_path / "slot" / "bert_model.ckpt", {"albert/x": nan})
    with pytest.raises(FolderError, match=r"not a checkpoint of Google's BERT.*albert/x"):
        convert(tmp_path / "slot", tmp_path / "out")
    files.write_checkpoint(
        tmp_path / "slot" / "bert_model.ckpt", {"_CHECKPOINTABLE_OBJECT_GRAPH": nan}
    )
    with pytest.raises(FolderError, match=r"TensorFlow 2"):
        convert(tmp_path / "slot", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Google's names, written.


@pytest.mark.parametrize(
    "kind", [BertForPreTraining, BertForSequenceClassification, BertForQuestionAnswering]
)
def test_what_goes_out_as_npz_are_the_variables_of_google(tmp_path, kind):
    model = their_folder(tmp_path / "model", kind)
    done = convert(tmp_path / "model", tmp_path / "npz", to="tensorflow-npz")
    assert done.files == ["bert_config.json", "bert_model.npz", "vocab.txt"]
    expected = google_arrays(model)
    with np.load(tmp_path / "npz" / "bert_model.npz") as found:
        assert set(found) == set(expected)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert (tmp_path / "npz" / "vocab.txt").read_text().splitlines() == VOCAB
    convert(tmp_path / "npz", tmp_path / "again")
    check_outputs(tmp_path / "again", model)
    convert(tmp_path / "npz" / "bert_model.npz", tmp_path / "file")
    before, after = (load_file(tmp_path / n / "model.safetensors") for n in ("again", "file"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_heads_that_google_has_not_are_left_out_of_the_npz(tmp_path):
    their_folder(tmp_path / "model", BertForTokenClassification)
    done = convert(tmp_path / "model", tmp_path / "npz", to="tensorflow-npz")
    assert set(done.dropped) == {"classifier.weight", "classifier.bias"}
    with np.load(tmp_path / "npz" / "bert_model.npz") as found:
        assert not [name for name in found if "output_weights" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_norm_eps": 1e-5}, r"layer_norm_eps is 1e-05"),
        ({"hidden_act": "silu"}, r"hidden_act 'silu'"),
        ({"is_decoder": True}, r"not a bidirectional BERT"),
    ],
)
def test_what_googles_code_does_not_compute_is_not_written_as_npz(tmp_path, changes, message):
    kind = BertLMHeadModel if "is_decoder" in changes else BertForMaskedLM
    their_folder(tmp_path / "model", kind, **changes)
    with pytest.raises(UsageError, match=message):
        convert(tmp_path / "model", tmp_path / "npz", to="tensorflow-npz")
    assert not (tmp_path / "npz").exists()
