"""Shapes and their files: presets by name, the keys of a `config.json`, read strictly and written.

What `transformers` and the original releases write into a `config.json` and what changes nothing in
what is computed here is accepted. An unknown key is an error where it is a misspelled known one or
could change what is computed; otherwise a warning names it.
"""

import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from bertsmith.core.errors import FolderError, ModelWarning, UsageError, nearest
from bertsmith.core.storage import parse_json
from bertsmith.models.config import (
    SIZES,
    Activation,
    Architecture,
    BertConfig,
    ElmoConfig,
    GptActivation,
    GptConfig,
    Shape,
)

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


# Keys that `transformers`, Google's releases and fine-tuning scripts write into a config.json and
# that change nothing in what is computed here. Each value, where one is given, is the only one that
# can be honoured; `_SameAs` names the key whose value it must have.
_OF_OUTPUTS = (
    "architectures finetuning_task id2label label2id num_labels _num_labels problem_type "
    "classifier_dropout output_attentions output_hidden_states output_past return_dict use_cache "
    "use_return_dict bertsmith_task num_choices sentence_transformers "
    "sbert_ce_default_activation_function"
)
_OF_GENERATION = (
    "bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id diversity_penalty "
    "do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id "
    "exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty "
    "max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams "
    "num_return_sequences output_scores prefix remove_invalid_values repetition_penalty "
    "return_dict_in_generate sep_token_id suppress_tokens temperature top_k top_p typical_p "
    "unk_token_id cls_token_id mask_token_id task_specific_params"
)
_OF_PROGRAMS = (
    "_attn_implementation _attn_implementation_internal _attn_implementation_autoset _commit_hash "
    "_name_or_path attn_implementation chunk_size_feed_forward directionality dtype "
    "gradient_checkpointing model_type name_or_path pooler_fc_size pooler_num_attention_heads "
    "pooler_num_fc_layers pooler_size_per_head pooler_type tf_legacy_loss tie_word_embeddings "
    "tokenizer_class torch_dtype torchscript transformers_version use_bfloat16 xla_device "
    "language name model_name"
)


@dataclass(frozen=True)
class _SameAs:
    key: str


_INERT_KEYS: dict[str, object] = dict.fromkeys(
    f"{_OF_OUTPUTS} {_OF_GENERATION} {_OF_PROGRAMS}".split(), ...
) | {
    "position_embedding_type": "absolute",
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "pruned_heads": {},
    "scale_attn_weights": True,
    "attention_bias": True,
    "embedding_size": _SameAs("hidden_size"),
    "emb_size": _SameAs("hidden_size"),
}
# An unknown key with one of these words could change what a model computes.
_COMPUTING_WORDS = frozenset(
    "act activation adapter adapters alibi attention attn auto bias bits block causal cell conv "
    "cross decoder dim emb embed embedding embeddings encoder eps epsilon expert experts "
    "factorized ffn gate gelu group groups head heads hidden inner intermediate kernel layer "
    "layernorm layers lora lstm mask mlp moe norm normalization position positional "
    "positions post pre projection prompt quant quantization quantized rank relative residual rope "
    "rotary scale scaling segment segments seq shared sharing size skip tie tied token "
    "width window".split()
)
# From this likeness on an unknown key is a misspelled known one.
_MISSPELLED = 0.85


def bert_config_from_keys(keys: dict[str, Any], source: str) -> BertConfig:
    """A `config.json`'s content as a `BertConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, a setting we do not compute, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, BertConfig, model_type="bert", inert=_INERT_KEYS)
    act = kept.get("hidden_act", "gelu")
    if isinstance(act, str) and act not in get_args(Activation):
        raise UsageError(
            f"{source}: hidden_act is {act!r}{nearest(act, get_args(Activation))}; bertsmith "
            f"computes {', '.join(get_args(Activation))}."
        )
    return parse_json(msgspec.json.encode(kept), BertConfig, source).validate(source)


# The same for `openai-gpt`.
_INERT_GPT_KEYS = (
    _INERT_KEYS
    | dict.fromkeys(
        (
            "n_ctx pad_token_id predict_special_tokens summary_activation summary_first_dropout "
            "summary_proj_to_labels summary_type summary_use_proj"
        ).split(),
        ...,
    )
    | {"n_special": 0, "tie_word_embeddings": True, "is_decoder": False}
    | {"embedding_size": _SameAs("n_embd"), "emb_size": _SameAs("n_embd")}
)


def gpt_config_from_keys(keys: dict[str, Any], source: str) -> GptConfig:
    """A `config.json`'s content as a `GptConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, a setting we do not compute, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, GptConfig, model_type="openai-gpt", inert=_INERT_GPT_KEYS)
    if kept.get("afn", "gelu") not in get_args(GptActivation):
        raise UsageError(
            f"{source}: afn is {kept['afn']!r}; bertsmith's GPT computes only 'gelu' (by tanh, as "
            "OpenAI's code), 'relu', 'silu' and 'swish'."
        )
    return parse_json(msgspec.json.encode(kept), GptConfig, source).validate(source)


def _computed(
    keys: dict[str, Any],
    source: str,
    shape: type[Shape],
    *,
    model_type: str,
    inert: dict[str, object],
) -> dict[str, Any]:
    """The keys that say what is computed; of the others, those that must have one value have it.

    Unknown keys are left out with a warning, where they cannot change what is computed.
    """
    if keys.get("model_type", model_type) != model_type:
        raise UsageError(
            f"{source}: model_type is '{keys['model_type']}', expected '{model_type}'; this folder "
            "holds another architecture."
        )
    fields = [field.name for field in msgspec.structs.fields(shape)]
    kept, unknown = {}, []
    for key, value in keys.items():
        if key in fields:
            kept[key] = value
        elif key in inert:
            required = inert[key]
            if isinstance(required, _SameAs):
                required = keys.get(required.key)
            if required is not ... and value is not None and value != required:
                raise UsageError(
                    f"{source}: {key} is {value!r:.60}; bertsmith computes only {required!r}."
                )
        else:
            _check_unknown(key, value, fields, source)
            unknown.append(key)
    if unknown:
        warnings.warn(
            f"{source}: unknown keys are ignored: {', '.join(sorted(unknown))}.",
            ModelWarning,
            stacklevel=2,
        )
    return kept


def _check_unknown(key: str, value: object, fields: list[str], source: str) -> None:
    """Refuses a misspelled key, and one that could change what the model computes."""
    if difflib.get_close_matches(key.casefold(), fields, n=1, cutoff=_MISSPELLED):
        raise FolderError(
            f"{source}: unknown key '{key}'{nearest(key, fields)}; "
            "remove it or correct its spelling."
        )
    words = set(re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).casefold()))
    # Dropout is chosen by whoever trains, and is nothing when a model answers.
    if not _is_empty(value) and words & _COMPUTING_WORDS and "dropout" not in words:
        raise FolderError(
            f"{source}: unknown key '{key}' ({value!r:.60}), which could change what the model "
            "computes. If it does not, remove it; otherwise this model cannot be computed here."
        )


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_empty(inner) for inner in value.values())
    return not value


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
    kept = _computed(keys, source, ElmoConfig, model_type="elmo", inert=_INERT_ELMO_KEYS)
    return parse_json(msgspec.json.encode(kept), ElmoConfig, source).validate(source)
