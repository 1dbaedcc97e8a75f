"""The commands: a dataclass each, whose fields are its flags and whose `run` does the job.

`run` imports the job it needs, so that `--help` answers at once.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from tyro.conf import Positional, arg

from bertsmith.config import (
    Masking,
    PairTask,
    Phase,
    Precision,
    PretrainConfig,
    Recipe,
    pretrain_config,
)
from bertsmith.errors import UsageError
from bertsmith.runtime import core_count

_RECIPE = "(default: the recipe's)"
_Count = Annotated[int | None, arg(metavar="N", help_behavior_hint=_RECIPE)]
_Number = Annotated[float | None, arg(metavar="X", help_behavior_hint=_RECIPE)]
_OPTIONAL = "(optional)"
_ONE_OR_MORE = "(one or more)"


@dataclass(frozen=True)
class Result:
    """What a command has to say: `data` with `--json`, `text` without."""

    data: Any
    text: str


@dataclass(kw_only=True)
class Command:
    """What every command has."""

    json: bool = False
    """Print the result as one JSON object."""

    def __post_init__(self) -> None:
        """Refuses names that a result could not repeat when all the work is done."""
        for path in vars(self).values():
            if isinstance(path, Path) and str(path).encode(errors="replace").decode() != str(path):
                raise UsageError(f"{str(path)!r} is not UTF-8; give another name.")

    def run(self) -> Result:
        """Does the job."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Quickstart(Command):
    """Real text to a small trained BERT and a report, offline."""

    out: Path = Path("quickstart")
    """Folder for everything that is made; a rerun continues there."""
    minutes: Annotated[float, arg(metavar="M")] = 9.0
    """Time for the whole, set-up not counted."""
    language: Literal["en", "zh"] = "en"
    """Language of the text and of the vocabulary."""

    def run(self) -> Result:
        """Runs the quickstart's stages."""
        from bertsmith.quickstart import quickstart

        done = quickstart(self.out, minutes=self.minutes, language=self.language)
        return Result(done, "\n".join(done.summary()))


@dataclass(kw_only=True)
class TokenizerTrain(Command):
    """Trains a WordPiece vocabulary on your text."""

    inputs: Positional[
        Annotated[
            tuple[str, ...], arg(name="input", metavar="INPUT...", help_behavior_hint=_ONE_OR_MORE)
        ]
    ]
    """Files, folders, globs or URLs: .txt .jsonl .csv .tsv .parquet .arrow, also .gz and .zst."""
    out: Path
    """Folder to write."""
    vocab_size: Annotated[int, arg(metavar="N")]
    """Pieces in the vocabulary, the five special ones counted."""
    cased: bool = False
    """Keep capitals and accents."""
    min_frequency: Annotated[int, arg(metavar="N")] = 2
    """How often a pair must occur to be merged."""
    text_field: str = "text"
    """Field or column that holds the text."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=core_count)
    """Processes."""

    def run(self) -> Result:
        """Trains and saves."""
        from bertsmith.display import Bar
        from bertsmith.text.learn import train_tokenizer
        from bertsmith.text.vocabulary import shortfall

        with Bar(count="characters", merge="pieces") as bar:
            tokenizer = train_tokenizer(
                self.inputs,
                out=self.out,
                size=self.vocab_size,
                lower_case=not self.cased,
                min_frequency=self.min_frequency,
                text_field=self.text_field,
                workers=self.workers,
                progress=bar,
            )
        data = {
            "out": str(self.out),
            "vocab_size": len(tokenizer.vocab),
            "fingerprint": tokenizer.fingerprint,
        }
        text = [f"A vocabulary of {len(tokenizer.vocab):,} pieces is in {self.out}."]
        few = shortfall(list(tokenizer.vocab), size=self.vocab_size)
        if few is not None:
            text.append(few)
        following = ["prepare", *self.inputs, "--tokenizer", str(self.out), "--out", "corpus"]
        return Result(data, _with_next(text, following))


@dataclass(kw_only=True)
class TokenizerShow(Command):
    """Shows how a text is cut into pieces."""

    folder: Positional[Annotated[Path, arg(name="dir", metavar="DIR")]]
    """A tokenizer's or a model's folder."""
    text: Positional[Annotated[str, arg(metavar="TEXT")]]
    """The text."""

    def run(self) -> Result:
        """Encodes and shows."""
        from bertsmith.text.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(self.folder)
        found = tokenizer.encode(self.text, allow_special=True)
        pieces = tokenizer.tokens(found.ids)
        rows = list(zip(pieces, found.ids, found.offsets, strict=True))
        data = [
            {"piece": piece, "id": number, "start": start, "end": end}
            for piece, number, (start, end) in rows
        ]
        width = max(map(len, pieces), default=0)
        text = [
            f"{piece:<{width}}  {number:>6}  {self.text[start:end]}"
            for piece, number, (start, end) in rows
        ]
        text.append("1 piece" if len(pieces) == 1 else f"{len(pieces)} pieces")
        return Result({"text": self.text, "pieces": data}, "\n".join(text))


@dataclass(kw_only=True)
class Prepare(Command):
    """Turns your text into a corpus for pre-training."""

    inputs: Positional[
        Annotated[
            tuple[str, ...], arg(name="input", metavar="INPUT...", help_behavior_hint=_ONE_OR_MORE)
        ]
    ]
    """Files, folders, globs or URLs: .txt .jsonl .csv .tsv .parquet .arrow, also .gz and .zst."""
    tokenizer: Path
    """Folder of the tokenizer."""
    out: Path
    """Folder to write; after an interruption the same command continues there."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=core_count)
    """Processes; the result does not depend on it."""
    language: str = "auto"
    """Language for sentence splitting, e.g. en or zh."""
    text_field: str = "text"
    """Field or column that holds the text."""
    held_out: Annotated[float, arg(metavar="X")] = 0.005
    """Part of the documents kept out of training, to evaluate on."""
    segmenter: Literal["none", "jieba"] = "none"
    """Finds Chinese words, for `pretrain --masking word` (extra `chinese`)."""

    def run(self) -> Result:
        """Prepares, and describes what came out."""
        from bertsmith import info, info_words
        from bertsmith.corpus.build import prepare
        from bertsmith.display import Bar

        with Bar(tokenize="bytes", assemble="parts") as bar:
            prepare(
                self.inputs,
                tokenizer=self.tokenizer,
                out=self.out,
                workers=self.workers,
                language=self.language,
                text_field=self.text_field,
                held_out=self.held_out,
                segmenter=self.segmenter,
                progress=bar,
            )
        found = info.describe(str(self.out))
        run = ["pretrain", "--data", str(self.out), "--out", "model", "--size", "mini"]
        return Result(found, _with_next(info_words.lines(found), [*run, "--hours", "1"]))


@dataclass(kw_only=True)
class Pretrain(Command):
    """Pre-trains a BERT: masked words and next sentences (or another pair task)."""

    data: Path
    """Folder of the corpus, from `bertsmith prepare`."""
    out: Path
    """Folder for the model, its checkpoints and its metrics."""
    size: Annotated[str, arg(metavar="NAME|FILE")] = "mini"
    """tiny, mini, small, medium, base, large, or the path of a config.json."""
    recipe: Recipe = "modern"
    """`paper`: the paper's settings; `modern`: settings for short budgets."""
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=_OPTIONAL)] = None
    """Length of the run in steps."""
    hours: Annotated[float | None, arg(metavar="H", help_behavior_hint=_OPTIONAL)] = None
    """Length of the run on the clock, instead of --steps."""
    pair_task: Annotated[
        PairTask | None, arg(metavar="{nsp,sop,none}", help_behavior_hint=_RECIPE)
    ] = None
    """nsp (the paper's), sop (same document, order swapped) or none."""
    phases: Annotated[str | None, arg(metavar="L:S,...", help_behavior_hint=_RECIPE)] = None
    """Sequence lengths and their shares of the run, e.g. 128:0.9,512:0.1."""
    batch_size: _Count = None
    """Sequences per step, over all processes."""
    learning_rate: _Number = None
    """Highest learning rate."""
    warmup: _Number = None
    """Part of the run over which the learning rate rises."""
    weight_decay: _Number = None
    """AdamW's weight decay."""
    beta1: _Number = None
    """AdamW's first decay rate."""
    beta2: _Number = None
    """AdamW's second decay rate."""
    epsilon: _Number = None
    """AdamW's epsilon."""
    clip_norm: _Number = None
    """Largest norm of the gradient."""
    dropout: _Number = None
    """Dropout, everywhere the paper has it."""
    mask_share: _Number = None
    """Part of the tokens to predict (evaluation always uses 0.15)."""
    masking: Annotated[Masking | None, arg(metavar="{piece,word}", help_behavior_hint=_RECIPE)] = (
        None
    )
    """piece: single WordPieces; word: whole words."""
    short_share: _Number = None
    """Part of the sequences that get a random shorter length."""
    seed: _Count = None
    """Decides data order, pairs, masks and initial weights."""
    precision: Annotated[
        Precision | None, arg(metavar="{auto,fp32,bf16}", help_behavior_hint=_RECIPE)
    ] = None
    """auto uses bf16 where the hardware has it."""
    micro_tokens: _Count = None
    """Tokens computed at once; 0 chooses by device."""
    evaluate_every: _Count = None
    """Steps between evaluations; 0 evaluates at every twentieth of the run."""
    evaluate_sequences: _Count = None
    """Sequences per evaluation."""
    save_every: _Count = None
    """Steps between checkpoints; 0 saves every ten minutes."""
    keep: _Count = None
    """Checkpoints kept."""
    start: Annotated[Path | None, arg(name="from", metavar="DIR", help_behavior_hint=_OPTIONAL)] = (
        None
    )
    """Model folder whose weights the run starts from."""
    resume: bool = False
    """Continue an interrupted run from its newest checkpoint."""
    replay: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=_OPTIONAL)] = None
    """Run folder whose realised schedule (of --hours) is followed step by step."""
    held_out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=_OPTIONAL)] = None
    """Corpus to evaluate on instead of the held-out documents of --data."""
    show_batch: Annotated[
        tuple[int, ...] | None, arg(metavar="[N]", help_behavior_hint=_OPTIONAL)
    ] = None
    """Only print N training examples (4), decoded, with masks and pair label marked."""

    def run(self) -> Result:
        """Trains, or shows a batch."""
        from bertsmith import pretrain
        from bertsmith.display import clock
        from bertsmith.text.samples import example

        config = self._config()
        if self.show_batch is not None:
            count = self.show_batch[0] if self.show_batch else 4
            if count < 1:
                raise UsageError(f"--show-batch is {count}; it must be at least 1.")
            examples = pretrain.show_batch(config, count)
            return Result({"examples": examples}, examples)
        done = pretrain.run(
            config,
            self.out,
            resume=self.resume,
            from_folder=self.start,
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
            f"The model is in {done.out}; it loads in transformers as it is.",
        ]
        following = [["fill", str(done.out), example(self.out)], ["info", str(done.out)]]
        return Result(done, _with_next(text, *following))

    def _config(self) -> PretrainConfig:
        names = {setting.name for setting in msgspec.structs.fields(PretrainConfig)}
        flags = {name: value for name, value in vars(self).items() if name in names}
        phases = None if self.phases is None else parse_phases(self.phases)
        # A look at the examples needs no length of the run.
        if self.show_batch is not None and self.steps is None and self.hours is None:
            flags["steps"] = 1
        return pretrain_config(**flags | {"data": str(self.data), "phases": phases})


@dataclass(kw_only=True)
class Fill(Command):
    """Fills in the blanks of a text."""

    model: Positional[Annotated[Path, arg(metavar="MODEL")]]
    """Folder of a pre-trained model."""
    text: Positional[Annotated[str, arg(metavar="TEXT")]]
    """Text with one or more [MASK]."""
    top: Annotated[int, arg(metavar="N")] = 5
    """Tokens to print for each blank."""
    joint: bool = False
    """Fill several blanks one after the other, each seeing the choices before it."""

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.display import percent
        from bertsmith.predictor import INDEPENDENT, Predictor

        found = Predictor(self.model).fill(self.text, top=self.top, joint=self.joint)
        text = []
        for number, blank in enumerate(found.blanks, 1):
            if len(found.blanks) > 1:
                text.append(f"[MASK] {number}, on its own")
            text += [f"  {percent(guess.probability)}  {guess.token}" for guess in blank.candidates]
        if found.joint:
            text.append("Together, one after the other, each seeing the choices before it")
            text += [f"  {percent(filling.probability)}  {filling.text}" for filling in found.joint]
        elif len(found.blanks) > 1:
            text.append(INDEPENDENT)
        return Result(found, "\n".join(text))


@dataclass(kw_only=True)
class Info(Command):
    """Tells what a folder or file is, with its numbers."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """A tokenizer, corpus, model or run, or text files."""

    def run(self) -> Result:
        """Describes."""
        from bertsmith import info, info_words

        found = info.describe(self.path)
        return Result(found, "\n".join(info_words.lines(found)))


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


def _with_next(text: Sequence[str], *commands: Sequence[str]) -> str:
    shown = (f"  bertsmith {shlex.join(command)}" for command in commands)
    return "\n".join([*text, "", "Next:", *shown])
