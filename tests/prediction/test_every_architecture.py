"""The commands on a GPT, an ELMo and a left-to-right BERT: what each can do, and why not the rest."""

import json

import numpy as np
import pytest
import torch
from conftest import TOY_VOCAB, write_toy_corpus

import bertsmith
from bertsmith.cli import main
from bertsmith.errors import UsageError
from bertsmith.models.architectures import build
from bertsmith.models.folder import load_task, save_model
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
        max_position_embeddings=64,
    ),
    "left": BertConfig(
        vocab_size=SIZE,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        is_decoder=True,
    ),
    "gpt": GptConfig(vocab_size=SIZE, n_positions=64, n_embd=16, n_layer=2, n_head=2),
    "elmo": ElmoConfig(
        vocab_size=SIZE, characters=12, filters=((1, 4), (2, 4)), projection=8, lstm_width=16
    ),
}
ALL = list(SHAPES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each with random weights, a corpus, and labelled rows."""
    root = tmp_path_factory.mktemp("every")
    torch.manual_seed(0)
    for name, shape in SHAPES.items():
        model = build(shape, pieces=TOY_VOCAB, pair_task=False)
        save_model(root / name, model, Tokenizer(TOY_VOCAB), card="")
    write_toy_corpus(root / "corpus")
    rows = [f"w{n % 20} w{n % 7} w{n % 3},w{n % 11} w{n % 5},{'ab'[n % 2]}" for n in range(24)]
    (root / "pairs.csv").write_text("\n".join(["text,other,label", *rows]))
    return root


@pytest.mark.parametrize("name", ALL)
def test_a_corpus_scores_it(folders, name, capsys):
    assert main(["evaluate", str(folders / name), "--data", str(folders / "corpus"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    objectives = {"bert": ["mlm"], "elmo": ["backward", "forward"]}.get(name, ["forward"])
    assert sorted(found["scores"]) == sorted(
        f"{one}_{what}" for one in objectives for what in ("loss", "accuracy")
    )
    for one in objectives:
        assert 3 < found["scores"][f"{one}_loss"] < 6


@pytest.mark.parametrize("name", ALL)
def test_info_names_it(folders, name, capsys):
    assert main(["info", str(folders / name)]) == 0
    said = capsys.readouterr().out
    assert {
        "bert": "BERT, 2 layers",
        "left": "BERT, 2 layers",
        "gpt": "GPT, 2 layers, 16 wide",
    }.get(name, "ELMo, 2 LSTM layers of 16 in each direction, 16 wide together") in said


@pytest.mark.parametrize("name", ALL)
def test_fill_says_what_it_cannot_see(folders, name):
    model = bertsmith.load(folders / name)
    one, other = (model.fill(f"w1 [MASK] {last}") for last in ("w3", "w9"))
    same = one.blanks[0].candidates == other.blanks[0].candidates
    assert same == (name in ("left", "gpt"))
    assert bool(one.note) == (name != "bert")
    assert sum(
        guess.probability for guess in model.fill("w1 [MASK]", top=SIZE).blanks[0].candidates
    ) == (pytest.approx(1, abs=1e-4))
    if name != "bert":
        with pytest.raises(UsageError, match="holds 2 times"):
            model.fill("[MASK] w1 [MASK]")


@pytest.mark.parametrize("name", ALL)
def test_embed_takes_the_mean_and_refuses_what_knows_nothing(folders, name):
    model = bertsmith.load(folders / name)
    vectors = model.embed(["w1 w2", "w3", "w1 w2"])
    assert vectors.shape == (3, 16)
    assert np.array_equal(vectors[0], vectors[2])
    if name in ("left", "gpt"):
        with pytest.raises(UsageError, match="knows nothing of the text at its first token"):
            model.embed(["w1"], pooling="cls")


@pytest.mark.parametrize("name", ["bert", "left", "elmo"])
def test_only_a_gpt_writes_on(folders, name):
    with pytest.raises(UsageError, match="is no GPT"):
        bertsmith.load(folders / name).generate("w1")


@pytest.mark.parametrize("name", ALL)
def test_it_is_tuned_on_pairs_evaluated_and_asked(folders, name, tmp_path, capsys):
    data, out = str(folders / "pairs.csv"), tmp_path / "tuned"
    arguments = ["finetune", "classify", "--model", str(folders / name), "--train", data]
    arguments += ["--text-pair", "other", "--epochs", "2", "--seeds", "2", "--out", str(out)]
    assert main(arguments) == 0, capsys.readouterr().err
    assert load_task(out).labels == ("a", "b")
    assert main(["evaluate", str(out), "--data", data]) == 0
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(out), data, "--out", str(answers)]) == 0
    assert len(answers.read_text().splitlines()) == 25
    capsys.readouterr()
    assert main(["score", str(out), "w1"]) == 2
    assert "has no head that predicts words" in capsys.readouterr().err


def test_an_elmo_is_frozen_unless_told_otherwise(folders, tmp_path):
    source = bertsmith.FinetuneSource(task="classify", train=str(folders / "pairs.csv"))
    before = bertsmith.load(folders / "elmo").model.elmo.state_dict()
    for name, settings, same in (("frozen", {}, True), ("tuned", {"frozen": False}, False)):
        job = bertsmith.FinetuneJob(
            source=source, model=str(folders / "elmo"), settings={"epochs": 1} | settings
        )
        result = bertsmith.finetune(job, tmp_path / name)
        assert result.config.learning_rate == (1e-3 if same else 1e-4)
        after = load_task(tmp_path / name).elmo.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before) == same


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("gpt", {"frozen": True}, "--frozen is for an ELMo"),
        ("elmo", {"bilstm": True}, "--bilstm is for a BERT"),
    ],
)
def test_settings_of_another_architecture_are_refused(folders, tmp_path, name, flags, said):
    source = bertsmith.FinetuneSource(task="classify", train=str(folders / "pairs.csv"))
    job = bertsmith.FinetuneJob(source=source, model=str(folders / name), settings=flags)
    with pytest.raises(UsageError, match=said):
        bertsmith.finetune(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()
