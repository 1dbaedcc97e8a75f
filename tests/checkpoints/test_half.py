"""A model in half the bytes: the same answers, in fp32 for whoever loads it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bertsmith.checkpoints.folder import load_any, load_pretraining, save_model
from bertsmith.checkpoints.half import write_half
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import GptForPretraining
from bertsmith.text.tokenizer.tokenizer import Tokenizer


def test_half_the_bytes_and_nearly_the_same_logits(small_model, tmp_path):
    done = write_half(small_model, tmp_path / "half")
    assert sorted(path.name for path in (tmp_path / "half").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert done.bytes < 0.6 * (small_model / "model.safetensors").stat().st_size
    assert 0 < done.difference < 1e-3
    assert done.same > 0.99


def test_whoever_loads_it_computes_in_fp32(small_model, tmp_path):
    transformers = pytest.importorskip("transformers")
    write_half(small_model, tmp_path / "half")
    for model in (load_pretraining(tmp_path / "half")[0], load_any(tmp_path / "half")):
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "half")
    assert theirs.dtype == torch.float32
    ids = torch.tensor([[2, 5, 4, 8, 3]])
    with torch.inference_mode():
        logits_TV = theirs(input_ids=ids).logits[0]
    before = transformers.AutoModelForMaskedLM.from_pretrained(small_model)
    with torch.inference_mode():
        assert (before(input_ids=ids).logits[0] - logits_TV).abs().max() < 1e-3


def copy_with(folder, out, change):
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    tensors = load_file(out / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_weights_beyond_fp16_are_refused(small_model, tmp_path):
    def change(tensors):
        tensors["cls.predictions.bias"][3] = 70_000

    large = copy_with(small_model, tmp_path / "large", change)
    with pytest.raises(FolderError, match=r"^cls\.predictions\.bias has weights beyond 65,504"):
        write_half(large, tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large"]


def test_answers_that_change_are_refused(small_model, tmp_path):
    def change(tensors):
        tensors["cls.predictions.bias"] += 5_000.7  # a step of fp16 is 4 there

    coarse = copy_with(small_model, tmp_path / "coarse", change)
    with pytest.raises(FolderError, match=r"in fp16 a logit changes by \d.*more than 0\.1;"):
        write_half(coarse, tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coarse"]


def test_what_is_not_a_bert_with_a_card_is_refused(small_model, tmp_path):
    tokenizer = Tokenizer.load(small_model)
    shape = GptConfig(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2)
    save_model(tmp_path / "gpt", GptForPretraining(shape), tokenizer, card="")
    with pytest.raises(UsageError, match="not a BERT that reads both sides"):
        write_half(tmp_path / "gpt", tmp_path / "half")
    bare = copy_with(small_model, tmp_path / "bare", lambda tensors: None)
    (bare / "README.md").unlink()
    with pytest.raises(FolderError, match=r"README\.md is missing"):
        write_half(bare, tmp_path / "half")
    with pytest.raises(UsageError, match=r"gpt exists already"):
        write_half(small_model, tmp_path / "gpt")
    assert json.loads((tmp_path / "gpt" / "config.json").read_text())["model_type"] == "openai-gpt"
