"""Vectors of folders of sentence-transformers: equal to its own, to 1e-5."""

import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from their_models import VOCAB, their_folder
from transformers import BertModel, BertTokenizerFast

import bertsmith
from bertsmith.checkpoints.convert import convert
from bertsmith.checkpoints.sentence_modules import read_sentence_model
from bertsmith.cli.main import main
from bertsmith.core.errors import FolderError, UsageError

WIDTH = 24
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
TEXTS = ["w1 w2 w3s", "w4", "", "W5 w6 w7 w8", "w9 " * 30, "w1s w1t unknown"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    their_folder(folder, BertModel)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def save(bert, target, *parts, prompts=None, default=None, **transformer):
    """Their model, and its folder at `target`."""
    torch.manual_seed(1)
    first = modules.Transformer(str(bert), **{"max_seq_length": 12} | transformer)
    model = SentenceTransformer(
        modules=[first, *parts], prompts=prompts, default_prompt_name=default, device="cpu"
    )
    model.save(str(target))
    return model


def check(theirs, folder, **how):
    expected = theirs.encode(TEXTS, **({"prompt_name": how["prompt"]} if how else {}))
    found = bertsmith.load(folder).embed(TEXTS, **how)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, **CLOSE)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_every_pooling(bert, tmp_path, mode):
    check(save(bert, tmp_path, modules.Pooling(WIDTH, pooling_mode=mode)), tmp_path)


def test_several_poolings_stand_side_by_side_in_the_given_order(bert, tmp_path):
    theirs = save(bert, tmp_path, modules.Pooling(WIDTH, pooling_mode=("mean", "cls", "max")))
    assert check(theirs, tmp_path).shape == (len(TEXTS), 3 * WIDTH)


def test_the_switches_of_older_versions_stand_in_their_order(bert, tmp_path):
    save(bert, tmp_path, modules.Pooling(WIDTH))
    keys = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    keys |= {"pooling_mode_lasttoken": True, "pooling_mode_cls_token": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(keys))
    check(SentenceTransformer(str(tmp_path), device="cpu"), tmp_path)
    assert read_sentence_model(tmp_path).pooling == ("cls", "mean", "lasttoken")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("outputs", "activation"), [(10, "Tanh"), (WIDTH, "GELU"), (7, "ReLU")])
def test_modules_behind_the_pooling(bert, tmp_path, outputs, activation, residual):
    theirs = save(
        bert,
        tmp_path,
        modules.Pooling(WIDTH),
        modules.Dense(
            WIDTH,
            outputs,
            bias=not residual,
            activation_function=getattr(torch.nn, activation)(),
            use_residual=residual,
        ),
        modules.Dropout(0.5),
        modules.LayerNorm(outputs),
        modules.Dense(outputs, 5, activation_function=torch.nn.Identity()),
        modules.Normalize(),
    )
    found = check(theirs, tmp_path)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    how = str(bertsmith.load(tmp_path).embedding())
    assert (
        how
        == "pooling mean, then Dense, LayerNorm, Dense, Normalize; texts are cut after 12 tokens"
    )


def test_prompts(bert, tmp_path):
    prompts = {"query": "w10 w11: ", "passage": "w12 "}
    theirs = save(bert, tmp_path, modules.Pooling(WIDTH), prompts=prompts, default="query")
    default, passage = check(theirs, tmp_path), check(theirs, tmp_path, prompt="passage")
    assert np.abs(default - passage).max() > 0.01
    np.testing.assert_allclose(default, check(theirs, tmp_path, prompt="query"), **CLOSE)
    model = bertsmith.load(tmp_path)
    np.testing.assert_allclose(
        model.embed(TEXTS, prompt=""), theirs.encode(TEXTS, prompt=""), **CLOSE
    )
    with pytest.raises(UsageError, match=r"prompt='pasage'.*perhaps you meant 'passage'"):
        model.embed(TEXTS, prompt="pasage")
    with pytest.raises(UsageError, match=r"prompt='query' needs a folder"):
        model.embed(TEXTS, pooling="mean", prompt="query")


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_that_does_not_count_when_pooling(bert, tmp_path, mode):
    pooling = modules.Pooling(WIDTH, pooling_mode=mode, include_prompt=False)
    theirs = save(bert, tmp_path, pooling, prompts={"query": "w10 w11 "}, default="query")
    check(theirs, tmp_path)


def test_a_prompt_without_room_for_text_is_refused(bert, tmp_path):
    prompts = {"query": "w1 " * 11}
    save(bert, tmp_path, modules.Pooling(WIDTH), prompts=prompts)
    model = bertsmith.load(tmp_path)
    with pytest.raises(UsageError, match=r"has 11 tokens, but a text of 12 has room for 10"):
        model.embed(TEXTS, prompt="query")


@pytest.mark.parametrize("limit", [5, 12, 16])
def test_texts_are_cut_at_the_folders_limit(bert, tmp_path, limit):
    theirs = save(bert, tmp_path, modules.Pooling(WIDTH), max_seq_length=limit)
    check(theirs, tmp_path)
    # Older versions wrote it elsewhere, which wins.
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4}))
    check(SentenceTransformer(str(tmp_path), device="cpu"), tmp_path)
    assert bertsmith.load(tmp_path).embedding().max_length == 4


@pytest.mark.parametrize("strip_accents", [None, True])
def test_lower_casing_before_a_cased_tokenizer(tmp_path, strip_accents):
    their_folder(tmp_path / "b", BertModel)
    vocab = [*VOCAB[:-4], "é", "e", "E", "σ"]
    (tmp_path / "b" / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab))
    BertTokenizerFast(
        vocab=str(tmp_path / "b" / "vocab.txt"), do_lower_case=False, strip_accents=strip_accents
    ).save_pretrained(tmp_path / "b")
    save(tmp_path / "b", tmp_path / "st", modules.Pooling(WIDTH))
    settings = json.dumps({"max_seq_length": 12, "do_lower_case": True})
    (tmp_path / "st" / "sentence_bert_config.json").write_text(settings)
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    texts = ["W1 É w2", "é", "e", "E Σ", "w3 σ"]
    found = bertsmith.load(tmp_path / "st").embed(texts)
    np.testing.assert_allclose(found, theirs.encode(texts), **CLOSE)
    assert (np.abs(found[1] - found[2]).max() < 1e-6) == bool(strip_accents)


@pytest.mark.parametrize("cased", [False, True])
def test_lower_casing_that_a_newer_version_wrote_into_the_tokenizer(bert, tmp_path, cased):
    shutil.copytree(bert, tmp_path / "b")
    tokenizer = BertTokenizerFast(vocab=str(bert / "vocab.txt"), do_lower_case=not cased)
    tokenizer.save_pretrained(tmp_path / "b")
    theirs = save(tmp_path / "b", tmp_path / "st", modules.Pooling(WIDTH), do_lower_case=True)
    if not cased:
        check(theirs, tmp_path / "st")
        return
    # Its own reader follows the other file, so the folder means one thing there and one here.
    with pytest.raises(FolderError, match=r"do_lower_case=False but .*lower-cases=True"):
        bertsmith.load(tmp_path / "st")


@pytest.mark.parametrize("name", ["0_BERT", "0_Transformer"])
def test_the_layout_with_the_transformer_in_a_folder_of_its_own(bert, tmp_path, name, capsys):
    theirs = save(bert, tmp_path / "st", modules.Pooling(WIDTH, pooling_mode="max"))
    st = tmp_path / "st"
    (st / name).mkdir()
    for path in list(st.iterdir()):
        if path.is_file() and path.name not in (
            "modules.json",
            "config_sentence_transformers.json",
        ):
            shutil.move(path, st / name / path.name)
    rows = json.loads((st / "modules.json").read_text())
    rows[0] |= {"path": name, "type": f"sentence_transformers.models.{name[2:]}"}
    (st / "modules.json").write_text(json.dumps(rows))
    check(theirs, st)
    (tmp_path / "texts.txt").write_text("w1 w2\nw3\n")
    out = tmp_path / "vectors.npy"
    assert main(["embed", str(st), str(tmp_path / "texts.txt"), "--out", str(out)]) == 0
    assert "pooling max; texts are cut after 12 tokens" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(out), theirs.encode(["w1 w2", "w3"]), **CLOSE)


@pytest.mark.parametrize("pickled", [False, True])
def test_conversion_keeps_the_vectors(bert, tmp_path, pickled):
    dense = modules.Dense(WIDTH, 6)
    parts = (modules.Pooling(WIDTH, pooling_mode="cls"), dense, modules.Normalize())
    theirs = save(bert, tmp_path / "st", *parts, prompts={"query": "w1 "}, default="query")
    if pickled:
        (tmp_path / "st" / "2_Dense" / "model.safetensors").unlink()
        torch.save(dense.state_dict(), tmp_path / "st" / "2_Dense" / "pytorch_model.bin")
        with pytest.raises(UsageError, match=r"2_Dense.pytorch_model.bin is a pickle"):
            bertsmith.load(tmp_path / "st").embed(TEXTS)
        with pytest.raises(UsageError, match=r"2_Dense.pytorch_model.bin is a pickle"):
            convert(tmp_path / "st", tmp_path / "no")
    convert(tmp_path / "st", tmp_path / "out", allow_pickle=pickled)
    check(theirs, tmp_path / "out")
    check(SentenceTransformer(str(tmp_path / "out"), device="cpu"), tmp_path / "out")


def test_an_own_choice_pools_the_models_own_states(bert, tmp_path):
    save(bert, tmp_path, modules.Pooling(WIDTH, pooling_mode="cls"), modules.Normalize())
    plain, model = bertsmith.load(bert), bertsmith.load(tmp_path)
    for how in ({"pooling": "mean"}, {"layers": (1,)}, {"pooling": "max", "layers": (0, -1)}):
        np.testing.assert_allclose(model.embed(TEXTS, **how), plain.embed(TEXTS, **how), **CLOSE)
    np.testing.assert_allclose(plain.embed(TEXTS), plain.embed(TEXTS, pooling="mean"))


def test_unit_length_and_batch_size(bert):
    model = bertsmith.load(bert)
    plain = model.embed(TEXTS)
    unit = model.embed(TEXTS, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(plain, axis=1)[:, None], plain, atol=1e-5)
    for size in (1, 4, 100):
        np.testing.assert_allclose(model.embed(TEXTS, batch_size=size), plain, atol=1e-5)
    with pytest.raises(UsageError, match=r"batch_size=0 is below 1"):
        model.embed(TEXTS, batch_size=0)


def broken(folder, path, change):
    keys = json.loads((folder / path).read_text())
    change(keys)
    (folder / path).write_text(json.dumps(keys))
    with pytest.raises((FolderError, UsageError)) as caught:
        bertsmith.load(folder).embed(TEXTS)
    return str(caught.value)


def test_what_is_not_supported_is_refused_by_name(bert, tmp_path):
    parts = (modules.Pooling(WIDTH), modules.Dense(WIDTH, 6), modules.LayerNorm(6))
    save(bert, tmp_path / "st", *parts)

    def refused(path, **keys):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "st", tmp_path / "copy")
        return broken(tmp_path / "copy", path, lambda found: found.update(keys))

    def module(number, kind):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "st", tmp_path / "copy")
        change = lambda rows: rows[number].update(type=kind)  # noqa: E731
        return broken(tmp_path / "copy", "modules.json", change)

    assert "a.b.LSTM is not supported" in module(2, "a.b.LSTM")
    assert "a.WordWeights, expected Pooling" in module(1, "a.WordWeights")
    assert "the first module is a.BoW" in module(0, "a.BoW")
    pooling, dense = "1_Pooling/config.json", "2_Dense/config.json"
    assert "['attention'], expected some of cls" in refused(pooling, pooling_mode="attention")
    assert "activation_function is 'my.Own'" in refused(dense, activation_function="my.Own")
    assert "'token_embeddings'" in refused(dense, module_input_name="token_embeddings")
    assert "are (7, 24), but" in refused(dense, out_features=7)
    settings = "config_sentence_transformers.json"
    assert "'none', which is none of its prompts" in refused(settings, default_prompt_name="none")


def test_a_name_that_is_a_folder_of_sentence_transformers():
    texts = ["A film that I would see again.", "Ein Film.", "word " * 400]
    model = bertsmith.load("minilm")
    theirs = SentenceTransformer(str(model.folder), device="cpu").encode(texts)
    np.testing.assert_allclose(model.embed(texts), theirs, **CLOSE)
    assert "mean, then Normalize; texts are cut after 256 tokens" in str(model.embedding())
