"""The commands on a GPT, an ELMo and a left-to-right BERT: what each can do, and what not."""

import json

import numpy as np
import pytest
import torch
from conftest import TOY_VOCAB, write_toy_corpus
from heads import head_of
from transformers import pipeline

import bertsmith
from bertsmith.checkpoints.folder import load_task, save_model
from bertsmith.cli.main import main
from bertsmith.core.errors import UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build, build_for_task
from bertsmith.models.gpt.config import GptConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

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
        "left": "BERT, left to right, 2 layers",
        "gpt": "GPT, 2 layers, 16 wide",
    }.get(name, "ELMo, 2 LSTM layers of 16 in each direction, 16 wide together") in said


@pytest.mark.parametrize("name", ALL)
def test_fill_says_what_it_cannot_see(folders, name):
    model = bertsmith.load(folders / name)
    one, other = (model.fill_mask(f"w1 [MASK] {last}") for last in ("w3", "w9"))
    same = one.blanks[0].candidates == other.blanks[0].candidates
    assert same == (name in ("left", "gpt"))
    assert bool(one.note) == (name != "bert")
    assert sum(
        guess.probability for guess in model.fill_mask("w1 [MASK]", top_k=SIZE).blanks[0].candidates
    ) == (pytest.approx(1, abs=1e-4))
    if name != "bert":
        with pytest.raises(UsageError, match="The text has 2 blanks"):
            model.fill_mask("[MASK] w1 [MASK]")
        assert not any(
            guess.token.startswith("[")
            for guess in model.fill_mask("w1 [MASK]").blanks[0].candidates
        )
    if name != "elmo":
        filled = model.fill_mask("[MASK] w1 [MASK]", joint=True)
        assert len(filled.blanks) == (2 if name == "bert" else 1)
        assert len(filled.joint[0].tokens) == 2


@pytest.mark.parametrize("name", ALL)
def test_embed_takes_the_mean_and_refuses_what_knows_nothing(folders, name):
    model = bertsmith.load(folders / name)
    vectors = model.embed(["w1 w2", "w3", "w1 w2"])
    assert vectors.shape == (3, 16)
    assert np.array_equal(vectors[0], vectors[2])
    if name != "bert":
        reader = "one half of ELMo" if name == "elmo" else "this model"
        with pytest.raises(UsageError) as caught:
            model.embed(["w1"], pooling="cls")
        assert str(caught.value).startswith(f"pooling='cls': {reader} reads from left to right")
        assert "choose mean" in str(caught.value)


@pytest.mark.parametrize("name", ["bert", "left", "elmo"])
def test_only_a_gpt_writes_on(folders, name):
    """A left-to-right BERT could; here it does not, and its folder writes in `transformers`."""
    said = "is a left-to-right BERT" if name == "left" else "is not a GPT"
    with pytest.raises(UsageError, match=said):
        bertsmith.load(folders / name).generate("w1")


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("pieces", ["wordpiece", "byte pairs"])
def test_a_tuned_gpt_answers_alike_in_the_pipeline_of_transformers(kind, pieces, tmp_path):
    letters = "abdegiklnorstuw"
    tokenizer = Tokenizer(TOY_VOCAB)
    texts = ["w1 w2", "w7", "w3 w3 w9"]
    if pieces == "byte pairs":
        vocab = [*SPECIAL, *letters, *(f"{letter}</w>" for letter in letters), "re", "red</w>"]
        tokenizer = Tokenizer(vocab, merges=[("r", "e"), ("re", "d</w>")])
        texts = ["red tree", "a", "gold red ink"]
    shape = GptConfig(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.5,
    )
    labels = ("a", "b", "c") if kind == "classification" else ()
    torch.manual_seed(0)
    head = head_of(kind, labels=labels, extract_id=tokenizer.mask_id)
    save_model(tmp_path, build_for_task(shape, head), tokenizer, card="")
    pairs = [(texts[0], texts[2]), (texts[2], texts[0])]
    model = bertsmith.load(tmp_path)
    ours = [
        answer.value if kind == "regression" else answer.probabilities
        for answer in [*model.predict(texts), *model.predict(pairs)]
    ]
    peer = pipeline("text-classification", model=str(tmp_path), device=-1, top_k=None)
    given = [{"text": a, "text_pair": b} for a, b in pairs]
    raw = {"function_to_apply": "none"} if kind == "regression" else {}
    # Several at once are padded.
    for size in (1, 3):
        theirs = [
            *peer(texts, batch_size=size, **raw),
            *peer(given, batch_size=size, **raw),
        ]
        for mine, found in zip(ours, theirs, strict=True):
            scores = {one["label"]: one["score"] for one in found}
            assert scores == pytest.approx(mine if labels else {"score": mine}, abs=1e-5)
    assert len({str(one) for one in ours}) == 5


@pytest.mark.parametrize("name", ALL)
def test_it_is_tuned_on_pairs_evaluated_and_asked(folders, name, tmp_path, capsys):
    data, out = str(folders / "pairs.csv"), tmp_path / "tuned"
    arguments = ["finetune", "classification", "--model", str(folders / name), "--train", data]
    arguments += ["--text-pair", "other", "--epochs", "2", "--seeds", "2", "--out", str(out)]
    assert main(arguments) == 0, capsys.readouterr().err
    assert load_task(out).head.labels == ("a", "b")
    card = (out / "README.md").read_text()
    title = {"bert": "BERT", "gpt": "GPT", "elmo": "ELMo"}.get(name, "Left-to-right BERT")
    assert f"# {title} fine-tuned with bertsmith: " in card
    tag = {"gpt": "openai-gpt", "elmo": "elmo"}.get(name, "bert")
    assert f"\n- {tag}\n" in card
    known = name in ("bert", "gpt")
    assert f"library_name: {'transformers' if known else 'bertsmith'}\n" in card
    assert ("Only bertsmith loads" in card) != known
    assert ("on a frozen ELMo" in card) == (name == "elmo")
    assert main(["evaluate", str(out), "--data", data]) == 0
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(out), data, "--out", str(answers)]) == 0
    assert len(answers.read_text().splitlines()) == 25
    capsys.readouterr()
    assert main(["score", str(out), "w1"]) == 2
    assert "has no head that predicts words" in capsys.readouterr().err


def test_an_elmo_is_frozen_unless_told_otherwise(folders, tmp_path):
    train = folders / "pairs.csv"
    before = bertsmith.load(folders / "elmo").model.elmo.state_dict()
    for name, settings, same in (("frozen", {}, True), ("tuned", {"frozen": False}, False)):
        result = bertsmith.finetune(
            "classification",
            train=train,
            model=folders / "elmo",
            out=tmp_path / name,
            epochs=1,
            **settings,
        )
        assert result.config.learning_rate == (1e-3 if same else 3e-4)
        after = load_task(tmp_path / name).elmo.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before) == same


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("gpt", {"frozen": True}, "frozen applies only to ELMo"),
        ("elmo", {"bilstm": True}, "bilstm applies only to BERT"),
    ],
)
def test_settings_of_another_architecture_are_refused(folders, tmp_path, name, flags, said):
    train, model, out = folders / "pairs.csv", folders / name, tmp_path / "out"
    with pytest.raises(UsageError, match=said):
        bertsmith.finetune("classification", train=train, model=model, out=out, **flags)
    assert not (tmp_path / "out").exists()
