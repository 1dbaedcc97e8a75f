"""Vectors of texts: equal to a plain reference over `transformers`' BERT, text by text."""

import numpy as np
import pytest
import torch
from transformers import BertConfig as TheirConfig
from transformers import BertModel

from bertsmith.core.errors import UsageError
from bertsmith.inference.backends import torch_backend
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.model import Bert
from bertsmith.text.tokenizer.encode import window_spans
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghij"
TOKENIZER = Tokenizer((*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"中文"))
POSITIONS = 16
SHAPE = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
}
SHORT = ["a bcd 中文", "", "j", "a b c d e f g", "zz 中", "ab ab"]
LONG = ["a b c " * 9, "中文" * 8 + "j", "a b c d e f g h i j a b c d", "b", "e f " * 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("encoder")
    BertModel(TheirConfig(**SHAPE)).save_pretrained(target)
    TOKENIZER.save(target)
    return target


@pytest.fixture(scope="module")
def theirs(folder):
    return BertModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def ours(folder):
    predictor = Model(folder)
    assert type(predictor.model) is Bert
    return predictor


def plain(theirs, text, pooling, layers):
    """Window by window, one sequence at a time."""
    ids = TOKENIZER.encode(text).ids
    total, weight = np.zeros(24), 0
    for start, end in window_spans(len(ids), room=POSITIONS - 2, stride=POSITIONS // 4).tolist():
        row = torch.tensor([[TOKENIZER.cls_id, *ids[start:end], TOKENIZER.sep_id]])
        with torch.no_grad():
            states = theirs(row, output_hidden_states=True).hidden_states
        hidden_LD = sum(states[layer][0] for layer in layers).double().numpy() / len(layers)
        counted = hidden_LD if pooling == "mean" else hidden_LD[:1]
        total += counted.sum(0)
        weight += len(counted)
    return total / weight


@pytest.mark.parametrize("layers", [(-1,), (0,), (1, -1), (-4, -3, -2, -1)])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_equal_a_plain_reference(ours, theirs, pooling, layers):
    texts = [*SHORT, *LONG]
    found = ours.embed(texts, pooling=pooling, layers=layers)
    assert (found.shape, found.dtype) == ((len(texts), 24), np.float32)
    expected = np.stack([plain(theirs, text, pooling, layers) for text in texts])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_long_texts_are_read_to_their_end(ours):
    tokens = [len(TOKENIZER.encode(text).ids) for text in LONG]
    assert tokens == [27, 17, 14, 1, 40]
    same, other = "a b c d e f g h i j a b c d e f", "a b c d e f g h i j a b c d e g"
    one, two = ours.embed([same, other])
    assert np.abs(one - two).max() > 1e-2


def test_windows_count_by_their_tokens(ours):
    # 14 pieces fill a window; the 15th is in a second one, with the four before it.
    text = "a b c d e f g h i j a b c d e"
    whole, first, second = ours.embed([text, text[:27], "a b c d e"])
    np.testing.assert_allclose(whole, (16 * first + 7 * second) / 23, atol=1e-5)
    whole, first, second = ours.embed([text, text[:27], "a b c d e"], pooling="cls")
    np.testing.assert_allclose(whole, (first + second) / 2, atol=1e-5)


def test_neighbours_and_order_change_no_vector(ours, monkeypatch):
    texts = [*SHORT, *LONG]
    together = ours.embed(texts)
    np.testing.assert_allclose(ours.embed(texts[::-1])[::-1], together, atol=1e-5)
    alone = np.concatenate([ours.embed([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    monkeypatch.setitem(torch_backend.TOKENS_AT_ONCE, "cpu", 1)
    np.testing.assert_allclose(ours.embed(texts), together, atol=1e-5)


def test_no_text_has_no_vector(ours):
    assert ours.embed([]).shape == (0, 24)


@pytest.mark.parametrize("layers", [(4,), (-5,), (0, 9), ()])
def test_layers_that_are_not_there_are_refused(ours, layers):
    with pytest.raises(UsageError) as caught:
        ours.embed(["a"], layers=layers)
    assert str(caught.value) == (
        f"layers={layers}: the model has layers 0 (embeddings) to 3, or -4 "
        "to -1 counted from the last; name at least one."
    )
