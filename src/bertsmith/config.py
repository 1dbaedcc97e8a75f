"""Settings: the model's shape, the pre-training recipe, and the presets of both.

Every setting is a typed, frozen structure; an unknown key is an error that names the nearest known
one. A preset or a recipe is a row of a table, never a branch in the code that uses it.
"""

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from bertsmith.errors import UsageError, nearest
from bertsmith.files import parse_json

Activation = Literal["gelu", "gelu_new", "relu"]
PairTask = Literal["nsp", "sop", "none"]
Recipe = Literal["paper", "modern"]
Precision = Literal["auto", "fp32", "bf16"]
Masking = Literal["piece", "word"]
Kind = Literal["classify", "regress", "choose", "tag", "answer"]
"""What a fine-tuned model says of its input (paper, section 4 and figure 4)."""


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

    @property
    def head_width(self) -> int:
        """Width of one attention head (H)."""
        return self.hidden_size // self.num_attention_heads

    def validate(self, source: str) -> "BertConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            lowest = 0 if field.name == "pad_token_id" else 1
            if isinstance(value, int) and value < lowest:
                raise UsageError(
                    f"{source}: {field.name} is {value}; it must be at least {lowest}."
                )
            if field.name.endswith("_prob"):
                if not 0 <= value < 1:
                    raise UsageError(f"{source}: {field.name} is {value}; it must be in [0, 1).")
            elif isinstance(value, float) and value <= 0:
                raise UsageError(f"{source}: {field.name} is {value}; it must be above 0.")
        if self.hidden_size % self.num_attention_heads:
            raise UsageError(
                f"{source}: num_attention_heads is {self.num_attention_heads}, which does not "
                f"divide hidden_size {self.hidden_size}; choose a head count that does."
            )
        return self


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
    if size.endswith(".json"):
        path = Path(size)
        if not path.is_file():
            raise UsageError(f"--size {size}: no such file; give a config.json or a preset.")
        keys = parse_json(path.read_bytes(), dict[str, Any], size)
        return bert_config_from_keys({"vocab_size": vocab_size} | keys, size)
    raise UsageError(
        f"--size {size}: not a preset{nearest(size, SIZES)}; choose one of "
        f"{', '.join(SIZES)} or give the path of a config.json."
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
        "tie_word_embeddings feature_based"
    ).split(),
    ...,
) | {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
}


def bert_config_from_keys(keys: dict[str, Any], source: str) -> BertConfig:
    """A `config.json`'s content as a `BertConfig`; keys that compute nothing are left out.

    Raises:
        UsageError: another architecture, a setting we do not compute, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    if keys.get("model_type", "bert") != "bert":
        raise UsageError(
            f"{source}: model_type is '{keys['model_type']}', expected 'bert'; this folder holds "
            "another architecture."
        )
    kept = {}
    for key, value in keys.items():
        if key not in _INERT_KEYS:
            kept[key] = value
        elif _INERT_KEYS[key] is not ... and value != _INERT_KEYS[key]:
            raise UsageError(
                f"{source}: {key} is {value!r}; bertsmith computes only {_INERT_KEYS[key]!r}."
            )
    return parse_json(msgspec.json.encode(kept), BertConfig, source).validate(source)


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of pre-training at one sequence length (paper, appendix A.2)."""

    share: float
    """Part of the steps (or of the hours), in (0, 1]; the shares of a run add up to 1."""
    length: int
    """Longest input in tokens, `[CLS]` and `[SEP]`s counted."""


class PretrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a pre-training run computes, fully resolved.

    Written as `pretrain.json` beside the model; `--resume` compares it field by field.
    """

    data: str
    """Folder written by `bertsmith prepare`."""
    size: str = "mini"
    """A preset, or the path of a `config.json`."""
    recipe: Recipe = "modern"
    pair_task: PairTask = "nsp"
    """`nsp` (the paper's), `sop` (same document, order swapped) or `none`."""
    steps: int | None = None
    """Length of the run in optimizer steps; exclusive with `hours`."""
    hours: float | None = None
    """Length of the run on the clock; exclusive with `steps`."""
    batch_size: int = 256
    """Sequences per optimizer step, over all processes."""
    learning_rate: float = 1e-4
    warmup: float = 0.01
    """Part of the run over which the learning rate rises linearly from zero."""
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    clip_norm: float = 1.0
    """Largest L2 norm of the whole gradient."""
    dropout: float = 0.1
    """Both `hidden_dropout_prob` and `attention_probs_dropout_prob`."""
    mask_share: float = 0.15
    """Largest part of a sequence's tokens that is predicted; evaluation always uses 0.15."""
    masking: Masking = "piece"
    """`piece` masks WordPieces, `word` masks whole words."""
    short_share: float = 0.1
    """Part of the documents that an epoch cuts to a random shorter length (Google's script)."""
    phases: tuple[Phase, ...] = (Phase(0.9, 128), Phase(0.1, 512))
    seed: int = 0
    precision: Precision = "auto"
    micro_tokens: int = 0
    """Tokens computed at once (a memory and cache setting); 0 chooses by device."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0 evaluates at every twentieth of the run."""
    evaluate_sequences: int = 512
    """Held-out sequences an evaluation uses, as long as those of the last phase."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves every ten minutes of the run's clock."""
    keep: int = 2
    """Checkpoints kept."""


# What a recipe sets; a flag given by the user wins. `paper`: Devlin et al., appendix A.2 (10,000
# warm-up steps of 1,000,000). `modern`: short budgets, where a larger step, more masks (Wettig et
# al. 2022) and no dropout (Geiping and Goldstein 2022) reach a lower loss.
RECIPES: dict[Recipe, dict[str, Any]] = {
    "paper": {},
    "modern": {
        "learning_rate": 1e-3,
        "warmup": 0.06,
        "beta2": 0.98,
        "dropout": 0.0,
        "mask_share": 0.3,
        "phases": (Phase(1.0, 128),),
    },
}


def pretrain_config(recipe: Recipe, **flags: Any) -> PretrainConfig:
    """A recipe with the user's flags over it; a flag of None keeps the recipe's value.

    Raises:
        UsageError: a value is out of range, or both or neither of steps and hours are given.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    config = PretrainConfig(recipe=recipe, **(RECIPES[recipe] | given))
    _check_pretrain(config)
    return config


def _check_pretrain(config: PretrainConfig) -> None:
    def require(holds: bool, flag: str, value: object, expected: str) -> None:
        if not holds:
            raise UsageError(f"--{flag.replace('_', '-')} is {value}; it must be {expected}.")

    if (config.steps is None) == (config.hours is None):
        raise UsageError("Give exactly one of --steps and --hours: how long the run should be.")
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        require(not isinstance(value, float) or math.isfinite(value), field.name, value, "finite")
    for name in ("steps", "hours", "learning_rate", "clip_norm", "epsilon"):
        value = getattr(config, name)
        require(value is None or value > 0, name, value, "above 0")
    for name in ("batch_size", "evaluate_sequences", "keep"):
        value = getattr(config, name)
        require(value >= 1, name, value, "at least 1")
    for name in ("evaluate_every", "save_every", "micro_tokens", "seed"):
        value = getattr(config, name)
        require(value >= 0, name, value, "at least 0")
    for name in ("warmup", "dropout", "short_share", "beta1", "beta2"):
        value = getattr(config, name)
        require(0 <= value < 1, name, value, "at least 0 and below 1")
    require(0 < config.mask_share < 1, "mask_share", config.mask_share, "between 0 and 1")
    require(config.weight_decay >= 0, "weight_decay", config.weight_decay, "at least 0")
    shares = sum(phase.share for phase in config.phases)
    require(bool(config.phases) and abs(shares - 1) < 1e-9, "phases", shares, "shares adding to 1")
    for phase in config.phases:
        require(phase.share > 0, "phases", phase.share, "made of shares above 0")
        require(phase.length >= 8, "phases", phase.length, "made of lengths of at least 8 tokens")


def changed_fields(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    """`name: old -> new` for every field that differs."""
    return [
        f"{field.name}: {getattr(old, field.name)!r} -> {getattr(new, field.name)!r}"
        for field in msgspec.structs.fields(new)
        if getattr(old, field.name) != getattr(new, field.name)
    ]
