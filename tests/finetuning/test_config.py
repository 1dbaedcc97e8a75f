"""Defaults by model and data, the two grids of a sweep, and every setting that is refused."""

from typing import Any

import msgspec
import pytest

from bertsmith.core.errors import UsageError
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.defaults import finetune_config, grid
from bertsmith.models.head_config import chosen_layers


def config_of(**changes: Any) -> FinetuneConfig:
    known: dict[str, Any] = {
        "task": "mrpc",
        "kind": "classification",
        "model": "a/model",
        "width": 768,
        "positions": 512,
        "examples": 100_000,
    }
    return finetune_config(**(known | changes))


def test_the_defaults_are_the_papers_and_those_for_small_data():
    assert config_of() == FinetuneConfig(
        task="mrpc",
        kind="classification",
        model="a/model",
        batch_size=16,
        learning_rate=3e-5,
        epochs=3,
        max_length=512,
        stride=128,
        long_texts="truncate",
        warmup_ratio=0.1,
        weight_decay=0.01,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-6,
        max_grad_norm=1.0,
        dropout=0.1,
        class_weights="none",
        steps=0,
        hours=0.0,
        patience=0,
        features=(),
        combine="concat",
        seed=0,
        precision="auto",
        micro_tokens=0,
    )


@pytest.mark.parametrize(
    ("width", "rate"),
    [(128, 3e-4), (256, 3e-4), (257, 1e-4), (767, 1e-4), (768, 3e-5), (1024, 3e-5)],
)
def test_small_models_learn_at_a_larger_rate(width, rate):
    assert config_of(width=width).learning_rate == rate
    # A BiLSTM on frozen features has a pace of its own, whatever is under it.
    tagger = {"task": "token-classification", "kind": "token-classification", "features": (-1,)}
    assert config_of(width=width, **tagger).learning_rate == 1e-3
    assert config_of(width=width, learning_rate=2e-5).learning_rate == 2e-5
    assert config_of(width=width, learning_rate=2e-5, **tagger).learning_rate == 2e-5


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs"),
    [
        (0, 16, 20),
        (1, 16, 20),
        (635, 16, 20),
        (842, 16, 20),  # 19.002 epochs make 1,000 steps
        (843, 16, 19),
        (2490, 16, 7),  # RTE
        (3668, 16, 5),  # MRPC
        (5333, 16, 4),
        (5334, 16, 3),
        (67_349, 16, 3),  # SST-2
        (2490, 32, 13),
        (2490, 8, 4),
    ],
)
def test_few_examples_are_gone_through_more_often(examples, batch_size, epochs):
    config = config_of(examples=examples, batch_size=batch_size)
    assert (config.epochs, config.batch_size) == (epochs, batch_size)
    assert config_of(examples=examples, epochs=2).epochs == 2


@pytest.mark.parametrize(
    ("kind", "positions", "expected"),
    [
        ("classification", 512, (16, 512, 128)),
        ("regression", 512, (16, 512, 128)),
        ("multiple-choice", 512, (16, 512, 128)),
        ("token-classification", 512, (8, 256, 128)),
        ("question-answering", 512, (16, 384, 256)),
        ("question-answering", 2048, (16, 384, 256)),
        ("classification", 128, (16, 128, 32)),
        ("token-classification", 128, (8, 128, 64)),
        ("question-answering", 128, (16, 128, 85)),
        ("classification", 8, (16, 8, 2)),
    ],
)
def test_lengths_fit_the_kind_and_the_model(kind, positions, expected):
    config = config_of(kind=kind, positions=positions)
    assert (config.batch_size, config.max_length, config.stride) == expected
    # A length that the user gives keeps the share by which windows overlap.
    if positions < 512:
        asked = config_of(kind=kind, positions=512, max_length=positions)
        assert (asked.max_length, asked.stride) == expected[1:]


def test_flags_go_over_defaults_and_none_keeps_them():
    config = config_of(patience=2, dropout=0.0, seed=None, epochs=None, stride=None, combine=None)
    assert (config.patience, config.dropout) == (2, 0.0)
    assert msgspec.structs.replace(config, patience=0, dropout=0.1) == config_of()


def test_the_papers_grid_has_twenty_four_settings():
    config = config_of(seed=4, max_length=99)
    found = grid(config, width=768)
    assert len(found) == len(set(found)) == 24
    assert {one.learning_rate for one in found} == {5e-5, 4e-5, 3e-5, 2e-5}
    assert {one.batch_size for one in found} == {16, 32}
    assert {one.epochs for one in found} == {2, 3, 4}
    free = {"learning_rate": 0.1, "batch_size": 1, "epochs": 1}
    assert {msgspec.structs.replace(one, **free) for one in found} == {
        msgspec.structs.replace(config, **free)
    }


def test_googles_grid_for_small_models_has_twenty_and_what_the_data_wants():
    config = config_of()
    first, *found = grid(config, width=512)
    assert first == config
    assert len(found) == len({first, *found}) - 1 == 20
    assert {one.learning_rate for one in found} == {3e-4, 1e-4, 5e-5, 3e-5}
    assert {one.batch_size for one in found} == {8, 16, 32, 64, 128}
    assert {one.epochs for one in found} == {4}


@pytest.mark.parametrize(
    "flags", [{"kind": "token-classification", "features": (-1,)}, {"frozen_encoder": True}]
)
def test_networks_on_frozen_layers_have_a_grid_of_their_own(flags):
    config = config_of(epochs=7, **flags)
    found = grid(config, width=768)
    assert config in found
    assert {(one.learning_rate, one.batch_size) for one in found} == {
        (rate, batch) for rate in (3e-3, 1e-3, 3e-4) for batch in (8, 16, 32)
    }
    assert {one.epochs for one in found} == {7}


ABOVE, ONE, ZERO = "above 0 and finite", "at least 1", "at least 0"
SHARE = "at least 0 and below 1"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        *(
            ({name: value}, f"{name} is {value}; it must be {expected}.")
            for name, expected, values in (
                ("batch_size", ONE, (0, -4)),
                (
                    "learning_rate",
                    "above 0 and at most 0.1",
                    (0.0, -1e-5, 1.5, float("inf"), float("nan")),
                ),
                ("hours", "0, or at least a second (0.0003) and finite", (-1.0, 1e-5)),
                ("steps", ZERO, (-1,)),
                ("epsilon", ABOVE, (0.0,)),
                ("max_grad_norm", ABOVE, (0.0, float("inf"))),
                ("epochs", ONE, (0,)),
                ("max_length", "at least 8", (0, 1, 7)),
                ("stride", ZERO, (-1,)),
                ("patience", ZERO, (-1,)),
                ("seed", ZERO, (-1,)),
                ("micro_tokens", ZERO, (-1,)),
                ("warmup_ratio", SHARE, (-0.1, 1.0, float("nan"))),
                ("dropout", SHARE, (1.0,)),
                ("beta1", SHARE, (1.0,)),
                ("beta2", SHARE, (-0.5,)),
                ("weight_decay", "at least 0 and finite", (-0.01, float("nan"), float("inf"))),
            )
            for value in values
        ),
        (
            {"max_length": 600},
            "max_length is 600, but the model reads 512 tokens at most; give 512 or less.",
        ),
        (
            {"task": "stsb", "kind": "regression", "class_weights": "balanced"},
            "class_weights='balanced' is for classes; task 'stsb' has none. Remove it.",
        ),
        (
            {"features": (-1, -2)},
            "features trains a BiLSTM on a frozen encoder for token classification (paper, section "
            "5.3), not for task 'mrpc'; remove it.",
        ),
        (
            {
                "task": "token-classification",
                "kind": "token-classification",
                "features": (-1,),
                "bilstm": True,
            },
            "bilstm and features both add a BiLSTM; give only one of them.",
        ),
        (
            {"task": "swag", "kind": "multiple-choice", "long_texts": "windows"},
            "long_texts does not apply to 'multiple-choice', which truncates them; remove it.",
        ),
        (
            {"kind": "token-classification", "long_texts": "truncate"},
            "long_texts does not apply to 'token-classification', which always slides windows "
            "over them; remove it.",
        ),
        (
            {"stride": 64},
            "stride is for sliding windows, but long texts are truncated; add "
            "long_texts='windows', or remove it.",
        ),
        (
            {"kind": "multiple-choice", "stride": 64},
            "stride is for sliding windows, but long texts are truncated; remove it.",
        ),
        (
            {"stride": 127, "max_length": 128, "long_texts": "windows"},
            "stride is 127, but windows of 128 tokens may overlap by 85 at most; give 85 or less.",
        ),
        (
            {"kind": "token-classification", "combine": "sum"},
            "combine combines the layers of features; give those too, or remove it.",
        ),
        (
            {"epochs": 10**9},
            "epochs is 1000000000; it must be at most 10000: to train for as long as it helps, "
            "give for instance epochs=100 patience=5.",
        ),
        (
            {"batch_size": 10**9},
            "batch_size is 1000000000, but an epoch has 100000 examples; give 100000 to take all "
            "of them in one step, or fewer.",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(flags, message):
    with pytest.raises(UsageError) as caught:
        config_of(**flags)
    assert str(caught.value) == message


def test_the_edges_of_the_ranges_are_allowed():
    edges = {"warmup_ratio": 0.0, "dropout": 0.0, "beta1": 0.0, "weight_decay": 0.0, "patience": 0}
    assert (
        config_of(kind="token-classification", max_length=512, stride=0, **edges).max_length == 512
    )
    assert config_of(kind="token-classification", max_length=9, stride=6).stride == 6
    assert config_of(examples=10, batch_size=1024).batch_size == 1024
    assert config_of(epochs=10_000, learning_rate=0.1).epochs == 10_000
    assert config_of(class_weights="balanced", long_texts="windows").class_weights == "balanced"
    assert config_of(kind="token-classification", features=(-4, -1), combine="sum").features == (
        -4,
        -1,
    )


def test_layers_are_counted_from_either_end():
    assert chosen_layers((0, 2, -1, -3), count=3, parameter="layers") == [0, 2, 2, 0]
    for wrong in ((3,), (-4,), ()):
        with pytest.raises(UsageError) as caught:
            chosen_layers(wrong, count=3, parameter="layers")
        assert str(caught.value) == (
            f"layers={wrong}: the model has layers 0 (embeddings) to 2, or "
            "-3 to -1 counted from the last; name at least one."
        )
