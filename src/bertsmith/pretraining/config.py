"""Settings of a pre-training run, and the recipes they come from.

Every setting is a typed, frozen structure; an unknown key is an error that names the nearest known
one. A recipe is a row of a table, never a branch in the code that uses it.
"""

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from bertsmith.core.errors import UsageError, option
from bertsmith.core.runtime import Precision
from bertsmith.core.storage import parse_json, read_json
from bertsmith.models.config import DEFAULT_FAMILY, FamilyName, Objective
from bertsmith.models.config_files import CONFIGS
from bertsmith.training.config import LoopConfig, OptimizerConfig
from bertsmith.training.schedule import Phase

PairTask = Literal["nsp", "sop", "none"]
Recipe = Literal["paper", "modern"]
InitialWeights = Literal["paper", "structured"]
"""Random (normal distribution), or structured as in `pretraining.initial_weights`."""


class PretrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings that decide what a pre-training run computes.

    Written as `pretrain.json` beside the model; a resume compares it field by field.
    """

    data: str
    """Folder or URL written by `bertsmith prepare`, or several with weights (`corpus.mixture`)."""
    model: FamilyName = DEFAULT_FAMILY
    left_to_right: bool = False
    """A BERT that attends and predicts from left to right (paper, section 5.1: "LTR & No NSP")."""
    size: str = "mini"
    """A preset, or the path of a `config.json`; with `start`, that of the model to start from."""
    start: str | None = None
    """Name or folder of the model to start from; None: train from scratch."""
    recipe: Recipe = "modern"
    initial_weights: InitialWeights = "paper"
    pair_task: PairTask = "nsp"
    """`nsp` (the paper's), `sop` (same document, order swapped) or `none`."""
    steps: int | None = None
    """Length of the run in optimizer steps; give this or `hours`."""
    hours: float | None = None
    """Length of the run in hours; give this or `steps`."""
    batch_size: int = 256
    """Sequences per optimizer step, over all processes."""
    learning_rate: float = 1e-4
    warmup_ratio: float = 0.01
    """Share of the run over which the learning rate rises linearly from zero."""
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    max_grad_norm: float = 1.0
    """Maximum L2 norm of the gradient."""
    dropout: float = 0.1
    """Both `hidden_dropout_prob` and `attention_probs_dropout_prob`."""
    mlm_probability: float = 0.15
    """Maximum share of a sequence's tokens to predict; evaluation always uses 0.15."""
    whole_word_masking: bool = False
    """Mask all pieces of a word together."""
    mask_mix: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the predicted tokens that are replaced by `[MASK]`, replaced by a random token, and
    kept (paper, appendix C.2); evaluation always uses the default."""
    short_seq_prob: float = 0.1
    """Share of the documents cut into examples of a random shorter length (Google's script)."""
    phases: tuple[Phase, ...] = (Phase(0.9, 128), Phase(0.1, 512))
    seed: int = 0
    precision: Precision = "auto"
    micro_tokens: int = 0
    """Maximum tokens per micro-batch; 0 chooses by device. Affects memory and speed only."""
    shard: bool = False
    """Shard weights and optimizer state over the processes."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0 evaluates twenty times in the run."""
    evaluate_sequences: int = 512
    """Held-out sequences per evaluation, of the length of the last phase."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves every ten minutes."""
    save_total_limit: int = 2
    """Number of newest checkpoints to keep."""

    @property
    def objective(self) -> Objective:
        """The objective of the model's word predictions."""
        return "forward" if self.left_to_right else CONFIGS[self.model].objective

    @property
    def start_folder(self) -> Path | None:
        """Folder of the model to start from."""
        return None if self.start is None else Path(self.size).parent

    @property
    def optimizer(self) -> OptimizerConfig:
        """The settings of AdamW."""
        return OptimizerConfig(
            weight_decay=self.weight_decay,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
        )

    @property
    def loop(self) -> LoopConfig:
        """The settings of the training loop."""
        return LoopConfig(
            seed=self.seed,
            max_grad_norm=self.max_grad_norm,
            evaluate_every=self.evaluate_every,
            save_every=self.save_every,
        )


SETTINGS = "pretrain.json"
"""File with the settings of a run, in its folder and thus beside the finished model."""

_OLD_NAMES = {
    "clip_norm": "max_grad_norm",
    "keep": "save_total_limit",
    "mask_share": "mlm_probability",
    "short_share": "short_seq_prob",
    "warmup": "warmup_ratio",
}


def read_settings(folder: Path) -> PretrainConfig:
    """The settings of the run in a folder, which an older version may have written.

    Raises:
        FolderError: `pretrain.json` is missing or damaged.
    """
    path = folder / SETTINGS
    keys = read_json(path, dict[str, Any])
    keys = {_OLD_NAMES.get(name, name): value for name, value in keys.items()}
    if "masking" in keys:
        keys["whole_word_masking"] = keys.pop("masking") == "word"
    return parse_json(msgspec.json.encode(keys), PretrainConfig, str(path))


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a model to start from on which settings depend."""

    name: str
    """Name or folder, as the user gave it."""
    config: Path
    """Its `config.json`."""
    width: int
    """Hidden size D."""
    pair_head: bool
    """Whether it has a next-sentence head."""
    seed: int = 0
    """A seed that its own pre-training did not use."""


# The settings of each recipe; the user's own take precedence. `paper`: Devlin et al., appendix A.2
# (10,000 warm-up steps of 1,000,000). `modern`: for short budgets, where a higher learning rate,
# more masks (Wettig et al. 2022) and no dropout (Geiping and Goldstein 2022) reach a lower loss.
RECIPES: dict[Recipe, dict[str, Any]] = {
    "paper": {},
    "modern": {
        "initial_weights": "structured",
        "batch_size": 32,
        "warmup_ratio": 0.06,
        "beta2": 0.98,
        "dropout": 0.0,
        "mlm_probability": 0.3,
        "phases": (Phase(1.0, 128),),
    },
}

_RATE_TIMES_WIDTH = 0.256
"""Learning rate of the recipe `modern` times the width: 2e-3 for `tiny`, 1e-3 for `mini`. Runs of
about a million tokens do better at twice that, longer ones do not (docs/log.md)."""
_MAX_RATE_OF_RANDOM_WEIGHTS = 1e-3
"""Above this rate, the paper's initial weights stay at the unigram loss."""

BASE_WIDTH = 768
"""Width of the paper's base model; narrower models learn best at higher rates."""


def _continued(start: Start) -> dict[str, Any]:
    """Changes to a recipe for starting from a trained model.

    The learning rate of random weights is too high: at 1e-3 a trained BERT got worse, at 1e-4
    better (docs/log.md). Models as wide as base use 5e-5: Google's README advises 2e-5 for further
    steps, Gururangan et al. (2020) adapt RoBERTa-base at 1e-4. Warm-up over 6% of the steps is
    theirs; 15% masks are what published models were trained on. A model without a next-sentence
    head gets none. With the seed of its own pre-training, the same corpus would give the same
    examples and masks again.
    """
    changes: dict[str, Any] = {
        "learning_rate": 5e-5 if start.width >= BASE_WIDTH else 1e-4,
        "warmup_ratio": 0.06,
        "mlm_probability": 0.15,
        "seed": start.seed,
        # For heads that the model lacks.
        "initial_weights": "paper",
    }
    if not start.pair_head:
        changes["pair_task"] = "none"
    return changes


def _rate_from_scratch(config: PretrainConfig) -> float:
    fixed = CONFIGS[config.model].scratch_learning_rate
    if fixed is not None:
        return fixed
    # A preset's width does not depend on the vocabulary.
    rate = _RATE_TIMES_WIDTH / CONFIGS[config.model].named(config.size, vocab_size=1).hidden_size
    if config.initial_weights == "structured":
        return rate
    return min(rate, _MAX_RATE_OF_RANDOM_WEIGHTS)


def pretrain_config(recipe: Recipe, *, start: Start | None = None, **flags: Any) -> PretrainConfig:
    """A recipe with the user's settings; None keeps the recipe's value.

    Args:
        recipe: a row of `RECIPES`.
        start: the model to start from, by `start_from`; None trains from scratch.
        flags: values of `PretrainConfig`'s fields.

    Raises:
        UsageError: a value is out of range, both or neither of steps and hours are given, or a size
            is given for a model that has its own.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    values = RECIPES[recipe] | given
    if start is not None:
        for name in ("size", "initial_weights"):
            if name in given:
                raise UsageError(
                    f"{option(name, given[name])} is for training from scratch, but "
                    f"{option('start', start.name)} has its own size and weights; give only one "
                    "of them."
                )
        values = RECIPES[recipe] | _continued(start) | given
        values |= {"start": start.name, "size": str(start.config)}
    config = PretrainConfig(recipe=recipe, **values)
    if recipe == "modern" and "learning_rate" not in values:
        config = msgspec.structs.replace(config, learning_rate=_rate_from_scratch(config))
    if config.objective != "masked":
        _check_one_way(config, given)
        config = msgspec.structs.replace(config, pair_task="none")
    _check_pretrain(config)
    return config


def _check_one_way(config: PretrainConfig, given: dict[str, Any]) -> None:
    """Refuses settings of masked words for a model that predicts from one side."""
    if config.left_to_right and CONFIGS[config.model].objective != "masked":
        raise UsageError(
            f"{option('left_to_right')} is for BERT only; remove it, because "
            f"{option('model', config.model)} has its own direction."
        )
    masks = ("mlm_probability", "whole_word_masking", "mask_mix")
    asked = {name for name in masks if given.get(name, False) is not False}
    if given.get("pair_task", "none") != "none":
        asked.add("pair_task")
    if asked:
        name = min(asked)
        what = option("left_to_right") if config.left_to_right else option("model", config.model)
        raise UsageError(
            f"{option(name)} is for masked words and sentence pairs; remove it, because {what} "
            "predicts every word from one side."
        )


# Upper limits that catch typing errors; the paper trains for 10^6 steps of 256 sequences.
ENDLESS_STEPS, _ENDLESS_HOURS, _ENDLESS_BATCH = 10**9, 10**5, 2**17
GREATEST_RATE = 0.1
"""Maximum learning rate, fifty times that of the recipe `modern`."""


def _check_pretrain(config: PretrainConfig) -> None:
    def require(holds: bool, name: str, value: object, expected: str) -> None:
        if not holds:
            raise UsageError(f"{option(name)} is {value}; it must be {expected}.")

    if (config.steps is None) == (config.hours is None):
        raise UsageError(
            f"Give the length of the run, as either {option('steps')} or {option('hours')}."
        )
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        require(not isinstance(value, float) or math.isfinite(value), field.name, value, "finite")
    for name in ("steps", "hours", "learning_rate", "max_grad_norm", "epsilon"):
        value = getattr(config, name)
        require(value is None or value > 0, name, value, "above 0")
    for name in ("batch_size", "evaluate_sequences", "save_total_limit"):
        value = getattr(config, name)
        require(value >= 1, name, value, "at least 1")
    for name, most in (
        ("learning_rate", GREATEST_RATE),
        ("steps", ENDLESS_STEPS),
        ("hours", _ENDLESS_HOURS),
        ("batch_size", _ENDLESS_BATCH),
        ("evaluate_sequences", _ENDLESS_BATCH),
    ):
        value = getattr(config, name)
        require(value is None or value <= most, name, value, f"at most {most:,}")
    for name in ("evaluate_every", "save_every", "micro_tokens", "seed"):
        value = getattr(config, name)
        require(value >= 0, name, value, "at least 0")
    for name in ("warmup_ratio", "dropout", "short_seq_prob", "beta1", "beta2"):
        value = getattr(config, name)
        require(0 <= value < 1, name, value, "at least 0 and below 1")
    require(
        0 < config.mlm_probability < 1, "mlm_probability", config.mlm_probability, "between 0 and 1"
    )
    mix = config.mask_mix
    require(min(mix) >= 0 and abs(sum(mix) - 1) < 1e-9, "mask_mix", mix, "three shares adding to 1")
    require(config.weight_decay >= 0, "weight_decay", config.weight_decay, "at least 0")
    shares = sum(phase.share for phase in config.phases)
    if abs(shares - 1) > 1e-9:
        raise UsageError(f"{option('phases')}: the shares add to {shares:g}; they must add to 1.")
    for phase in config.phases:
        require(phase.share > 0, "phases", phase.share, "made of shares above 0")
        require(phase.length >= 8, "phases", phase.length, "made of lengths of at least 8 tokens")
