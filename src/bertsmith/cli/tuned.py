"""What a model is asked: `bertsmith evaluate`, `predict`, `embed` and `glue-submit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from bertsmith.cli.command import OPTIONAL, Command, Model, Result
from bertsmith.cli.finetune import parse_layers
from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import Precision

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Predictor
    from bertsmith.tasks.datasets.custom import Columns

_COLUMNS = (
    "text",
    "text_pair",
    "label",
    "choices",
    "words",
    "tags",
    "question",
    "context",
    "answer",
)
"""Flags that name a column."""

_AS_TAUGHT = "(default: as in fine-tuning)"
_Input = Positional[Annotated[str, arg(metavar="INPUT")]]
_Column = Annotated[str | None, arg(metavar="COL", help_behavior_hint=_AS_TAUGHT)]


@dataclass(kw_only=True)
class _Asking(Command):
    """Flags that name the columns of a user's file."""

    model: Model
    """Model folder, `tiny-en`, `tiny-zh`, `minilm`, or a name of the Hugging Face hub."""
    text: _Column = None
    """Column of the text."""
    text_pair: _Column = None
    """Column of the second text."""
    label: _Column = None
    """Column of the class, the number, or the right choice."""
    choices: Annotated[str | None, arg(metavar="COL,...", help_behavior_hint=_AS_TAUGHT)] = None
    """Columns of the choices, or the one column that holds lists of them."""
    words: _Column = None
    """Column of the words (lists)."""
    tags: _Column = None
    """Column of their tags (lists)."""
    question: _Column = None
    """Column of the question."""
    context: _Column = None
    """Column of the context."""
    answer: _Column = None
    """Column of the answer's text."""

    def columns(self, predictor: "Predictor", *, labelled: bool) -> "Columns":
        """The columns as the model was taught them, with the flags over that.

        Raises:
            UsageError: a flag names a column that would not be read.
        """
        from dataclasses import replace

        from bertsmith.tasks.datasets import reading
        from bertsmith.tasks.datasets.custom import Columns

        given = {name: getattr(self, name) for name in _COLUMNS if getattr(self, name) is not None}
        if self.choices is not None:
            given["choices"] = tuple(self.choices.split(","))
        columns = Columns()
        # A corpus scores pre-trained models, which were taught no columns.
        if predictor.is_tuned:
            taught = predictor.taught
            task = reading.official(taught.task)
            columns = taught.columns or columns
            if task is not None and task.pair:
                columns = Columns(text_pair="text_pair")
            own_names = task is not None and labelled
            reading.refuse_columns(taught.kind, given, official=own_names, labelled=labelled)
        return replace(columns, **given)


@dataclass(kw_only=True)
class Evaluate(_Asking):
    """Scores a fine-tuned model on labelled data, or a pre-trained one on text or minimal pairs."""

    data: Annotated[str | None, arg(metavar="PATH", help_behavior_hint=OPTIONAL)] = None
    """Folder of the task's official files, a labelled file, or a corpus."""
    minimal_pairs: Annotated[str | None, arg(metavar="PATH", help_behavior_hint=OPTIONAL)] = None
    """Instead of --data: pairs of a grammatical and an ungrammatical sentence, a .jsonl file or a
    folder of them, as BLiMP and ZhoBLiMP have."""
    sample: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """Of minimal pairs: the first N of each paradigm."""
    precision: Annotated[
        Precision | None, arg(metavar="{auto,fp32,bf16}", help_behavior_hint="(default: fp32)")
    ] = None
    """Of minimal pairs: bf16 halves the time where the hardware has it, and rounds; auto uses it
    there."""
    skip_misplaced: bool = False
    """Leave out answers that are not in their context."""

    def run(self) -> Result:
        """Scores."""
        from bertsmith.inference.evaluation import evaluate
        from bertsmith.inference.predictor import Predictor

        if self.data is None:
            return self._run_pairs()
        if self.minimal_pairs is not None:
            raise UsageError(
                "--data and --minimal-pairs exclude each other. Leave one of them out."
            )
        self._refuse(["sample", "precision"], fits="--minimal-pairs")
        predictor = Predictor(self.model)
        found = evaluate(
            predictor,
            self.data,
            columns=self.columns(predictor, labelled=True),
            skip_misplaced=self.skip_misplaced,
        )
        return Result(found, "\n".join(found.lines()))

    def _run_pairs(self) -> Result:
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.minimal_pairs import minimal_pairs
        from bertsmith.inference.predictor import Predictor

        if self.minimal_pairs is None:
            raise UsageError(
                "There is nothing to score on. Give --data (labelled data or a corpus) or "
                "--minimal-pairs (BLiMP's files)."
            )
        self._refuse([*_COLUMNS, "skip_misplaced"], fits="--data")
        predictor = Predictor(self.model)
        with Bar(score="tokens") as bar:
            found = minimal_pairs(
                predictor,
                self.minimal_pairs,
                sample=self.sample,
                precision=self.precision or "fp32",
                progress=lambda done, total: bar("score", done, total),
            )
        return Result(found, "\n".join(found.lines()))

    def _refuse(self, names: Sequence[str], *, fits: str) -> None:
        """Refuses flags that would do nothing."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value is not False:
                raise UsageError(f"--{name.replace('_', '-')} goes with {fits} only. Leave it out.")


@dataclass(kw_only=True)
class Predict(_Asking):
    """Answers every row of a file: the same columns, then the answer's."""

    input: _Input
    """.txt (a text a line) .csv .tsv .jsonl .parquet, CoNLL columns, SQuAD's .json, or an official
    file of the model's task."""
    out: Path
    """File to write, not there yet: .jsonl .csv .tsv .parquet."""

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import predict_file
        from bertsmith.inference.predictor import Predictor

        predictor = Predictor(self.model)
        with Bar(predict="rows") as bar:
            done = predict_file(
                predictor,
                self.input,
                self.out,
                columns=self.columns(predictor, labelled=False),
                progress=lambda count: bar("predict", count, None),
            )
        text = [f"{done.counted} with the model's answers: {done.out}"]
        return Result(done, "\n".join([*text, *filter(None, [done.told])]))


@dataclass(kw_only=True)
class Embed(Command):
    """Turns every row of a file into a vector."""

    model: Model
    """Model folder, `tiny-en`, `tiny-zh`, `minilm`, or a name of the Hugging Face hub."""
    input: _Input
    """.txt (a text a line) .csv .tsv .jsonl .parquet."""
    out: Path
    """File to write, not there yet: .npy (the vectors), or .parquet (the same columns, then
    `embedding`)."""
    text: Annotated[str, arg(metavar="COL")] = "text"
    """Column of the text."""
    pooling: Literal["mean", "cls"] = "mean"
    """mean: over all tokens, for similarity and search; cls: the first token, only where a model
    was trained to put the text there."""
    layers: Annotated[str, arg(metavar="L,...")] = "-1"
    """Layers to average: 0 the embeddings, 1 the first layer, -1 the last."""

    def run(self) -> Result:
        """Embeds."""
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import embed_file
        from bertsmith.inference.predictor import Predictor

        predictor = Predictor(self.model)
        with Bar(embed="rows") as bar:
            done = embed_file(
                predictor,
                self.input,
                self.out,
                text=self.text,
                pooling=self.pooling,
                layers=parse_layers(self.layers, flag="--layers"),
                progress=lambda count: bar("embed", count, None),
            )
        return Result(done, f"{done.counted} as vectors: {done.out}")


@dataclass(kw_only=True)
class GlueSubmit(Command):
    """Answers GLUE's test parts and writes the zip that its server takes."""

    runs: Positional[
        Annotated[
            tuple[Path, ...], arg(name="run", metavar="RUN...", help_behavior_hint="(one or more)")
        ]
    ]
    """Folders of `bertsmith finetune`, one for each task."""
    out: Path = Path("submission.zip")
    """The zip."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint=OPTIONAL)] = None
    """Folder of the official files; without it each run's own."""
    partial: bool = False
    """Write the zip although files of some tasks are missing."""

    def run(self) -> Result:
        """Predicts and packs."""
        import sys

        from bertsmith.finetuning.glue_submission import glue_submit

        done = glue_submit(
            self.runs,
            self.out,
            data=self.data,
            partial=self.partial,
            show=lambda line: print(line, file=sys.stderr, flush=True),
        )
        text = [f"{name}: {count:,} rows" for name, count in done.rows.items()]
        if done.missing:
            text.append(f"Not in it: {', '.join(done.missing)}; the server wants every file.")
        return Result(done, "\n".join([*text, f"The submission is {done.out}."]))
