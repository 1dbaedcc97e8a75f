"""The keys of a `config.json`, read strictly.

What `transformers` and the original releases write into a `config.json` and what changes nothing in
what is computed here is accepted. An unknown key is an error where it is a misspelled known one or
could change what is computed; otherwise a warning names it.
"""

import difflib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.core.errors import FolderError, ModelWarning, UsageError, nearest, option
from bertsmith.core.storage import parse_json


def read_config_keys(size: str, presets: Mapping[str, object]) -> dict[str, Any]:
    """What the `config.json` given as `--size` holds.

    Raises:
        UsageError: it is no such file, and not one of `presets` either.
        FolderError: it is not JSON.
    """
    if size.endswith(".json"):
        path = Path(size)
        if not path.is_file():
            raise UsageError(
                f"{option('size', size)}: no such file; give a config.json or a preset."
            )
        return parse_json(path.read_bytes(), dict[str, Any], size)
    raise UsageError(
        f"{option('size', size)}: not a preset{nearest(size, presets)}; choose one of "
        f"{', '.join(presets)} or give the path of a config.json."
    )


# Keys that `transformers`, Google's releases and fine-tuning scripts write into a config.json and
# that change nothing in what is computed here. Each value, where one is given, is the only one that
# can be honoured; `SameAs` names the key whose value it must have.
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
class SameAs:
    """An inert key that must repeat the value of another one."""

    key: str


INERT_KEYS: dict[str, object] = dict.fromkeys(
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
    "embedding_size": SameAs("hidden_size"),
    "emb_size": SameAs("hidden_size"),
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


def computed_keys(
    keys: Mapping[str, object],
    source: str,
    *,
    fields: Sequence[str],
    model_type: str,
    inert: Mapping[str, object],
) -> dict[str, Any]:
    """The keys that say what is computed; of the others, those that must have one value have it.

    Unknown keys are left out with a warning, where they cannot change what is computed.
    """
    if keys.get("model_type", model_type) != model_type:
        raise UsageError(
            f"{source}: model_type is '{keys['model_type']}', expected '{model_type}'; this folder "
            "holds another architecture."
        )
    kept, unknown = {}, []
    for key, value in keys.items():
        if key in fields:
            kept[key] = value
        elif key in inert:
            required = inert[key]
            if isinstance(required, SameAs):
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


def _check_unknown(key: str, value: object, fields: Sequence[str], source: str) -> None:
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
            "computes. If it does not, remove it; otherwise bertsmith cannot compute this model."
        )


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_empty(inner) for inner in value.values())
    return not value
