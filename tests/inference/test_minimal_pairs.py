"""Sentence scores against plain reimplementations, and what is made of them."""

import gzip
import json

import numpy as np
import pytest
import torch
from conftest import TOY_VOCAB
from transformers import BertForMaskedLM, OpenAIGPTLMHeadModel

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.errors import DataError, FolderError, UsageError
from bertsmith.core.runtime import World
from bertsmith.inference.backends.torch_backend import TOKENS_AT_ONCE
from bertsmith.inference.minimal_pairs import minimal_pairs, totals
from bertsmith.inference.predictor import Model
from bertsmith.inference.token_scores import Sentences, work
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.place import Place

SIZE = len(TOY_VOCAB)
TOKENIZER = Tokenizer(TOY_VOCAB)
BERT = BertConfig(
    vocab_size=SIZE,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=24,
)
SHAPES = {
    "bert": BERT,
    "gpt": GptConfig(vocab_size=SIZE, n_positions=24, n_embd=32, n_layer=2, n_head=4),
    "elmo": ElmoConfig(
        vocab_size=SIZE, characters=12, filters=((1, 4), (2, 4)), projection=8, lstm_width=16
    ),
}
CPU = Place(World(), torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each with random weights, large enough for scores that differ by whole nats."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, shape in SHAPES.items():
        model = build(shape, pieces=TOY_VOCAB, pair_task=name == "bert")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1 and name != "elmo":
                    parameter.mul_(6)
        save_model(root / name, model, TOKENIZER, card="")
    return root


def sentences(count):
    """Texts of 1 to 8 words with 1 to 3 pieces each, from a fixed seed."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        words = []
        for _ in range(rng.integers(1, 9)):
            suffix = "".join(f"p{rng.integers(5)}" for _ in range(rng.integers(3)))
            words.append(f"w{rng.integers(40)}{suffix}")
        made.append(" ".join(words))
    return [text for text in made if len(TOKENIZER.encode(text).ids) <= 22]


def framed(text):
    return [TOKENIZER.cls_id, *TOKENIZER.encode(text).ids, TOKENIZER.sep_id]


@torch.no_grad()
def plain_bert(model, text):
    """Kauf and Ivanova's PLL-word-l2r, one sentence at a time, by the words of the tokenizer."""
    ids, words = framed(text), [-1, *TOKENIZER.encode(text).words, -1]
    total = 0.0
    for place in range(1, len(ids) - 1):
        seen = [
            TOKENIZER.mask_id if at >= place and words[at] == words[place] else ids[at]
            for at in range(len(ids))
        ]
        logits_LV = model(torch.tensor([seen])).logits[0]
        total += float(logits_LV[place].double().log_softmax(-1)[ids[place]])
    return total


@torch.no_grad()
def plain_gpt(model, text):
    ids = torch.tensor(framed(text))
    logits_LV = model(ids[None]).logits[0, :-1].double()
    return float(logits_LV.log_softmax(-1).gather(1, ids[1:, None]).sum())


def ours(folder, texts):
    rows = [framed(text) for text in texts]
    made = Sentences(np.concatenate(rows), np.array([len(row) for row in rows]))
    return totals(Model(folder).model, TOKENIZER, made, CPU)


def write(path, pairs, **keys):
    lines = [json.dumps({"sentence_good": a, "sentence_bad": b} | keys) for a, b in pairs]
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("name", "their_class", "plain"),
    [("bert", BertForMaskedLM, plain_bert), ("gpt", OpenAIGPTLMHeadModel, plain_gpt)],
)
def test_200_pairs_as_a_plain_reimplementation_scores_them(
    name, their_class, plain, folders, tmp_path
):
    texts = sentences(440)[:400]
    assert len(texts) == 400
    assert sum("p" in text for text in texts) > 200
    theirs = their_class.from_pretrained(folders / name).eval()
    expected = np.array([plain(theirs, text) for text in texts])
    np.testing.assert_allclose(ours(folders / name, texts), expected, atol=1e-4, rtol=0)

    # And so which of the two is the likelier, where they are not nearly equal.
    kept = [n for n in range(0, 400, 2) if abs(expected[n] - expected[n + 1]) > 1e-3]
    assert len(kept) > 190
    write(tmp_path / "some.jsonl", [(texts[n], texts[n + 1]) for n in kept])
    found = minimal_pairs(Model(folders / name), tmp_path / "some.jsonl")
    assert found.paradigms[0].right == sum(expected[n] > expected[n + 1] for n in kept)
    assert (found.overall.pairs, found.paradigms[0].name) == (len(kept), "some")


def test_hiding_the_rest_of_a_word_matters(folders):
    [score] = Model(folders / "bert").log_likelihood(["w1p1p2 w3"])
    [total] = ours(folders / "bert", ["w1p1p2 w3"])
    assert abs(score.totals["masked"] - total) > 1e-3
    # A text whose words are single pieces has the same score both ways.
    [score] = Model(folders / "bert").log_likelihood(["w1 w2 w3"])
    [total] = ours(folders / "bert", ["w1 w2 w3"])
    assert score.totals["masked"] == pytest.approx(total, abs=1e-5)


def test_elmo_has_the_sum_of_both_directions(folders):
    texts = sentences(30)
    scores = Model(folders / "elmo").log_likelihood(texts)
    expected = [one.totals["forward"] + one.totals["backward"] for one in scores]
    np.testing.assert_allclose(ours(folders / "elmo", texts), expected, atol=1e-4)


def test_what_is_computed_at_once_changes_nothing(folders, monkeypatch):
    texts = sentences(20)
    whole = ours(folders / "bert", texts)
    monkeypatch.setitem(TOKENS_AT_ONCE, "cpu", 50)
    np.testing.assert_allclose(ours(folders / "bert", texts), whole, atol=1e-4)


def test_progress_counts_the_tokens_of_all_copies(folders, tmp_path):
    write(tmp_path / "some.jsonl", [("w1 w2", "w1 w2 w3p1"), ("w1 w2", "w4 w2")])
    told = []
    minimal_pairs(
        Model(folders / "bert"),
        tmp_path / "some.jsonl",
        progress=lambda *counts: told.append(counts),
    )
    # Each of 4 pieces in a copy of 6 tokens; two distinct sentences of 2 pieces.
    assert told[0] == (4 * 6, 4 * 6 + 2 * 2 * 4)
    assert told[-1] == (40, 40)
    gpt = Model(folders / "gpt").model
    assert work(gpt, Sentences(np.arange(9), np.array([4, 5]))) == 9


def test_ties_are_wrong(folders, tmp_path):
    # Words that the vocabulary lacks are all [UNK].
    write(tmp_path / "some.jsonl", [("w1 cat", "w1 dog"), ("w1", "w1")], UID="same")
    for name in SHAPES:
        found = minimal_pairs(Model(folders / name), tmp_path / "some.jsonl")
        [paradigm] = found.paradigms
        assert (paradigm.name, paradigm.right, paradigm.ties, paradigm.pairs) == ("same", 0, 2, 2)
        assert "Ties are wrong: 2 of 2 pairs." in found.lines()[-2]


def test_paradigms_are_grouped_by_phenomenon_in_the_order_of_the_data(folders, tmp_path):
    pairs = [("w1 w2", "w3"), ("w4", "w5 w6p1"), ("w7", "w8")]
    for name, uid, keys in (
        ("1", "who", {"linguistics_term": "islands", "field": "syntax"}),
        ("2", "is_are", {"linguistics_term": "subject_verb_agreement"}),
        ("3", "what", {"linguistics_term": "islands"}),
        ("4", "ba", {"phenomenon": "BA"}),
        ("5", "plain", {}),
        ("6", "this_these", {"linguistics_term": "determiner_noun_agreement"}),
    ):
        write(tmp_path / f"{name}.jsonl", pairs[: 2 if name == "6" else 3], UID=uid, **keys)
    found = minimal_pairs(Model(folders / "gpt"), tmp_path)
    names = [(one.phenomenon, one.name) for one in found.paradigms]
    assert names == [
        ("islands", "who"),
        ("islands", "what"),
        ("subject_verb_agreement", "is_are"),
        ("BA", "ba"),
        ("determiner_noun_agreement", "this_these"),
        ("", "plain"),
    ]
    by_name = {one.name: one for one in found.paradigms}
    assert found.agreement is not None
    of_agreement = [by_name["is_are"].score, by_name["this_these"].score]
    assert found.agreement.score == pytest.approx(np.mean(of_agreement))
    assert (found.agreement.paradigms, found.agreement.pairs) == (2, 5)
    assert found.overall.score == pytest.approx(np.mean([one.score for one in found.paradigms]))
    assert [one.name for one in found.phenomena] == list(dict.fromkeys(p for p, _ in names if p))
    lines = found.lines()
    assert [line.split()[0] for line in lines[1:5]] == ["islands", "who", "what", names[2][0]]
    assert lines[-4].startswith("agreement ")
    assert lines[-3].startswith("all ")
    assert "Chance is 50.0%" in lines[-2]

    sampled = minimal_pairs(Model(folders / "gpt"), tmp_path, limit=2)
    assert {one.pairs for one in sampled.paradigms} == {2}
    assert sampled.lines()[-1] == "The first 2 pairs of each paradigm."
    with pytest.raises(UsageError, match="limit is 0"):
        minimal_pairs(Model(folders / "gpt"), tmp_path, limit=0)


def test_packed_files_are_read(folders, tmp_path):
    line = json.dumps({"sentence_good": "w1 w2", "sentence_bad": "w3"})
    with gzip.open(tmp_path / "some.jsonl.gz", "wt") as file:
        file.write(line + "\n")
    found = minimal_pairs(Model(folders / "bert"), tmp_path)
    assert [one.name for one in found.paradigms] == ["some"]
    assert found.agreement is None
    assert found.phenomena == []


def test_sentences_that_the_model_cannot_read(folders, tmp_path):
    path = tmp_path / "some.jsonl"
    write(path, [("w1", "w2"), ("w1 " * 22, "w1 " * 23)])
    with pytest.raises(DataError, match=r"some\.jsonl:2: .*'sentence_bad' has 25 tokens.* 24"):
        minimal_pairs(Model(folders / "bert"), path)
    write(path, [("w1 " * 22, "w1")])
    assert minimal_pairs(Model(folders / "bert"), path).overall.pairs == 1
    # Private use: something to Python, nothing to BERT's cleaning.
    write(path, [("w1", "w2"), ("\ufffd", "w1")])
    with pytest.raises(DataError, match=r"some\.jsonl:2: .*'sentence_good' is empty"):
        minimal_pairs(Model(folders / "bert"), path)


def test_a_damaged_model_is_no_result(folders, tmp_path):
    write(tmp_path / "some.jsonl", [("w1", "w2")])
    predictor = Model(folders / "gpt")
    with torch.no_grad():
        predictor.model.gpt.embeddings.word.weight[3] = float("nan")
    with pytest.raises(FolderError, match="not finite"):
        minimal_pairs(predictor, tmp_path / "some.jsonl")
