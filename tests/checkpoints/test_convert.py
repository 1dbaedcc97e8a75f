"""Folders of other programs in, model folders and ELMo's files out."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from their_models import VOCAB, check_outputs, outputs, their_folder, their_model, write_vocab
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    BertTokenizerFast,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from bertsmith.checkpoints import bilm
from bertsmith.checkpoints.convert import convert
from bertsmith.checkpoints.folder import load_any, save_model
from bertsmith.cli.main import main
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo, ElmoForPretraining
from bertsmith.models.family import encoder_of
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer.tokenizer import Tokenizer

HEADS = {
    BertModel: {},
    BertForPreTraining: {},
    BertForMaskedLM: {},
    BertLMHeadModel: {"is_decoder": True},
    BertForNextSentencePrediction: {},
    BertForSequenceClassification: {"num_labels": 3},
    BertForMultipleChoice: {},
    BertForTokenClassification: {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}},
    BertForQuestionAnswering: {},
}


# Folders of `transformers`.


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("form", ["one file", "shards", "pickle", "pickled shards"])
def test_every_head_of_transformers_gives_the_same_outputs(tmp_path, kind, form):
    model = their_folder(tmp_path / "theirs", kind, **HEADS[kind])
    split(tmp_path / "theirs", form)
    done = convert(tmp_path / "theirs", tmp_path / "out", allow_pickle="pickle" in form)
    assert done.architecture == kind.__name__
    assert done.dropped == {}
    assert not list((tmp_path / "out").glob("*.bin"))
    check_outputs(tmp_path / "out", model)
    convert(tmp_path / "out", tmp_path / "again")
    for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json"):
        first, second = (tmp_path / place / name for place in ("out", "again"))
        assert first.read_bytes() == second.read_bytes(), name


def split(folder, form):
    """Puts the weights of a folder into two files, into pickles, or both."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink(missing_ok=form != "one file")
    if form == "one file":
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    if form == "pickle":
        torch.save(tensors, folder / "pytorch_model.bin")
        return
    stem, ending = ("model", "safetensors") if form == "shards" else ("pytorch_model", "bin")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for number, (name, value) in enumerate(tensors.items()):
        parts.setdefault(f"{stem}-0000{number % 2 + 1}-of-00002.{ending}", {})[name] = value
    for file, part in parts.items():
        if form == "shards":
            save_file(part, folder / file, {"format": "pt"})
        else:
            torch.save(part, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def test_old_names_prefixes_and_copies_are_put_right(tmp_path):
    model = their_folder(tmp_path / "old", BertForPreTraining)
    tensors = load_file(tmp_path / "old" / "model.safetensors")

    def old(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "module." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    words = tensors["bert.embeddings.word_embeddings.weight"].clone()
    changed = {old(name): value for name, value in tensors.items()}
    changed |= {"module.cls.predictions.decoder.weight": words}
    changed |= {"module.bert.embeddings.position_ids": torch.arange(16)}
    changed |= {"module.my.layer": torch.ones(2)}
    save_file(changed, tmp_path / "old" / "model.safetensors", {"format": "pt"})
    done = convert(tmp_path / "old", tmp_path / "out")
    assert sorted(done.dropped) == [
        "module.bert.embeddings.position_ids",
        "module.cls.predictions.decoder.weight",
        "module.my.layer",
    ]
    assert "repeats module.bert.embeddings.word" in done.dropped[sorted(done.dropped)[1]]
    check_outputs(tmp_path / "out", model)


def test_a_copy_that_differs_is_refused(tmp_path):
    their_folder(tmp_path / "m", BertForPreTraining)
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = torch.zeros(33, 24)
    save_file(tensors, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FolderError, match=r"decoder\.weight differs from"):
        convert(tmp_path / "m", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizers_files_are_carried_unchanged(tmp_path):
    their_folder(tmp_path / "m", BertForMaskedLM)
    tokenizer = BertTokenizerFast(tokenizer_file=None, vocab=str(tmp_path / "m" / "vocab.txt"))
    tokenizer.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("# My card\n")
    convert(tmp_path / "m", tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "m" / name).read_bytes()


# Pickles.


class Harmful:
    def __reduce__(self):
        return (print, ("this ran",))


def test_a_pickle_is_read_only_when_it_is_allowed(tmp_path, capsys):
    their_folder(tmp_path / "m", BertForMaskedLM)
    split(tmp_path / "m", "pickle")
    assert main(["convert", str(tmp_path / "m"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "pytorch_model.bin is a pickle" in error
    assert "--allow-pickle" in error
    assert not (tmp_path / "out").exists()
    command = ["convert", str(tmp_path / "m"), str(tmp_path / "out"), "--allow-pickle"]
    assert main(command) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Harmful()}, "more than weights"),
        ([1, 2], "holds list, expected tensors"),
        ({"a": 3}, "'a' is int, expected a tensor"),
        ({"a": torch.zeros(3).to_sparse()}, "a is sparse or quantized"),
        ({"a": torch.zeros(1).expand(1 << 20, 1 << 10)}, "more than the file holds"),
        ({}, "holds dict, expected tensors"),
    ],
)
def test_a_pickle_of_anything_but_tensors_is_refused(tmp_path, content, message, capsys):
    their_folder(tmp_path / "m", BertForMaskedLM)
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(content, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(FolderError, match=message):
        convert(tmp_path / "m", tmp_path / "out", allow_pickle=True)
    assert "this ran" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_tensors_of_a_pickle_may_share_memory(tmp_path):
    model = their_folder(tmp_path / "m", BertForMaskedLM)
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "model.safetensors").unlink()
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    names = [f"bert.encoder.layer.{layer}.output.LayerNorm.weight" for layer in (0, 1)]
    tensors[names[0]] = tensors[names[1]]
    model.load_state_dict(tensors, strict=False)
    query = "bert.encoder.layer.0.attention.self.query.weight"
    tensors[query] = tensors[query].mT.contiguous().mT
    torch.save(tensors, tmp_path / "m" / "pytorch_model.bin")
    convert(tmp_path / "m", tmp_path / "out", allow_pickle=True)
    check_outputs(tmp_path / "out", model)


def test_damaged_pickles_are_refused(tmp_path):
    their_folder(tmp_path / "m", BertForMaskedLM)
    split(tmp_path / "m", "pickle")
    path = tmp_path / "m" / "pytorch_model.bin"
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    old = tmp_path / "old.bin"
    torch.save(torch.load(path), old, _use_new_zipfile_serialization=False)
    for start in (whole, old.read_bytes()):
        for _ in range(25):
            changed = bytearray(start[: generator.integers(1, len(start))])
            changed[generator.integers(len(changed))] ^= 8
            path.write_bytes(changed)
            with pytest.raises((FolderError, UsageError)) as error:
                convert(tmp_path / "m", tmp_path / "out", allow_pickle=True)
            assert "\n" not in str(error.value)


# sentence-transformers; its vectors are in tests/inference/test_sentence_transformers.py.


def test_a_missing_folder_of_a_module_without_files_is_no_damage(tmp_path):
    """Archives drop empty folders, so a published `2_Normalize` may be gone."""
    their_folder(tmp_path / "st", BertModel)
    kind = "sentence_transformers.models."
    rows = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kind}Transformer"},
        {"idx": 1, "name": "1", "path": "2_Normalize", "type": f"{kind}Normalize"},
    ]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(rows))
    convert(tmp_path / "st", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "modules.json").read_text()) == rows


def test_modules_outside_the_folder_and_other_kinds_are_refused(tmp_path):
    their_folder(tmp_path / "m", BertModel)
    row = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}

    def refused(*rows):
        (tmp_path / "m" / "modules.json").write_text(json.dumps(rows))
        with pytest.raises((FolderError, UsageError)) as error:
            convert(tmp_path / "m", tmp_path / "out")
        return str(error.value)

    assert "'../x'" in refused(row, row | {"path": "../x", "type": "a.Pooling"})
    assert "'/etc'" in refused(row | {"path": "/etc"})
    assert "a.BoW, expected a Transformer" in refused(row | {"type": "a.BoW"})
    (tmp_path / "m" / "2_Dense").mkdir()
    (tmp_path / "m" / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")
    assert "2_Dense/pytorch_model.bin is a pickle" in refused(
        row, row | {"path": "2_Dense", "type": "a.Dense"}
    )


# GPT and ELMo.


def test_the_released_gpt_gives_the_same_logits(tmp_path):
    torch.manual_seed(0)
    pieces = ["<unk>", *(f"{letter}</w>" for letter in "abcd"), *"abcd", "ab", "ab</w>"]
    shape = {"vocab_size": len(pieces), "n_positions": 16, "n_embd": 64, "n_layer": 2, "n_head": 1}
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**shape, initializer_range=0.2)).eval()
    folder = tmp_path / "gpt"
    folder.mkdir()
    state = model.state_dict()
    order = ["transformer.positions_embed.weight", "transformer.tokens_embed.weight"]
    for layer in range(2):
        for part in ("attn.c_attn", "attn.c_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2"):
            order += [f"transformer.h.{layer}.{part}.{kind}" for kind in ("weight", "bias")]
    arrays = [state[name].numpy() for name in order]
    convolutions = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    shapes = [
        [1, *array.shape] if name.endswith(convolutions) else list(array.shape)
        for name, array in zip(order, arrays, strict=True)
    ]
    (folder / "params_shapes.json").write_text(json.dumps(shapes))
    flat = np.concatenate([array.ravel() for array in arrays])
    for number, part in enumerate(np.array_split(flat, 10)):
        np.save(folder / f"params_{number}.npy", part)
    ids = {piece: number for number, piece in enumerate(pieces)}
    (folder / "encoder_bpe_40000.json").write_text(json.dumps(ids))
    (folder / "vocab_40000.bpe").write_text("#version: 0.2\na b\na b</w>\n")
    done = convert(folder, tmp_path / "out")
    assert done.architecture == "OpenAIGPTLMHeadModel"
    again = OpenAIGPTLMHeadModel.from_pretrained(tmp_path / "out").eval()
    tokens = torch.tensor([[1, 5, 7, 10]])
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, model(tokens).logits, atol=1e-5, rtol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("ab") == ["ab</w>"]
    convert(tmp_path / "out", tmp_path / "again")
    (folder / "params_3.npy").unlink()
    with pytest.raises(FolderError, match=r"params_0\.npy to params_2\.npy hold"):
        convert(folder, tmp_path / "not")
    (folder / "params_shapes.json").write_text(json.dumps(shapes[:-1]))
    with pytest.raises(FolderError, match="has 25 shapes"):
        convert(folder, tmp_path / "not")


SMALL_ELMO = ElmoConfig(
    vocab_size=len(VOCAB),
    characters=10,
    char_width=4,
    filters=((1, 4), (2, 4)),
    highways=1,
    projection=6,
    lstm_width=12,
    lstm_layers=2,
)


def test_a_published_elmo_gives_the_same_states_and_goes_out_again(tmp_path):
    torch.manual_seed(0)
    model = Elmo(SMALL_ELMO, VOCAB).eval()
    bilm.write_elmo(tmp_path / "published", model)
    write_vocab(tmp_path / "vocabulary")
    with pytest.raises(UsageError, match="`tokenizer`"):
        convert(tmp_path / "published", tmp_path / "out")
    done = convert(tmp_path / "published", tmp_path / "out", tokenizer=tmp_path / "vocabulary")
    assert done.layout == "a published ELMo"
    packed = pack([[7, 8, 9], [10, 11]])
    with torch.no_grad():
        again = encoder_of(load_any(tmp_path / "out"))(packed)
        torch.testing.assert_close(again, model(packed), atol=1e-6, rtol=0)
    done = convert(tmp_path / "out", tmp_path / "back", to="elmo")
    assert done.files == ["options.json", "weights.hdf5"]
    back = bilm.read_elmo(tmp_path / "back" / "options.json", tmp_path / "back" / "weights.hdf5")
    assert all(torch.equal(back.state_dict()[n], v) for n, v in model.state_dict().items())


def test_the_softmax_of_an_elmo_is_left_out_of_its_published_layout(tmp_path):
    torch.manual_seed(0)
    model = ElmoForPretraining(SMALL_ELMO, VOCAB)
    save_model(tmp_path / "elmo", model, Tokenizer(VOCAB), card="")
    done = convert(tmp_path / "elmo", tmp_path / "out", to="elmo")
    assert sorted(done.dropped) == ["bias_V", "word_VP"]


# Precision, and what is refused.


@pytest.mark.parametrize(
    ("dtype", "torch_dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_a_smaller_precision_halves_the_weights(tmp_path, dtype, torch_dtype):
    model = their_folder(tmp_path / "m", BertForSequenceClassification)
    done = convert(tmp_path / "m", tmp_path / "out", dtype=dtype)
    assert 0 < done.difference < 0.2
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch_dtype}
    again = BertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert again.dtype == torch.float32
    assert (outputs(again)[0] - outputs(model)[0]).abs().max() < 0.1


def test_weights_that_fp16_cannot_hold_are_refused(tmp_path):
    their_folder(tmp_path / "m", BertForMaskedLM)
    tensors = load_file(tmp_path / "m" / "model.safetensors")

    def with_bias(change):
        save_file(
            tensors | {"cls.predictions.bias": tensors["cls.predictions.bias"] + change},
            tmp_path / "m" / "model.safetensors",
            {"format": "pt"},
        )
        with pytest.raises(FolderError) as error:
            convert(tmp_path / "m", tmp_path / "out", dtype="fp16")
        assert not (tmp_path / "out").exists()
        return str(error.value)

    assert "cls.predictions.bias has weights beyond 65,504" in with_bias(70_000)
    assert "in fp16 an output changes by" in with_bias(50_007.7)  # a step of fp16 is 32 there


def test_what_cannot_be_converted_is_refused_and_nothing_written(tmp_path, capsys):
    their_folder(tmp_path / "m", BertForMaskedLM)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "readme.md").write_text("")
    capsys.readouterr()
    for arguments, message in (
        (["m", "full"], "full already exists"),
        (["full", "out"], "holds no checkpoint in a known layout"),
        (["readme.md", "out"], "is not in a known layout"),
        (["nothing-here/x/y", "out"], "no such folder"),
        (["m", "out", "--to", "elmo"], "is not an ELMo"),
        (["m", "out", "--to", "tensorflow-npz", "--dtype", "fp16"], "remove --dtype"),
        (["m", "out", "--to", "onnx"], "unknown value 'onnx'"),
    ):
        places = [str(tmp_path / word) for word in arguments[:2]]
        assert main(["convert", *places, *arguments[2:]]) == 2
        error = capsys.readouterr().err
        assert message in error, error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "m", "readme.md"]


def test_heads_of_the_wrong_size_are_refused_under_the_sources_name(tmp_path):
    their_folder(tmp_path / "m", BertForSequenceClassification, num_labels=3)
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors["classifier.weight"] = torch.zeros(4, 24)
    save_file(tensors, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FolderError, match=r"classifier\.weight has shape \(4, 24\)") as error:
        convert(tmp_path / "m", tmp_path / "out")
    assert ".partial" not in str(error.value)


# The command.


def test_the_command_reports_and_continues(tmp_path, capsys):
    their_folder(tmp_path / "m", BertForPreTraining)
    here, out = str(tmp_path / "m"), str(tmp_path / "out")
    assert main(["convert", here, out, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "bert.encoder.layer.1.output.dense.weight" in text
    assert "[24, 48]" in text
    assert not (tmp_path / "out").exists()
    assert main(["convert", here, out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["architecture"], found["family"]) == ("BertForPreTraining", "bert")
    assert found["parameters"] == sum(
        p.numel() for p in their_model(BertForPreTraining).parameters()
    )
    assert main(["convert", out, f"{out}2"]) == 0
    assert f"bertsmith fill {out}2" in capsys.readouterr().out
