"""The shapes of the three architectures, by the names that their `config.json` uses, and presets.

Every shape is a typed, frozen structure; an unknown key is an error that names the nearest known
one. A preset is a row of a table, never a branch in the code that uses it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from bertsmith.errors import UsageError, nearest
from bertsmith.files import parse_json

Architecture = Literal["bert", "gpt", "elmo"]
Activation = Literal["gelu", "gelu_new", "relu"]


class BertConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a BERT encoder, by the names that `config.json` uses everywhere.

    Raises:
        UsageError: from `validate`, when the numbers do not fit together.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    is_decoder: bool = False
    """Whether a token sees itself and those before it only (the paper's left-to-right model)."""

    def with_dropout(self, p: float) -> "BertConfig":
        """The same shape with `p` for both probabilities of dropout."""
        return msgspec.structs.replace(self, hidden_dropout_prob=p, attention_probs_dropout_prob=p)

    @property
    def head_width(self) -> int:
        """Width of one attention head (H)."""
        return self.hidden_size // self.num_attention_heads

    def validate(self, source: str) -> "BertConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source, may_be_zero=("pad_token_id", "is_decoder"))
        _check_heads(self, source, heads="num_attention_heads", width="hidden_size")
        return self


class GptConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a GPT (Radford et al. 2018), by the names of `transformers`' `openai-gpt`."""

    vocab_size: int
    n_positions: int = 512
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    afn: Literal["gelu", "relu"] = "gelu"
    """`gelu` is the approximation by tanh here, as in the original code."""
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    def with_dropout(self, p: float) -> "GptConfig":
        """The same shape with `p` for every probability of dropout."""
        return msgspec.structs.replace(self, resid_pdrop=p, embd_pdrop=p, attn_pdrop=p)

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.n_embd

    @property
    def num_hidden_layers(self) -> int:
        """Blocks."""
        return self.n_layer

    @property
    def max_position_embeddings(self) -> int:
        """Longest input in tokens."""
        return self.n_positions

    def validate(self, source: str) -> "GptConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source)
        _check_heads(self, source, heads="n_head", width="n_embd")
        return self


class ElmoConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of an ELMo (Peters et al. 2018, section 3.4); the defaults are the published one's.

    Its `config.json` has `model_type` `elmo`, which is ours: `transformers` has no ELMo.
    """

    vocab_size: int
    """Tokens of the softmax."""
    characters: int = 50
    """Character ids of a token, its begin and end counted."""
    char_width: int = 16
    filters: tuple[tuple[int, int], ...] = (
        (1, 32),
        (2, 32),
        (3, 64),
        (4, 128),
        (5, 256),
        (6, 512),
        (7, 1024),
    )
    """Width in characters and number of the convolutions."""
    highways: int = 2
    cnn_act: Literal["relu", "tanh"] = "relu"
    projection: int = 512
    """Of the characters and of each LSTM's output (P); a direction is P wide, both are 2P."""
    lstm_width: int = 4096
    lstm_layers: int = 2
    cell_clip: float = 3.0
    projection_clip: float = 3.0
    dropout: float = 0.1
    initializer_range: float = 0.02

    def validate(self, source: str) -> "ElmoConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source, may_be_zero=("highways",))
        if not self.filters or min(map(min, self.filters)) < 1:
            raise UsageError(
                f"{source}: filters is {self.filters}; give at least one, as its width in "
                "characters and its number, both from 1 on."
            )
        lowest = max(3, max(self.filters)[0])
        if self.characters < lowest:
            raise UsageError(
                f"{source}: characters is {self.characters}; it must be at least {lowest}, for a "
                "character between the two marks of a word and for the widest filter."
            )
        return self

    def with_dropout(self, p: float) -> "ElmoConfig":
        """The same shape with `p` for dropout."""
        return msgspec.structs.replace(self, dropout=p)

    @property
    def hidden_size(self) -> int:
        """2P: both directions side by side."""
        return 2 * self.projection

    @property
    def num_hidden_layers(self) -> int:
        """LSTM layers."""
        return self.lstm_layers

    @property
    def max_position_embeddings(self) -> int:
        """An LSTM reads inputs of any length."""
        return 1 << 20


Shape = BertConfig | GptConfig | ElmoConfig


def _check_numbers(shape: Shape, source: str, *, may_be_zero: tuple[str, ...] = ()) -> None:
    for field in msgspec.structs.fields(shape):
        value = getattr(shape, field.name)
        lowest = 0 if field.name in may_be_zero else 1
        if isinstance(value, int) and value < lowest:
            raise UsageError(f"{source}: {field.name} is {value}; it must be at least {lowest}.")
        if field.name.endswith(("_prob", "_pdrop", "dropout")):
            if not 0 <= value < 1:
                raise UsageError(f"{source}: {field.name} is {value}; it must be in [0, 1).")
        elif isinstance(value, float) and value <= 0:
            raise UsageError(f"{source}: {field.name} is {value}; it must be above 0.")


def _check_heads(shape: Shape, source: str, *, heads: str, width: str) -> None:
    if getattr(shape, width) % getattr(shape, heads):
        raise UsageError(
            f"{source}: {heads} is {getattr(shape, heads)}, which does not divide {width} "
            f"{getattr(shape, width)}; choose a head count that does."
        )


# Layers and width: Base and Large from the paper, section 3; the small ones are Google's (Turc et
# al. 2019). Heads are 64 wide and the feed-forward is four times the width in all of them.
SIZES: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}


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
        "tie_word_embeddings feature_based bilstm_task"
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


# The same for `openai-gpt`. The last two are ours, of a fine-tuned GPT.
_INERT_GPT_KEYS = (
    _INERT_KEYS
    | dict.fromkeys(
        (
            "n_ctx pad_token_id predict_special_tokens summary_activation summary_first_dropout "
            "summary_proj_to_labels summary_type summary_use_proj task_specific_params "
            "extract_token_id both_orders"
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
    "architectures dtype elmo_task id2label label2id model_type problem_type".split(), ...
)


def elmo_config_from_keys(keys: dict[str, Any], source: str) -> ElmoConfig:
    """A `config.json`'s content as an `ElmoConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, or numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    kept = _computed(keys, source, model_type="elmo", inert=_INERT_ELMO_KEYS)
    return parse_json(msgspec.json.encode(kept), ElmoConfig, source).validate(source)
