"""Shapes and their files: presets by name, the keys of a `config.json`, read strictly and written.

What `transformers` and the original releases write into a `config.json` and what changes nothing in
what is computed here is accepted; an unknown key is an error that names the nearest known one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.errors import UsageError, nearest
from bertsmith.files import parse_json
from bertsmith.shapes import SIZES, Architecture, BertConfig, ElmoConfig, GptConfig, Shape

MODEL_TYPES: dict[str, Architecture] = {"bert": "bert", "openai-gpt": "gpt", "elmo": "elmo"}
"""`model_type` of a `config.json`."""


def architecture_of(shape: Shape) -> Architecture:
    """The architecture that a shape belongs to."""
    match shape:
        case BertConfig():
            return "bert"
        case GptConfig():
            return "gpt"
        case ElmoConfig():
            return "elmo"


def shape_from_keys(config_keys: dict[str, Any], source: str) -> Shape:
    """The shape that a `config.json` describes; one without `model_type` is a BERT's.

    Raises:
        UsageError: another architecture, a setting that is not computed here, numbers that do not
            fit.
        FolderError: an unknown key or a wrong type.
    """
    name = str(config_keys.get("model_type", "bert"))
    if name not in MODEL_TYPES:
        raise UsageError(
            f"{source}: model_type is '{name}', expected one of {', '.join(MODEL_TYPES)}; this "
            "folder holds another architecture."
        )
    match MODEL_TYPES[name]:
        case "bert":
            return bert_config_from_keys(config_keys, source)
        case "gpt":
            return gpt_config_from_keys(config_keys, source)
        case "elmo":
            return elmo_config_from_keys(config_keys, source)


def shape_keys(shape: Shape) -> dict[str, Any]:
    """What a `config.json` says of a shape, for `shape_from_keys`."""
    [model_type] = [name for name, kind in MODEL_TYPES.items() if kind == architecture_of(shape)]
    return {"model_type": model_type} | msgspec.structs.asdict(shape)


def shape_named(model: Architecture, size: str, *, vocab_size: int) -> Shape:
    """The shape of an architecture named by `size`, a preset's name or the path of a `config.json`.

    Raises:
        UsageError: `size` is neither, or the numbers do not fit together.
        FolderError: the file is not JSON or holds an unknown key.
    """
    match model:
        case "bert":
            return bert_config(size, vocab_size=vocab_size)
        case "gpt":
            return gpt_config(size, vocab_size=vocab_size)
        case "elmo":
            return elmo_config(size, vocab_size=vocab_size)


def bert_config(size: str, *, vocab_size: int) -> BertConfig:
    """The shape named by `size`: a preset's name or the path of a `config.json`.

    Raises:
        UsageError: `size` is neither, or the numbers do not fit together.
        FolderError: the file is not JSON or holds an unknown key.
    """
    if size in SIZES:
        layers, width = SIZES[size]
        return BertConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
        )
    return bert_config_from_keys({"vocab_size": vocab_size} | _keys_of_file(size), size)


def gpt_config(size: str, *, vocab_size: int) -> GptConfig:
    """The shape named by `size`: a preset's name or the path of a `config.json`.

    Raises:
        UsageError: `size` is neither, or the numbers do not fit together.
        FolderError: the file is not JSON or holds an unknown key.
    """
    if size in SIZES:
        layers, width = SIZES[size]
        return GptConfig(vocab_size=vocab_size, n_embd=width, n_layer=layers, n_head=width // 64)
    return gpt_config_from_keys({"vocab_size": vocab_size} | _keys_of_file(size), size)


def _keys_of_file(size: str, presets: Mapping[str, object] = SIZES) -> dict[str, Any]:
    """What a `config.json` given as `--size` holds."""
    if size.endswith(".json"):
        path = Path(size)
        if not path.is_file():
            raise UsageError(f"--size {size}: no such file; give a config.json or a preset.")
        return parse_json(path.read_bytes(), dict[str, Any], size)
    raise UsageError(
        f"--size {size}: not a preset{nearest(size, presets)}; choose one of "
        f"{', '.join(presets)} or give the path of a config.json."
    )


# Keys that `transformers` and Google's releases write into a BERT's config.json and that change
# nothing in what is computed here. Each value, where one is given, is the only one we can honour.
_INERT_KEYS: dict[str, object] = dict.fromkeys(
    (
        "architectures bos_token_id classifier_dropout directionality dtype eos_token_id "
        "finetuning_task gradient_checkpointing id2label label2id max_length model_type "
        "output_attentions output_hidden_states output_past pooler_fc_size "
        "pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type "
        "problem_type return_dict sep_token_id torch_dtype transformers_version use_cache "
        "_name_or_path attn_implementation _attn_implementation chunk_size_feed_forward "
        "tie_word_embeddings bertsmith_task"
    ).split(),
    ...,
) | {
    "position_embedding_type": "absolute",
    "is_encoder_decoder": False,
    "add_cross_attention": False,
}


def bert_config_from_keys(keys: dict[str, Any], source: str) -> BertConfig:
    """A `config.json`'s content as a `BertConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, a setting we do not compute, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, model_type="bert", inert=_INERT_KEYS)
    return parse_json(msgspec.json.encode(kept), BertConfig, source).validate(source)


# The same for `openai-gpt`.
_INERT_GPT_KEYS = (
    _INERT_KEYS
    | dict.fromkeys(
        (
            "n_ctx pad_token_id predict_special_tokens summary_activation summary_first_dropout "
            "summary_proj_to_labels summary_type summary_use_proj task_specific_params"
        ).split(),
        ...,
    )
    | {"n_special": 0, "tie_word_embeddings": True, "is_decoder": False}
)


def gpt_config_from_keys(keys: dict[str, Any], source: str) -> GptConfig:
    """A `config.json`'s content as a `GptConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, a setting we do not compute, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, model_type="openai-gpt", inert=_INERT_GPT_KEYS)
    if kept.get("afn", "gelu") not in ("gelu", "relu"):
        raise UsageError(
            f"{source}: afn is {kept['afn']!r}; bertsmith's GPT computes only 'gelu' (by tanh, as "
            "OpenAI's code) and 'relu'."
        )
    return parse_json(msgspec.json.encode(kept), GptConfig, source).validate(source)


def _computed(
    keys: dict[str, Any], source: str, *, model_type: str, inert: dict[str, object]
) -> dict[str, Any]:
    """The keys that say what is computed; of the others, those that must have one value have it."""
    if keys.get("model_type", model_type) != model_type:
        raise UsageError(
            f"{source}: model_type is '{keys['model_type']}', expected '{model_type}'; this folder "
            "holds another architecture."
        )
    kept = {}
    for key, value in keys.items():
        if key not in inert:
            kept[key] = value
        elif inert[key] is not ... and value != inert[key]:
            raise UsageError(
                f"{source}: {key} is {value!r}; bertsmith computes only {inert[key]!r}."
            )
    return kept


# Highways, P, and LSTM width; filters up to a width in characters. From `small` on they are the
# published models (AllenNLP's small, medium and original), below them ours in proportion.
ELMO_SIZES: dict[str, tuple[int, int, int, int]] = {
    "tiny": (1, 64, 256, 4),
    "mini": (1, 128, 512, 5),
    "small": (1, 128, 1024, 7),
    "medium": (1, 256, 2048, 7),
    "base": (2, 512, 4096, 7),
}


def elmo_config(size: str, *, vocab_size: int) -> ElmoConfig:
    """The shape named by `size`, as `bert_config` has BERT's.

    Raises:
        UsageError: `size` is neither a preset nor a file, or the numbers do not fit together.
        FolderError: the file is not JSON or holds an unknown key.
    """
    if size in ELMO_SIZES:
        highways, projection, width, widest = ELMO_SIZES[size]
        whole = ElmoConfig(vocab_size=vocab_size)
        return msgspec.structs.replace(
            whole,
            filters=whole.filters[:widest],
            highways=highways,
            projection=projection,
            lstm_width=width,
        )
    keys = _keys_of_file(size, ELMO_SIZES)
    return elmo_config_from_keys({"vocab_size": vocab_size} | keys, size)


# Keys of our own ELMo's folders beside its shape.
_INERT_ELMO_KEYS: dict[str, object] = dict.fromkeys(
    "architectures bertsmith_task dtype id2label label2id model_type problem_type".split(), ...
)


def elmo_config_from_keys(keys: dict[str, Any], source: str) -> ElmoConfig:
    """A `config.json`'s content as an `ElmoConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, or numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, model_type="elmo", inert=_INERT_ELMO_KEYS)
    return parse_json(msgspec.json.encode(kept), ElmoConfig, source).validate(source)
