"""Evaluation sums over batches; the baseline is a cross-entropy worked out by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bertsmith.core.runtime import World
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.modules.packed import LanguageBatch, PretrainBatch, pack
from bertsmith.pretraining.evaluation import baseline, evaluate
from bertsmith.training.parallel.place import Place

PLACE = Place(World(), torch.device("cpu"), "fp32")


def batch(labels: list[int], pairs: list[int]) -> PretrainBatch:
    return PretrainBatch(
        packed=pack([[2, 5, 3, 6, 3]] * len(pairs)),
        masked_P=torch.arange(len(labels)) + 1,
        labels_P=torch.tensor(labels),
        next_B=torch.tensor(pairs),
    )


def test_baseline_is_the_cross_entropy_of_smoothed_counts() -> None:
    counts_V = np.array([0, 4, 0, 2, 99])
    numbers = baseline(
        [batch([0, 1], [0, 1]), batch([1], [1])], counts_V, SimpleNamespace(special_ids={4})
    )
    # counts plus one of what can be a label: 1, 5, 1, 3 of 10
    assert numbers["mlm_loss"] == pytest.approx(-(math.log(0.1) + 2 * math.log(0.5)) / 3)
    assert numbers["mlm_accuracy"] == pytest.approx(2 / 3)
    assert numbers["nsp_accuracy"] == pytest.approx(2 / 3)
    assert numbers["nsp_loss"] == pytest.approx(-(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3))
    certain = baseline([batch([1], [1])], np.array([0, 4]), SimpleNamespace(special_ids={0}))
    assert [str(certain[name]) for name in ("mlm_loss", "nsp_loss")] == ["0.0", "0.0"]  # not -0.0


def test_baseline_of_one_way_objectives_knows_how_often_texts_end() -> None:
    # Ids: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 and 5 ordinary.
    tokenizer = SimpleNamespace(special_ids={0, 1, 2, 3}, unk_id=1, cls_id=2, sep_id=3)
    batches = [LanguageBatch(pack([[2, 4, 4, 3], [2, 5, 1, 4, 3]]), backward=True)]
    numbers = baseline(batches, np.array([0, 0, 0, 0, 5, 2]), tokenizer)
    # Of 5 ordinary tokens and 2 ends: [UNK], 4 and 5 have 1, 6 and 3 of 10 smoothed counts.
    chances = [6, 6, 3, 1, 6]
    expected = -sum(math.log(chance / 10 * 5 / 7) for chance in chances) - 2 * math.log(2 / 7)
    assert numbers["forward_loss"] == pytest.approx(expected / 7)
    assert numbers["backward_loss"] == pytest.approx(expected / 7)
    assert numbers["forward_accuracy"] == pytest.approx(3 / 7)
    assert set(numbers) == {
        f"{way}_{what}" for way in ("forward", "backward") for what in ("loss", "accuracy")
    }


def test_evaluation_is_repeatable_and_weighs_every_prediction_alike() -> None:
    shape = BertConfig(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        hidden_dropout_prob=0.5,
    )
    torch.manual_seed(0)
    model = BertForPretraining(shape).train()
    small, large = batch([5], [0]), batch([6, 7, 8, 9], [1, 0, 1])
    state = torch.get_rng_state()
    both = evaluate(model, [small, large], PLACE)
    assert torch.equal(state, torch.get_rng_state())
    assert not model.training
    assert evaluate(model, [large, small], PLACE) == pytest.approx(both)
    one, four = evaluate(model, [small], PLACE), evaluate(model, [large], PLACE)
    assert both["mlm_loss"] == pytest.approx((one["mlm_loss"] + 4 * four["mlm_loss"]) / 5)
    assert both["nsp_accuracy"] == pytest.approx(
        (one["nsp_accuracy"] + 3 * four["nsp_accuracy"]) / 4
    )
    assert sorted(both) == ["mlm_accuracy", "mlm_loss", "nsp_accuracy", "nsp_loss"]
