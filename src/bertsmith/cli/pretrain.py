"""`bertsmith pretrain`."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bertsmith.cli.command import Result, with_next
from bertsmith.cli.options import Option, flag
from bertsmith.cli.training import TrainingOptions
from bertsmith.core.errors import UsageError
from bertsmith.models.config import DEFAULT_FAMILY, FamilyName
from bertsmith.models.config_files import CONFIGS
from bertsmith.pretraining.config import (
    RECIPES,
    InitialWeights,
    PairTask,
    PretrainConfig,
    Recipe,
    pretrain_config,
)
from bertsmith.training.schedule import Phase

_OBJECTIVE = "Objective"
_CHECKPOINTS = "Evaluation and checkpoints"


@dataclass(kw_only=True)
class Pretrain(TrainingOptions):
    """Pre-train a BERT (masked words and next sentences), a GPT or an ELMo."""

    examples = (
        "pretrain --data my-corpus --out my-model --size mini --hours 1",
        "pretrain --data my-corpus --out adapted --from tiny-en --steps 2000",
        "pretrain --data my-corpus --out my-model --size mini --show-batch",
    )

    data: str = flag(
        "Corpus folder, from `bertsmith prepare`; or several by one tokenizer with their shares of "
        "the examples: wiki=0.7,books=0.3.",
        group="Data",
        metavar="DIR",
    )
    held_out: Path | None = flag(
        "Corpus to evaluate on.",
        group="Data",
        default=None,
        metavar="DIR",
        shown="the held-out documents of --data",
    )
    size: str | None = flag(
        "Model size: tiny, mini, small, medium, base, large, or the path of a config.json.",
        group="Model",
        default=None,
        metavar="SIZE",
        shown="mini; with --from, that model's",
    )
    model: FamilyName = flag(
        "bert; gpt: left to right; elmo: two directions of LSTMs.",
        group="Model",
        default=DEFAULT_FAMILY,
    )
    start: str | None = flag(
        "Model to continue: a folder, `tiny-en`, `tiny-zh`, `minilm`, or a Hugging Face hub name. "
        "Lowers the default learning rate, and masks 15%.",
        group="Model",
        default=None,
        metavar="MODEL",
        name="from",
    )
    initial_weights: InitialWeights | None = flag(
        "paper: normally distributed; structured: heads that attend to neighbours, and word "
        "vectors of the corpus.",
        group="Model",
        default=None,
    )
    left_to_right: bool = flag(
        "BERT that sees only the left context (paper, table 5).", group="Model", default=False
    )
    hours: float | None = flag(
        "Length of the run in hours.", group="Length", default=None, metavar="H"
    )
    steps: int | None = flag(
        "Length of the run in steps, instead of --hours.", group="Length", default=None
    )
    phases: str | None = flag(
        "Sequence lengths and their shares of the run, e.g. 128:0.9,512:0.1.",
        group="Length",
        default=None,
        metavar="L:S,...",
    )
    recipe: Recipe = flag(
        "paper: the paper's settings; modern: settings for short budgets.",
        group="Training",
        default="modern",
    )
    beta1: float | None = flag("AdamW's beta1.", group="Training", default=None)
    beta2: float | None = flag("AdamW's beta2.", group="Training", default=None)
    epsilon: float | None = flag("AdamW's epsilon.", group="Training", default=None)
    max_grad_norm: float | None = flag("Maximum gradient norm.", group="Training", default=None)
    pair_task: PairTask | None = flag(
        "BERT's sentence-pair objective. nsp: next sentence (the paper's); sop: sentence order.",
        group=_OBJECTIVE,
        default=None,
    )
    mlm_probability: float | None = flag(
        "Fraction of the tokens to predict (evaluation always uses 0.15).",
        group=_OBJECTIVE,
        default=None,
    )
    whole_word_masking: bool = flag(
        "Mask all pieces of a word together.", group=_OBJECTIVE, default=False
    )
    mask_mix: tuple[float, float, float] | None = flag(
        "Of the tokens to predict, fractions shown as [MASK], as a random token, and unchanged.",
        group=_OBJECTIVE,
        default=None,
        metavar="M R U",
    )
    short_seq_prob: float | None = flag(
        "Fraction of the sequences that get a random shorter length.",
        group=_OBJECTIVE,
        default=None,
    )
    evaluate_every: int | None = flag(
        "Steps between evaluations; 0: 20 evaluations in the run.",
        group=_CHECKPOINTS,
        default=None,
    )
    evaluate_sequences: int | None = flag(
        "Sequences per evaluation.", group=_CHECKPOINTS, default=None
    )
    save_every: int | None = flag(
        "Steps between checkpoints; 0: one every ten minutes.", group=_CHECKPOINTS, default=None
    )
    save_total_limit: int | None = flag(
        "Number of checkpoints to keep.", group=_CHECKPOINTS, default=None
    )
    replay: Path | None = flag(
        "Run folder whose realised schedule (of --hours) is repeated step by step.",
        group="Length",
        default=None,
        metavar="DIR",
    )
    out: Path = flag(
        "Folder for the model, its checkpoints and metrics.", group="Output", metavar="DIR"
    )
    show_batch: int | None = flag(
        "Only print N training examples, decoded, with masks and pair label marked.",
        group="Output",
        default=None,
        bare=4,
    )

    @classmethod
    def options(cls) -> list[Option]:
        """All options, with the defaults of both recipes."""
        found = [
            one if one.required or one.default else replace(one, default=_by_recipe(one))
            for one in super().options()
        ]
        return sorted(found, key=lambda one: one.name != "recipe")

    def run(self) -> Result:
        """Trains, or shows a batch."""
        from bertsmith.core.terminal import clock
        from bertsmith.pretraining import run as pretrain
        from bertsmith.pretraining.setup import show_batch
        from bertsmith.quickstart.samples import example

        config = self._config()
        if self.show_batch is not None:
            if self.show_batch < 1:
                raise UsageError(f"--show-batch is {self.show_batch}; it must be at least 1.")
            examples = show_batch(config, self.show_batch)
            return Result({"examples": examples}, examples)
        done = pretrain.run(
            config,
            self.out,
            resume=self.resume,
            replay=self.replay,
            held_out=self.held_out,
        )
        family = CONFIGS[self.model]
        known = family.library == "transformers"
        text = [
            f"Trained for {done.step:,} steps on {done.tokens:,} tokens in {clock(done.seconds)}, "
            f"{done.tokens_per_second:,.0f} tokens a second.",
            *(
                f"  held-out {name.replace('_', ' ')}: {value:.3f} (baseline "
                f"{done.baseline[name]:.3f})"
                for name, value in done.metrics.items()
            ),
            *not_learned(done.metrics, done.baseline),
            f"The model is in {done.out}{'; it loads in transformers as it is' if known else ''}.",
        ]
        text_with_blank = example(self.out)
        prompt = text_with_blank.partition("[MASK]")[0].strip()
        first = {
            "masked": ["fill", str(done.out), text_with_blank],
            "forward": ["generate", str(done.out), prompt],
            "both": ["score", str(done.out), prompt],
        }
        following = [first[family.objective], ["info", str(done.out)]]
        return Result(done, with_next(text, *following))

    def _config(self) -> PretrainConfig:
        from bertsmith.pretraining.continuing import start_from

        names = {setting.name for setting in msgspec.structs.fields(PretrainConfig)}
        flags = {name: value for name, value in vars(self).items() if name in names - {"start"}}
        phases = None if self.phases is None else parse_phases(self.phases)
        # A look at the examples needs no length of the run.
        if self.show_batch is not None and self.steps is None and self.hours is None:
            flags["steps"] = 1
        start = None if self.start is None else start_from(self.start)
        return pretrain_config(**flags | {"data": self.data, "phases": phases, "start": start})


def not_learned(metrics: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """A warning for each objective that ends no better than the baseline."""
    return [
        f"Warning: the held-out {name.replace('_', ' ')} is {value:.3f}, no better than the "
        f"baseline ({baseline[name]:.3f}), so the model has learned nothing useful yet. "
        "Train longer, on more text, or with another learning rate."
        for name, value in metrics.items()
        if name.endswith("_loss") and not value < baseline[name]
    ]


def _by_recipe(option: Option) -> str:
    """The default that each recipe has for a setting; empty for what is no setting."""
    fields = {field.name: field.default for field in msgspec.structs.fields(PretrainConfig)}
    if option.kind is bool or fields.get(option.name) in (None, msgspec.NODEFAULT):
        return ""
    paper, modern = (
        _written(RECIPES[recipe].get(option.name, fields[option.name]))
        for recipe in ("paper", "modern")
    )
    if option.name == "learning_rate":
        modern = "by width"
    return modern if modern == paper else f"{modern}; paper: {paper}"


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and isinstance(value[0], Phase):
        return ",".join(f"{phase.length}:{phase.share:g}" for phase in value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def parse_phases(text: str) -> tuple[Phase, ...]:
    """`128:0.9,512:0.1` as phases.

    Raises:
        UsageError: it is not written so.
    """
    phases = []
    for part in text.split(","):
        length, colon, share = part.partition(":")
        try:
            phases.append(Phase(float(share) if colon else 1.0, int(length)))
        except ValueError as error:
            raise UsageError(
                f"--phases {text}: '{part}' is not LENGTH:SHARE; write for example 128:0.9,512:0.1."
            ) from error
    return tuple(phases)
