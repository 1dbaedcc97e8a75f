"""Model folders: what can be wrong with one, and how it is told."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from bertsmith.checkpoints.folder import load_config, load_pretraining, save_model
from bertsmith.checkpoints.tensors import load_tensors
from bertsmith.core.errors import FolderError, SystemFault, UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.text.tokenizer.tokenizer import Tokenizer

VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a")
CONFIG = BertConfig(
    vocab_size=8,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=12,
)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "model", BertForPretraining(CONFIG), Tokenizer(VOCAB), card="# Card\n")
    return tmp_path / "model"


def edit_config(folder, **changes):
    path = folder / "config.json"
    keys = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in keys.items() if value != "gone"}))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_folder_holds_what_hugging_face_expects(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    keys = json.loads((folder / "config.json").read_text())
    assert keys["architectures"] == ["BertForPreTraining"]
    assert (keys["model_type"], keys["hidden_size"], keys["vocab_size"]) == ("bert", 8, 8)


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    model, _ = load_pretraining(folder)
    save_model(tmp_path / "again", model, Tokenizer(VOCAB), card="# Card\n")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_old_names_of_layer_norms_are_read(folder):
    before = load_pretraining(folder)[0].state_dict()

    def rename(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name)

    edit_weights(folder, rename)
    after = load_pretraining(folder)[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 8}, "unknown key 'hiden_size' (perhaps you meant 'hidden_size')"),
        ({"hidden_size": "8"}, "'hidden_size' is a string, expected an integer"),
        ({"num_attention_heads": 3}, "does not divide hidden_size 8; choose a head count"),
        ({"model_type": "roberta"}, "model_type is 'roberta', expected one of bert, openai-gpt"),
        ({"position_embedding_type": "relative_key"}, "bertsmith computes only 'absolute'"),
        ({"is_encoder_decoder": True}, "bertsmith computes only False"),
        ({"vocab_size": "gone"}, "no key 'vocab_size'; add it"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is 1.5; it must be in [0, 1)"),
    ],
)
def test_config_faults_are_named(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises((FolderError, UsageError)) as error:
        load_config(folder)
    assert message in str(error.value)
    assert str(folder / "config.json") in str(error.value)


def test_config_cut_short(folder):
    (folder / "config.json").write_text('{"hidden_size": 8')
    with pytest.raises(FolderError, match=r"not valid JSON .* may have been cut short"):
        load_config(folder)


def test_missing_folder_and_unfinished_run(tmp_path):
    with pytest.raises(FolderError, match="nowhere is not a folder"):
        load_config(tmp_path / "nowhere")
    (tmp_path / "checkpoints" / "step-00000020").mkdir(parents=True)
    with pytest.raises(FolderError, match=r"newest checkpoint is .*step-00000020"):
        load_config(tmp_path)


def test_weights_cut_short(folder):
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(FolderError, match=r"model\.safetensors is damaged"):
        load_pretraining(folder)


def test_weights_missing_or_pickled(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FolderError, match="check that the folder is the right one"):
        load_pretraining(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FolderError, match="is a pickle, which can run code"):
        load_pretraining(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("bert.encoder.layer.1.attention.self.key.bias"),
            "bert.encoder.layer.1.attention.self.key.bias is missing",
        ),
        (
            lambda tensors: tensors.pop("bert.embeddings.LayerNorm.weight"),
            "lacks 1 tensors, the first is bert.embeddings.LayerNorm.weight",
        ),
        (
            lambda tensors: tensors.update({"cls.predictions.biass": torch.zeros(8)}),
            "the first is cls.predictions.biass (perhaps you meant 'cls.predictions.bias')",
        ),
        (
            lambda tensors: tensors.update({"cls.predictions.bias": torch.zeros(9)}),
            "cls.predictions.bias has shape (9,), config.json says (8,)",
        ),
        (
            lambda tensors: tensors.update({"cls.predictions.decoder.weight": torch.zeros(8, 8)}),
            "cls.predictions.decoder.weight differs from bert.embeddings.word_embeddings.weight",
        ),
    ],
)
def test_wrong_tensors_are_named(folder, change, message):
    edit_weights(folder, change)
    with pytest.raises(FolderError) as error:
        load_pretraining(folder)
    assert message in str(error.value)


def test_half_precision_weights_come_as_fp32(folder):
    edit_weights(folder, lambda t: t.update({name: value.half() for name, value in t.items()}))
    assert {tensor.dtype for tensor in load_tensors(folder / "model.safetensors").values()} == {
        torch.float32
    }


def test_full_disk_leaves_no_half_file(folder, monkeypatch):
    from bertsmith.checkpoints import tensors as module

    def refuse(tensors, path, metadata):
        path.write_bytes(b"half")
        raise module.SafetensorError("I/O error: No space left on device (os error 28)")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(module, "save_file", refuse)
    with pytest.raises(SystemFault, match=r"write .*model\.safetensors: the disk is full"):
        save_model(folder, BertForPretraining(CONFIG), Tokenizer(VOCAB), card="# Other\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
