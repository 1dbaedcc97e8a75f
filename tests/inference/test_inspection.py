"""The inspector's numbers against `transformers` with eager attention, and its limits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertForPreTraining

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.errors import UsageError
from bertsmith.inference.inspection import MAX_TOKENS, Inspection, inspect
from bertsmith.inference.predictor import Model
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

A, B = "the old red cold.", "a new blue ##s?"


def inspected(folder: Path, text: str = A, text_b: str | None = B, **settings: Any) -> Inspection:
    found = Model(folder)
    return inspect(found.model, found.tokenizer, text, text_b, **settings)


def test_attention_and_states_are_those_of_transformers(small_model: Path) -> None:
    answer = inspected(small_model)
    theirs = BertForPreTraining.from_pretrained(small_model, attn_implementation="eager").eval()
    ids = torch.tensor([[token.id for token in answer.tokens]])
    segments = torch.tensor([[token.segment for token in answer.tokens]])
    with torch.inference_mode():
        out = theirs(
            input_ids=ids,
            token_type_ids=segments,
            output_attentions=True,
            output_hidden_states=True,
        )
    ours = np.array(answer.attention)
    expected = torch.stack(out.attentions)[:, 0].numpy()
    assert ours.shape == (2, 2, len(answer.tokens), len(answer.tokens))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    for layer, hidden in enumerate(out.hidden_states):
        states = torch.nn.functional.normalize(hidden[0], dim=-1)
        np.testing.assert_allclose(answer.similarity[layer], states @ states.T, atol=1e-5)
    np.testing.assert_allclose(answer.embeddings["output"], out.hidden_states[0][0], atol=1e-5)
    follows = float(out.seq_relationship_logits.softmax(-1)[0, 0])
    assert answer.next_sentence == pytest.approx(follows, abs=1e-5)


def test_the_embeddings_are_the_tables_rows_and_their_sum(small_model: Path) -> None:
    answer = inspected(small_model)
    tables = BertForPreTraining.from_pretrained(small_model).bert.embeddings
    for place, token in enumerate(answer.tokens):
        for part, table, row in (
            ("token", tables.word_embeddings, token.id),
            ("segment", tables.token_type_embeddings, token.segment),
            ("position", tables.position_embeddings, place),
        ):
            values = table.weight[row].detach().numpy()
            np.testing.assert_allclose(answer.embeddings[part][place], values, atol=1e-5)
    parts = sum(np.array(answer.embeddings[part]) for part in ("token", "segment", "position"))
    np.testing.assert_allclose(answer.embeddings["sum"], parts, atol=1e-5)


def test_what_is_expected_is_what_transformers_says_of_a_hidden_token(small_model: Path) -> None:
    answer = inspected(small_model, top_k=3)
    theirs = BertForPreTraining.from_pretrained(small_model).eval()
    tokenizer = Tokenizer.load(small_model)
    segments = torch.tensor([[token.segment for token in answer.tokens]])
    asked = 0
    for place, found in enumerate(answer.expected):
        if found is None:
            assert answer.tokens[place].token in ("[CLS]", "[SEP]")
            continue
        ids = torch.tensor([[token.id for token in answer.tokens]])
        ids[0, place] = tokenizer.mask_id
        with torch.inference_mode():
            scores = theirs(input_ids=ids, token_type_ids=segments).prediction_logits[0, place]
        probabilities = scores.softmax(-1)
        best = probabilities.topk(3)
        assert [one.probability for one in found.candidates] == pytest.approx(
            best.values.tolist(), abs=1e-5
        )
        actual = probabilities[answer.tokens[place].id]
        assert found.probability == pytest.approx(float(actual), abs=1e-5)
        asked += 1
    assert asked == len(answer.tokens) - 3


def test_rollout_is_the_product_of_half_attention_and_half_input(small_model: Path) -> None:
    answer = inspected(small_model, A, None)
    rolled = np.eye(len(answer.tokens))
    for layer in np.array(answer.attention):
        rolled = (layer.mean(0) / 2 + np.eye(len(rolled)) / 2) @ rolled
    np.testing.assert_allclose(answer.rollout, rolled, atol=1e-4)
    np.testing.assert_allclose(np.sum(answer.rollout, 1), 1, atol=1e-4)
    assert answer.next_sentence is None
    assert [token.segment for token in answer.tokens] == [0] * len(answer.tokens)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A GPT and an ELMo with random weights."""
    vocabulary = (*SPECIAL, *"the old red cold new blue a . ?".split())
    size = len(vocabulary)
    configs = {
        "gpt": GptConfig(vocab_size=size, n_positions=32, n_embd=16, n_layer=2, n_head=2),
        "elmo": ElmoConfig(
            vocab_size=size, characters=12, filters=((1, 4), (2, 4)), projection=8, lstm_width=16
        ),
    }
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("others")
    for name, config in configs.items():
        model = build(config, pieces=vocabulary, pair_task=False)
        save_model(root / name, model, Tokenizer(vocabulary), card="")
    return {name: root / name for name in configs}


def test_a_gpt_looks_back_only(others: dict[str, Path]) -> None:
    answer = inspected(others["gpt"], A, None)
    attention = np.array(answer.attention)
    assert (attention[..., *np.triu_indices(attention.shape[-1], 1)] == 0).all()
    ids = torch.tensor([[token.id for token in answer.tokens]])
    theirs = AutoModel.from_pretrained(others["gpt"], attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = torch.stack(theirs(ids, output_attentions=True).attentions)[:, 0]
    np.testing.assert_allclose(attention, expected, atol=1e-5)
    assert answer.objective == "forward"
    assert sorted(answer.embeddings) == ["output", "position", "sum", "token"]


def test_an_elmo_shows_what_its_predictions_depend_on(others: dict[str, Path]) -> None:
    answer = inspected(others["elmo"], A, None)
    assert answer.attention == []
    assert answer.rollout == []
    assert answer.position_similarity == []
    np.testing.assert_allclose(np.sum(answer.saliency, 1), 1, atol=1e-4)
    assert answer.objective == "both"
    assert len(answer.similarity) == 3
    assert sum(found is not None for found in answer.expected) == len(answer.tokens) - 2


def test_what_cannot_be_inspected_is_refused(small_model: Path) -> None:
    with pytest.raises(UsageError, match="The text is empty"):
        inspected(small_model, " ", None)
    with pytest.raises(UsageError, match=r"has 72 tokens.* 64 can be inspected"):
        inspected(small_model, "old " * 70, None)
    with pytest.raises(UsageError, match="top_k is 0"):
        inspected(small_model, top_k=0)
    assert MAX_TOKENS >= 64
