import json
import math
from pathlib import Path

import msgspec
import pytest

import bertsmith
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.storage import changed_fields
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import SIZES
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.gpt.config import GptConfig
from bertsmith.pretraining.config import (
    RECIPES,
    PretrainConfig,
    Start,
    pretrain_config,
    read_settings,
)
from bertsmith.training.schedule import Phase


def parameters(shape: BertConfig) -> int:
    """Of the encoder with its pooler, counted from the shape (paper, section 3)."""
    width, inner = shape.hidden_size, shape.intermediate_size
    rows = shape.vocab_size + shape.max_position_embeddings + shape.type_vocab_size
    attention = 4 * (width * width + width)
    feed_forward = 2 * width * inner + inner + width
    layer = attention + feed_forward + 4 * width
    return rows * width + 2 * width + shape.num_hidden_layers * layer + width * width + width


# Layers, width and heads: Base and Large from the paper, section 3, the small ones from Google's
# list of small models; millions of parameters with a vocabulary of 30,522.
SHAPES = {
    "tiny": (2, 128, 2, 4.4),
    "mini": (4, 256, 4, 11.2),
    "small": (4, 512, 8, 28.8),
    "medium": (8, 512, 8, 41.4),
    "base": (12, 768, 12, 109.5),
    "large": (24, 1024, 16, 335.1),
}


@pytest.mark.parametrize("size", SHAPES)
def test_every_preset_has_the_published_numbers(size):
    shape = BertConfig.named(size, vocab_size=30_522)
    layers, width, heads, millions = SHAPES[size]
    assert shape.num_hidden_layers == layers
    assert shape.hidden_size == width
    assert shape.num_attention_heads == heads
    assert shape.hidden_size // shape.num_attention_heads == 64
    assert shape.intermediate_size == 4 * width
    assert shape.max_position_embeddings == 512
    assert shape.type_vocab_size == 2
    assert shape.hidden_act == "gelu"
    assert (shape.hidden_dropout_prob, shape.attention_probs_dropout_prob) == (0.1, 0.1)
    assert (shape.initializer_range, shape.layer_norm_eps) == (0.02, 1e-12)
    assert round(parameters(shape) / 1e6, 1) == millions
    assert shape.validate("x") is shape


def test_every_preset_is_tested():
    assert list(SIZES) == list(SHAPES)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (
            "bsae",
            r"size='bsae': not a preset \(perhaps you meant 'base'\); choose one of tiny, mini",
        ),
        (
            "huge",
            r"size='huge': not a preset; choose one of tiny, mini, small, medium, base, large ",
        ),
        ("", r"size='': not a preset; choose one of"),
        ("none.json", r"size='none\.json': no such file; give a config\.json or a preset\."),
    ],
)
def test_a_wrong_size_is_named(size, why):
    with pytest.raises(UsageError, match=why):
        BertConfig.named(size, vocab_size=100)


def put(folder, keys: dict[str, object]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(keys))
    return str(path)


def test_a_config_file_gives_the_shape(tmp_path):
    path = put(tmp_path, {"hidden_size": 96, "num_attention_heads": 3, "num_hidden_layers": 2})
    shape = BertConfig.named(path, vocab_size=77)
    assert (shape.vocab_size, shape.hidden_size, shape.num_attention_heads) == (77, 96, 3)
    assert shape.intermediate_size == 3072
    path = put(tmp_path, {"vocab_size": 50})
    assert BertConfig.named(path, vocab_size=77).vocab_size == 50


def test_an_unknown_key_names_the_nearest(tmp_path):
    path = put(tmp_path, {"hiden_size": 96})
    why = r"unknown key 'hiden_size' \(perhaps you meant 'hidden_size'\); remove it or correct its"
    with pytest.raises(FolderError, match=why) as caught:
        BertConfig.named(path, vocab_size=77)
    assert str(caught.value).startswith(path)


def test_a_head_count_that_does_not_divide_is_named(tmp_path):
    path = put(tmp_path, {"hidden_size": 100, "num_attention_heads": 3})
    why = (
        r"num_attention_heads is 3, which does not divide hidden_size 100; choose a head count that"
    )
    with pytest.raises(UsageError, match=why):
        BertConfig.named(path, vocab_size=77)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"hidden_size": 0}, "hidden_size is 0; it must be at least 1."),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1; it must be at least 1."),
        ({"pad_token_id": -1}, "pad_token_id is -1; it must be at least 0."),
        ({"initializer_range": 0.0}, "initializer_range is 0.0; it must be above 0."),
        ({"layer_norm_eps": -1e-12}, "layer_norm_eps is -1e-12; it must be above 0."),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob is 1.0; it must be in \[0, 1\)."),
        ({"model_type": "gpt2"}, "model_type is 'gpt2', expected 'bert'"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type is 'relative_key'; bertsmith computes only 'absolute'.",
        ),
        (
            {"is_encoder_decoder": True},
            "is_encoder_decoder is True; bertsmith computes only False.",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_named(tmp_path, keys, why):
    path = put(tmp_path, keys)
    with pytest.raises(UsageError, match=why) as caught:
        BertConfig.named(path, vocab_size=77)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"hidden_size": "96"}, "'hidden_size' is a string, expected an integer; correct it"),
        ({"hidden_act": 1}, "'hidden_act' is an integer, expected a string; correct it"),
        ({"hidden_size": 96.5}, "'hidden_size' is a number, expected an integer; correct it"),
    ],
)
def test_wrong_types_are_named(tmp_path, keys, why):
    with pytest.raises(FolderError, match=why):
        BertConfig.named(put(tmp_path, keys), vocab_size=77)


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 96')
    with pytest.raises(FolderError, match="is not valid JSON"):
        BertConfig.named(str(path), vocab_size=77)
    path.write_text("[1]")
    with pytest.raises(FolderError, match="found a list, expected an object; correct it"):
        BertConfig.named(str(path), vocab_size=77)


def test_what_transformers_writes_is_read():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2)
    shape = BertConfig.from_keys(json.loads(theirs.to_json_string(use_diff=False)), "config.json")
    assert (shape.hidden_size, shape.num_hidden_layers, shape.vocab_size) == (128, 2, 30_522)
    defaults = BertConfig.from_keys(json.loads(transformers.BertConfig().to_json_string()), "x")
    assert defaults == BertConfig.named("base", vocab_size=30_522)


# Pre-training.


def test_the_paper_recipe_has_the_papers_numbers():
    """Devlin et al. 2019, appendix A.2 and section 3.1; AdamW's epsilon is Google's code's."""
    paper = pretrain_config("paper", data="d", steps=1_000_000)
    assert paper.batch_size == 256
    assert paper.learning_rate == 1e-4
    assert paper.warmup_ratio * 1_000_000 == 10_000
    assert (paper.beta1, paper.beta2, paper.epsilon) == (0.9, 0.999, 1e-6)
    assert paper.weight_decay == 0.01
    assert paper.dropout == 0.1
    assert paper.mlm_probability == 0.15
    assert paper.pair_task == "nsp"
    assert paper.short_seq_prob == 0.1
    assert not paper.whole_word_masking
    assert paper.phases == (Phase(0.9, 128), Phase(0.1, 512))


@pytest.mark.parametrize(
    ("model", "size", "rate"),
    [
        ("bert", "tiny", 2e-3),
        ("bert", "mini", 1e-3),
        ("gpt", "mini", 1e-3),
        ("bert", "base", 1e-3 / 3),
        ("elmo", "mini", 1e-3),
    ],
)
def test_the_modern_learning_rate_falls_with_the_width(model, size, rate):
    config = pretrain_config("modern", data="d", steps=10, model=model, size=size)
    assert config.learning_rate == pytest.approx(rate)
    given = pretrain_config("modern", data="d", steps=10, model=model, size=size, learning_rate=0.1)
    assert given.learning_rate == 0.1
    assert pretrain_config("paper", data="d", steps=10, size=size).learning_rate == 1e-4


def test_the_modern_recipe_changes_training_only():
    modern = pretrain_config("modern", data="d", steps=10)
    assert modern.warmup_ratio == 0.06
    assert modern.mlm_probability == 0.3
    assert modern.dropout == 0
    assert modern.initial_weights == "structured"
    assert pretrain_config("paper", data="d", steps=10).initial_weights == "paper"
    assert modern.pair_task == "nsp"
    assert pretrain_config("modern", data="d", steps=10, pair_task="none").pair_task == "none"
    assert set(RECIPES) == {"paper", "modern"}


def test_flags_win_over_the_recipe_and_none_leaves_it():
    flags = {"data": "d", "hours": 0.5, "learning_rate": 3e-4, "warmup_ratio": None, "steps": None}
    given = pretrain_config("modern", **flags)
    assert (given.learning_rate, given.warmup_ratio, given.hours) == (3e-4, 0.06, 0.5)
    assert given.steps is None


def start(**facts):
    usual = {"name": "m", "config": Path("m/config.json"), "width": 128, "pair_head": True}
    return Start(**(usual | facts))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_continues_a_model_has_gentler_settings(recipe):
    usual = pretrain_config(recipe, data="d", steps=10)
    given = pretrain_config(recipe, data="d", steps=10, start=start())
    assert (given.learning_rate, given.warmup_ratio, given.mlm_probability) == (1e-4, 0.06, 0.15)
    assert (given.start, given.size, given.start_folder) == ("m", "m/config.json", Path("m"))
    assert (usual.start, usual.start_folder) == (None, None)
    kept = {"dropout", "beta2", "weight_decay", "phases", "pair_task", "batch_size"}
    assert all(getattr(given, name) == getattr(usual, name) for name in kept)


@pytest.mark.parametrize(("width", "rate"), [(128, 1e-4), (512, 1e-4), (768, 5e-5), (1024, 5e-5)])
def test_wide_models_are_continued_at_a_smaller_rate(width, rate):
    given = pretrain_config("modern", data="d", steps=10, start=start(width=width))
    assert given.learning_rate == rate


def test_a_model_without_a_pair_head_is_continued_without_one():
    flags = {"data": "d", "steps": 10, "start": start(pair_head=False)}
    assert pretrain_config("paper", **flags).pair_task == "none"
    assert pretrain_config("paper", **flags, pair_task="sop").pair_task == "sop"


def test_flags_win_over_what_continuing_changes():
    flags = {"learning_rate": 1e-3, "mlm_probability": 0.3, "warmup_ratio": 0.0}
    given = pretrain_config("modern", data="d", steps=10, start=start(), **flags)
    assert {name: getattr(given, name) for name in flags} == flags


def test_a_size_and_a_model_to_continue_exclude_each_other():
    for flag, value in (("size", "tiny"), ("initial_weights", "structured")):
        words = rf"{flag}='{value}' .* start='m' has its own size and weights"
        with pytest.raises(UsageError, match=words):
            pretrain_config("modern", data="d", steps=10, start=start(), **{flag: value})


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_loads_and_comes_back_from_json(recipe):
    given = pretrain_config(recipe, data="d", steps=10)
    assert math.isclose(sum(phase.share for phase in given.phases), 1)
    again = msgspec.json.decode(msgspec.json.encode(given), type=PretrainConfig)
    assert again == given
    assert changed_fields(given, again) == []


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({}, "Give the length of the run, as either steps or hours"),
        ({"steps": 1, "hours": 1.0}, "Give the length of the run, as either steps or hours"),
        ({"steps": 0}, "steps is 0; it must be above 0."),
        ({"hours": -1.0}, "hours is -1.0; it must be above 0."),
        ({"steps": 1, "learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0."),
        ({"steps": 1, "learning_rate": 1.0}, "learning_rate is 1.0; it must be at most 0.1."),
        ({"steps": 1, "batch_size": 0}, "batch_size is 0; it must be at least 1."),
        ({"steps": 1, "save_total_limit": 0}, "save_total_limit is 0; it must be at least 1."),
        (
            {"steps": 1, "warmup_ratio": 1.0},
            "warmup_ratio is 1.0; it must be at least 0 and below 1.",
        ),
        ({"steps": 1, "dropout": -0.1}, "dropout is -0.1; it must be at least 0 and below 1."),
        (
            {"steps": 1, "mlm_probability": 0.0},
            "mlm_probability is 0.0; it must be between 0 and 1.",
        ),
        (
            {"steps": 1, "mlm_probability": 1.0},
            "mlm_probability is 1.0; it must be between 0 and 1.",
        ),
        ({"steps": 1, "weight_decay": -1.0}, "weight_decay is -1.0; it must be at least 0."),
        ({"steps": 1, "seed": -1}, "seed is -1; it must be at least 0."),
        ({"steps": 1, "phases": ()}, "phases: the shares add to 0; they must add to 1."),
        (
            {"steps": 1, "phases": (Phase(0.5, 128),)},
            "phases: the shares add to 0.5; they must add to 1.",
        ),
        (
            {"steps": 1, "phases": (Phase(1.0, 7),)},
            "phases is 7; it must be made of lengths of at",
        ),
        (
            {"steps": 1, "phases": (Phase(1.5, 128), Phase(-0.5, 128))},
            "phases is -0.5; it must be made of shares above 0.",
        ),
    ],
)
def test_values_out_of_range_are_named(flags, why):
    with pytest.raises(UsageError) as caught:
        pretrain_config("modern", data="d", **flags)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize("name", ["learning_rate", "hours", "weight_decay", "epsilon", "dropout"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(name, value):
    flags = {"steps": 1, "data": "d"} | {name: value}
    if name == "hours":
        del flags["steps"]
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        pretrain_config("modern", **flags)


def test_what_changed_is_named():
    old = pretrain_config("paper", data="d", steps=10)
    new = pretrain_config("paper", data="e", steps=10, seed=3)
    assert changed_fields(old, new) == ["data: 'd' -> 'e'", "seed: 0 -> 3"]


def test_every_setting_is_read_by_some_code():
    """A setting that nothing reads is a lie to the user who sets it."""
    sources = "".join(
        path.read_text()
        for path in Path(bertsmith.__file__).parent.rglob("*.py")
        if path.name != "config.py"
    )
    for kind in (BertConfig, GptConfig, ElmoConfig, PretrainConfig, Phase):
        for field in msgspec.structs.fields(kind):
            # The padding's id is written for transformers; nothing is padded here.
            assert f".{field.name}" in sources or field.name == "pad_token_id", field.name


def test_settings_of_older_versions_are_read(tmp_path):
    new = pretrain_config(
        "modern", data="d", steps=9, short_seq_prob=0.2, save_total_limit=3, warmup_ratio=0.25
    )
    keys = msgspec.to_builtins(new)
    old = {
        "short_share": "short_seq_prob",
        "keep": "save_total_limit",
        "warmup": "warmup_ratio",
        "clip_norm": "max_grad_norm",
        "mask_share": "mlm_probability",
    }
    for before, now in old.items():
        keys[before] = keys.pop(now)
    del keys["whole_word_masking"]
    (tmp_path / "pretrain.json").write_text(json.dumps(keys | {"masking": "word"}))
    assert read_settings(tmp_path) == msgspec.structs.replace(new, whole_word_masking=True)
    (tmp_path / "pretrain.json").write_text(json.dumps(keys | {"masking": "piece"}))
    assert read_settings(tmp_path) == new
    (tmp_path / "pretrain.json").write_text(json.dumps(keys | {"stepz": 9}))
    with pytest.raises(FolderError, match=r"pretrain\.json.*stepz"):
        read_settings(tmp_path)
