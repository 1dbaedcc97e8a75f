"""`bertsmith convert`: a checkpoint of another program to a model folder, or a folder to theirs."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bertsmith.cli.command import Command, Result, with_next
from bertsmith.cli.options import flag, word
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.terminal import amount

if TYPE_CHECKING:
    from bertsmith.checkpoints.convert import Conversion

_SHOWN = 5
"""Names of a list that the report repeats."""
_PARAMETER = re.compile(r"`(to|dtype|tokenizer|allow_pickle)`")


@dataclass(kw_only=True)
class Convert(Command):
    """Convert a checkpoint of another program to a model folder, or a model folder to theirs."""

    examples = (
        "convert uncased_L-12_H-768_A-12 my-bert",
        "convert uncased_L-12_H-768_A-12 my-bert --dry-run",
        "convert my-bert my-npz --to tensorflow-npz",
    )

    source: str = word(
        "Google's BERT (bert_model.ckpt or .npz), a folder of `transformers` or "
        "sentence-transformers, a published ELMo or OpenAI GPT, or a model's name.",
        metavar="SOURCE",
    )
    dest: Path = word("New folder.", metavar="DEST")
    tokenizer: str | None = flag(
        "Folder of a tokenizer, for a source without one.",
        group="Data",
        default=None,
        metavar="DIR",
    )
    allow_pickle: bool = flag(
        "Read pytorch_model.bin, with torch's weights-only loader.", group="Data", default=False
    )
    to: Literal["transformers", "tensorflow-npz", "elmo"] = flag(
        "Layout: a model folder, Google's variables as .npz, or a published ELMo's files.",
        group="Output",
        default="transformers",
    )
    dtype: Literal["fp32", "fp16", "bf16"] = flag(
        "Precision of the stored weights.", group="Output", default="fp32"
    )
    dry_run: bool = flag("Show what maps to what.", group="Output", default=False)

    def run(self) -> Result:
        """Converts."""
        from bertsmith.checkpoints.convert import convert

        try:
            done = convert(
                self.source,
                self.dest,
                to=self.to,
                dtype=self.dtype,
                tokenizer=self.tokenizer,
                allow_pickle=self.allow_pickle,
                dry_run=self.dry_run,
            )
        except (FolderError, UsageError) as error:
            raise type(error)(_PARAMETER.sub(_flag, str(error))) from error
        lines = _table(done) if self.dry_run else _report(done)
        following = self._following(done)
        return Result(done, with_next(lines, *following) if following else "\n".join(lines))

    def _following(self, done: "Conversion") -> list[list[str]]:
        """The command that goes on from there."""
        if self.dry_run:
            options = ["--to", self.to] if self.to != "transformers" else []
            return [["convert", self.source, str(self.dest), *options]]
        out = str(self.dest)
        if self.to != "transformers":
            return [["convert", out, f"{out}-again"]] if self.to == "tensorflow-npz" else []
        if done.family == "gpt":
            return [["generate", out, "Once upon a time"]]
        if done.architecture in ("BertForPreTraining", "BertForMaskedLM"):
            return [["fill", out, "This is a [MASK]."]]
        if done.architecture.startswith("BertFor") and "NextSentence" not in done.architecture:
            return [["predict", out, "new-rows.csv", "--out", "answers.csv"]]
        return [["embed", out, "texts.txt", "--out", "vectors.npy"]]


def _flag(name: re.Match[str]) -> str:
    return f"--{name[1].replace('_', '-')}"


def _table(done: "Conversion") -> list[str]:
    """What maps to what, a line a parameter; then what is left out."""
    rows = [(one.source, str(list(one.shape)), one.dest) for one in done.mapped]
    rows += [(name, "left out", why) for name, why in sorted(done.dropped.items())]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    lines = [
        f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {dest}".rstrip() for name, shape, dest in rows
    ]
    return [f"{done.source} is {done.layout}.", "", *lines, "", _counts(done), *done.notes]


def _report(done: "Conversion") -> list[str]:
    lines = [f"{done.source} is {done.layout}.", _counts(done)]
    for why, count in Counter(done.dropped.values()).most_common():
        names = sorted(name for name, reason in done.dropped.items() if reason == why)
        more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
        lines.append(f"  {', '.join(names[:_SHOWN])}{more}: {why}")
    lines += done.notes
    if done.difference is not None:
        lines.append(
            f"In {done.dtype} an output changes by at most {done.difference:.2g} of the outputs' "
            "standard deviation (random inputs)."
        )
    what = f"{done.architecture}, " if done.architecture else ""
    size = f"{amount(done.parameters)} parameters, " if done.parameters else ""
    lines.append(f"{done.dest}: {what}{size}{amount(done.bytes)} bytes ({', '.join(done.files)}).")
    return lines


def _counts(done: "Conversion") -> str:
    return f"{len(done.mapped):,} tensors are kept, {len(done.dropped):,} left out."
