"""Scores are sums of log-probabilities that are known beforehand."""

import math

import msgspec
import pytest
import torch
from conftest import TOY_VOCAB

from bertsmith.core.errors import UsageError
from bertsmith.inference.backends.torch_backend import TOKENS_AT_ONCE
from bertsmith.inference.likelihood import score_sentences, table
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

SIZE = len(TOY_VOCAB)
BERT = BertConfig(
    vocab_size=SIZE,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=12,
)
GPT = GptConfig(vocab_size=SIZE, n_positions=12, n_embd=16, n_layer=1, n_head=2)
ELMO = ElmoConfig(vocab_size=SIZE, characters=12, filters=((1, 4),), projection=8, lstm_width=16)
TOKENIZER = Tokenizer(TOY_VOCAB)


def model(shape):
    torch.manual_seed(0)
    return build(shape, pieces=TOY_VOCAB, pair_task=False).eval()


def uniform(shape):
    """A model that holds every token equally likely."""
    made = model(shape)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    return made


def test_an_uninformed_model_gives_every_token_one_part_of_the_vocabulary():
    expected = {"masked": 3, "forward": 4, "backward": 4}
    for shape, sides in ((BERT, ["masked"]), (GPT, ["forward"]), (ELMO, ["forward", "backward"])):
        [found] = score_sentences(uniform(shape), TOKENIZER, ["w1 w2 w3"])
        assert sorted(found.totals) == sorted(sides)
        for side in sides:
            assert found.totals[side] == pytest.approx(-expected[side] * math.log(SIZE), abs=1e-4)
            assert found.means[side] == pytest.approx(-math.log(SIZE), abs=1e-5)


def test_each_side_counts_its_own_tokens():
    [gpt] = score_sentences(model(GPT), TOKENIZER, ["w1 w2"])
    assert [token.token for token in gpt.tokens] == ["w1", "w2", "[SEP]"]
    [elmo] = score_sentences(model(ELMO), TOKENIZER, ["w1 w2"])
    assert [sorted(token.nats) for token in elmo.tokens] == [
        ["backward"],
        ["backward", "forward"],
        ["backward", "forward"],
        ["forward"],
    ]
    [bert] = score_sentences(model(BERT), TOKENIZER, ["w1 w2"])
    assert [token.token for token in bert.tokens] == ["w1", "w2"]


def test_masked_scores_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    bert, text = model(BERT), "w1 w2 w3 w4 w5 w6 w7"
    [whole] = score_sentences(bert, TOKENIZER, [text])
    monkeypatch.setitem(TOKENS_AT_ONCE, "cpu", 1)
    [apart] = score_sentences(bert, TOKENIZER, [text])
    assert whole.totals["masked"] == pytest.approx(apart.totals["masked"], abs=1e-5)


def test_a_later_word_moves_no_score_from_the_left():
    gpt = model(GPT)
    one, other = score_sentences(gpt, TOKENIZER, ["w1 w2 w3", "w1 w2 w9"])
    assert [token.nats for token in one.tokens[:2]] == [token.nats for token in other.tokens[:2]]


def test_the_table_names_the_likelier_text():
    found = score_sentences(model(GPT), TOKENIZER, ["w1 w2", "w3 w4"])
    best = max(found, key=lambda one: one.totals["forward"])
    apart = abs(found[0].totals["forward"] - found[1].totals["forward"])
    found = [
        msgspec.structs.replace(one, totals={"forward": one.totals["forward"] + 2 * (one is best)})
        for one in found
    ]
    shown = table(found)
    assert shown.endswith(
        f"Likelier from the left, by {apart + 2:.2f} nats, a factor of "
        f"{math.exp(apart + 2):.3g}: {best.text}"
    )
    assert f"{found[0].totals['forward']:.2f} nats in all" in shown
    twice = table(score_sentences(model(GPT), TOKENIZER, ["w1 w2", "w1 w2"]))
    assert twice.endswith("Equally likely from the left.")
    longer = table(score_sentences(model(GPT), TOKENIZER, ["w1", "w1 w2"]))
    assert longer.endswith("compare the nats a token too.)")


def test_a_difference_of_nothing_names_no_likelier_text():
    one, other = score_sentences(model(GPT), TOKENIZER, ["w1 w2", "w3 w4"])
    other = msgspec.structs.replace(other, totals={"forward": one.totals["forward"] - 0.02})
    shown = table([one, other])
    assert "Likelier" not in shown
    assert "About equally likely from the left: the best two are only 0.02 nats" in shown
    assert "a factor of 1.02" in shown


def test_unknown_words_are_counted_and_said():
    found = score_sentences(model(GPT), TOKENIZER, ["w1 w2", "w1 never seen"])
    assert [one.unknown for one in found] == [0, 2]
    shown = table(found)
    assert "Text 2: 2 tokens are [UNK]" in shown
    assert "Text 1:" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("  \t ", "is empty"), ("w1 " * 11, "has 13 tokens, its")],
)
def test_texts_that_cannot_be_scored(text, said):
    with pytest.raises(UsageError, match=f"Text 2 {said}"):
        score_sentences(model(GPT), TOKENIZER, ["w1", text])
