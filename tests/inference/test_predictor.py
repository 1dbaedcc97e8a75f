import itertools
import math

import msgspec
import numpy as np
import pandas
import pytest
import torch
from transformers import BertForMaskedLM, pipeline

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

VOCAB = (*SPECIAL, *"我喜欢苹果红", "the", "cat", "##s", "sat", ".")
CONFIG = BertConfig(
    vocab_size=len(VOCAB),
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=16,
    initializer_range=0.5,
)


def write(folder, *, pair_task=True, vocab=VOCAB):
    torch.manual_seed(2)
    model = BertForPretraining(CONFIG, pair_task=pair_task)
    save_model(folder, model, Tokenizer(vocab), card="# Card\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("predictor") / "model")


def test_fill_equals_the_pipeline_of_transformers(folder):
    text = "The cats [MASK] 我喜欢[MASK]果"
    found = Model(folder).fill_mask(text, top_k=3)
    peer = pipeline("fill-mask", model=str(folder), device=-1)
    for blank, theirs in zip(found.blanks, peer(text, top_k=3), strict=True):
        assert [c.token for c in blank.candidates] == [row["token_str"] for row in theirs]
        for candidate, row in zip(blank.candidates, theirs, strict=True):
            assert math.isclose(candidate.probability, row["score"], rel_tol=1e-4)
    assert [blank.start for blank in found.blanks] == [9, 19]
    assert found.joint == []


def test_probabilities_of_all_pieces_sum_to_one(folder):
    [blank] = Model(folder).fill_mask("the [MASK] sat.", top_k=len(VOCAB)).blanks
    assert math.isclose(sum(c.probability for c in blank.candidates), 1.0, rel_tol=1e-5)
    values = [c.probability for c in blank.candidates]
    assert values == sorted(values, reverse=True)


def test_joint_filling_is_the_best_product_of_conditionals(folder):
    predictor = Model(folder)
    text = "我喜欢[MASK][MASK]"
    found = predictor.fill_mask(text, top_k=len(VOCAB), joint=True).joint
    theirs = BertForMaskedLM.from_pretrained(folder).eval()

    def probability(first: str, second: str) -> float:
        """P(first | text) P(second | text, first), by `transformers`."""
        ids = [VOCAB.index(piece) for piece in ("[CLS]", *"我喜欢", "[MASK]", "[MASK]", "[SEP]")]
        with torch.no_grad():
            one = theirs(torch.tensor([ids])).logits[0, 4].softmax(-1)[VOCAB.index(first)]
            ids[4] = VOCAB.index(first)
            two = theirs(torch.tensor([ids])).logits[0, 5].softmax(-1)[VOCAB.index(second)]
        return float(one * two)

    # A beam as wide as the vocabulary is an exhaustive search.
    every = {pair: probability(*pair) for pair in itertools.product(VOCAB, VOCAB)}
    expected = sorted(every, key=every.__getitem__, reverse=True)[:5]
    assert [tuple(filling.tokens) for filling in found[:5]] == expected
    for filling in found[:5]:
        assert math.isclose(filling.probability, every[tuple(filling.tokens)], rel_tol=1e-4)
        assert filling.text == predictor.tokenizer.decode(
            [VOCAB.index(piece) for piece in (*"我喜欢", *filling.tokens)]
        )


def test_next_sentence_equals_transformers(folder):
    from transformers import AutoTokenizer, BertForNextSentencePrediction

    peer = BertForNextSentencePrediction.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)("the cat sat.", "我喜欢", return_tensors="pt")
    with torch.no_grad():
        expected = peer(**inputs).logits.softmax(-1)[0, 0].item()
    assert math.isclose(
        Model(folder).next_sentence("the cat sat.", "我喜欢"), expected, rel_tol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "top", "message"),
    [
        ("no blank here", 5, r"holds no \[MASK\]"),
        ("", 5, r"holds no \[MASK\]"),
        ("[MASK]", 0, "top_k is 0; it must be from 1 to 16"),
        ("[MASK]", 99, "top_k is 99"),
        ("[MASK]" + " the" * 30, 5, "has 33 tokens, .* this model reads 16"),
    ],
)
def test_bad_requests_are_told(folder, text, top, message):
    with pytest.raises(UsageError, match=message):
        Model(folder).fill_mask(text, top_k=top)


def test_model_without_pair_task_says_so(tmp_path):
    predictor = Model(write(tmp_path, pair_task=False))
    with pytest.raises(UsageError, match="has no next-sentence head"):
        predictor.next_sentence("the", "cat")


def test_tokenizer_of_another_model_is_refused(tmp_path):
    write(tmp_path)
    Tokenizer((*VOCAB, "extra")).save(tmp_path)
    with pytest.raises(FolderError, match=r"17 pieces, config\.json says 16"):
        Model(tmp_path)


def test_tokens_added_without_embeddings_are_named(tmp_path):
    write(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    (tmp_path / "added_tokens.json").write_text('{"<user>": 16}')
    with pytest.raises(FolderError, match=r"no embedding for the added token '<user>'"):
        Model(tmp_path)


def test_rows_of_padding_answer_as_in_transformers_and_have_no_name(tmp_path):
    torch.manual_seed(3)
    model = BertForPretraining(msgspec.structs.replace(CONFIG, vocab_size=24))
    save_model(tmp_path, model, Tokenizer(VOCAB), card="")
    found = Model(tmp_path).fill_mask("the [MASK] sat", top_k=len(VOCAB), joint=True)
    [row] = [BertForMaskedLM.from_pretrained(tmp_path)(torch.tensor([[2, 11, 4, 14, 3]])).logits]
    expected = row[0, 2].softmax(-1).tolist()
    assert sum(expected[16:]) > 0.01
    for candidate in found.blanks[0].candidates:
        probability = expected[VOCAB.index(candidate.token)]
        assert math.isclose(candidate.probability, probability, rel_tol=1e-4)
    assert len(found.joint) == len(VOCAB)


def test_answers_are_json(folder):
    found = Model(folder).fill_mask("the [MASK]", top_k=1)
    keys = msgspec.json.decode(msgspec.json.encode(found))
    assert keys["text"] == "the [MASK]"
    assert set(keys["blanks"][0]["candidates"][0]) == {"token", "probability"}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.fill_mask(["A [MASK]."]), "text is a list"),
        (lambda model: model.fill_mask(None), "text is None"),
        (lambda model: model.fill_mask("[MASK]", top_k="3"), "top_k is '3'"),
        (lambda model: model.next_sentence("the", None), "b is None"),
        (lambda model: model.embed("the cat"), "texts is one text"),
        (lambda model: model.embed(5), "texts is an int"),
        (lambda model: model.embed(["the", None]), "texts, item 1, is None"),
        (lambda model: model.log_likelihood(["the", 3]), "texts, item 1, is an int"),
    ],
)
def test_an_argument_that_is_no_text_is_named(folder, ask, message):
    with pytest.raises(UsageError, match=message):
        ask(Model(folder))


def test_a_column_of_a_table_is_a_list_of_texts(folder):
    texts = ["the cat", "the"]
    model = Model(folder)
    expected = model.embed(texts)
    assert np.array_equal(model.embed(pandas.Series(texts, index=[7, 3])), expected)
    assert np.array_equal(model.embed(np.array(texts)), expected)
