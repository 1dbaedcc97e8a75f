"""`bertsmith pretrain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import arg

from bertsmith.cli.command import OPTIONAL, RECIPE, Command, Count, Number, Result, with_next
from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import Precision
from bertsmith.models.config import FamilyName
from bertsmith.pretraining.config import (
    InitialWeights,
    Masking,
    PairTask,
    PretrainConfig,
    Recipe,
    pretrain_config,
)
from bertsmith.training.schedule import Phase

_SIZE = f"(default: {PretrainConfig.size}; with --from the model's)"


@dataclass(kw_only=True)
class Pretrain(Command):
    """Pre-trains a BERT (masked words and next sentences), a GPT or an ELMo."""

    data: Path
    """Folder of the corpus, from `bertsmith prepare`."""
    out: Path
    """Folder for the model, its checkpoints and its metrics."""
    model: FamilyName = "bert"
    """bert; gpt (left to right); elmo (two directions of LSTMs)."""
    left_to_right: bool = False
    """A BERT that sees the left only (the paper's table 5)."""
    size: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint=_SIZE)] = None
    """tiny, mini, small, medium, base, large, or the path of a config.json."""
    recipe: Recipe = "modern"
    """`paper`: the paper's settings; `modern`: settings for short budgets."""
    initial_weights: Annotated[
        InitialWeights | None, arg(metavar="{paper,structured}", help_behavior_hint=RECIPE)
    ] = None
    """paper: drawn; structured: heads that see the neighbours, word vectors of the corpus."""
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=OPTIONAL)] = None
    """Length of the run in steps."""
    hours: Annotated[float | None, arg(metavar="H", help_behavior_hint=OPTIONAL)] = None
    """Length of the run on the clock, instead of --steps."""
    pair_task: Annotated[
        PairTask | None, arg(metavar="{nsp,sop,none}", help_behavior_hint=RECIPE)
    ] = None
    """BERT: nsp (the paper's), sop (same document, order swapped) or none."""
    phases: Annotated[str | None, arg(metavar="L:S,...", help_behavior_hint=RECIPE)] = None
    """Sequence lengths and their shares of the run, e.g. 128:0.9,512:0.1."""
    batch_size: Count = None
    """Sequences per step, over all processes."""
    learning_rate: Number = None
    """Highest learning rate."""
    warmup: Number = None
    """Part of the run over which the learning rate rises."""
    weight_decay: Number = None
    """AdamW's weight decay."""
    beta1: Number = None
    """AdamW's first decay rate."""
    beta2: Number = None
    """AdamW's second decay rate."""
    epsilon: Number = None
    """AdamW's epsilon."""
    clip_norm: Number = None
    """Largest norm of the gradient."""
    dropout: Number = None
    """Dropout, everywhere the paper has it."""
    mask_share: Number = None
    """BERT: part of the tokens to predict (evaluation always uses 0.15)."""
    masking: Annotated[Masking | None, arg(metavar="{piece,word}", help_behavior_hint=RECIPE)] = (
        None
    )
    """BERT: piece masks single WordPieces, word whole words."""
    mask_mix: Annotated[
        tuple[float, float, float] | None, arg(metavar="M R K", help_behavior_hint=RECIPE)
    ] = None
    """BERT: parts of the tokens to predict seen as [MASK], as a random token, as they are."""
    short_share: Number = None
    """Part of the sequences that get a random shorter length."""
    seed: Count = None
    """Decides data order, pairs, masks and initial weights."""
    precision: Annotated[
        Precision | None, arg(metavar="{auto,fp32,bf16}", help_behavior_hint=RECIPE)
    ] = None
    """auto uses bf16 where the hardware has it."""
    micro_tokens: Count = None
    """Tokens computed at once; 0 chooses by device."""
    evaluate_every: Count = None
    """Steps between evaluations; 0 evaluates at every twentieth of the run."""
    evaluate_sequences: Count = None
    """Sequences per evaluation."""
    save_every: Count = None
    """Steps between checkpoints; 0 saves every ten minutes."""
    keep: Count = None
    """Checkpoints kept."""
    start: Annotated[str | None, arg(name="from", metavar="MODEL", help_behavior_hint=OPTIONAL)] = (
        None
    )
    """Model to continue: a folder, `tiny-en`, `tiny-zh`, `minilm`, or a name of the Hugging Face
    hub. The recipe then has a smaller learning rate and 15% masks."""
    resume: bool = False
    """Continue an interrupted run from its newest checkpoint."""
    replay: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=OPTIONAL)] = None
    """Run folder whose realised schedule (of --hours) is followed step by step."""
    held_out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=OPTIONAL)] = None
    """Corpus to evaluate on instead of the held-out documents of --data."""
    show_batch: Annotated[
        tuple[int, ...] | None, arg(metavar="[N]", help_behavior_hint=OPTIONAL)
    ] = None
    """Only print N training examples (4), decoded, with masks and pair label marked."""

    def run(self) -> Result:
        """Trains, or shows a batch."""
        from bertsmith.core.terminal import clock
        from bertsmith.pretraining import run as pretrain
        from bertsmith.pretraining.setup import show_batch
        from bertsmith.quickstart.samples import example

        config = self._config()
        if self.show_batch is not None:
            count = self.show_batch[0] if self.show_batch else 4
            if count < 1:
                raise UsageError(f"--show-batch is {count}; it must be at least 1.")
            examples = show_batch(config, count)
            return Result({"examples": examples}, examples)
        done = pretrain.run(
            config,
            self.out,
            resume=self.resume,
            replay=self.replay,
            held_out=self.held_out,
        )
        text = [
            f"Trained for {done.step:,} steps on {done.tokens:,} tokens in {clock(done.seconds)}, "
            f"{done.tokens_per_second:,.0f} tokens a second.",
            *(
                f"  held-out {name.replace('_', ' ')}: {value:.3f} (by frequency "
                f"{done.baseline[name]:.3f})"
                for name, value in done.metrics.items()
            ),
            f"The model is in {done.out}"
            + ("; it loads in transformers as it is." if self.model != "elmo" else "."),
        ]
        text_with_blank = example(self.out)
        asked = {
            "bert": ["fill", str(done.out), text_with_blank],
            "gpt": ["generate", str(done.out), text_with_blank.partition("[MASK]")[0].strip()],
            "elmo": ["score", str(done.out), text_with_blank.partition("[MASK]")[0].strip()],
        }
        following = [asked[self.model], ["info", str(done.out)]]
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
        return pretrain_config(**flags | {"data": str(self.data), "phases": phases, "start": start})


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
