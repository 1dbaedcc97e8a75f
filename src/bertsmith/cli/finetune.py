"""`bertsmith finetune`: a task of the paper, or labelled files of one's own."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from tyro.conf import Positional, arg

from bertsmith.cli.command import OPTIONAL, Command, Result, with_next
from bertsmith.core.errors import Stopped, UsageError
from bertsmith.core.runtime import Precision, world_from_environment
from bertsmith.finetuning.config import FinetuneConfig, Weights
from bertsmith.models.head_config import Combine
from bertsmith.pretraining.config import InitialWeights
from bertsmith.tasks.task import Long

if TYPE_CHECKING:
    from bertsmith.finetuning.job import Job
    from bertsmith.finetuning.origin import Untrained

_BY_TASK = "(default: by task, model and data)"
_BY_MODEL = "(default: yes for an ELMo, no for others)"
_OR_SIZE = "(this or --size)"
_OR_MODEL = "(this or --model)"
_BY_SIZE = "(default: 8000)"
_STRUCTURED = "(default: structured)"
_Count = Annotated[int | None, arg(metavar="N", help_behavior_hint=_BY_TASK)]
_Number = Annotated[float | None, arg(metavar="X", help_behavior_hint=_BY_TASK)]
_File = Annotated[str | None, arg(metavar="FILE", help_behavior_hint=OPTIONAL)]
_Column = Annotated[str, arg(metavar="COL")]
_NO_SETTINGS = {"task", "model", "initial_weights", "frozen", "bilstm"}
"""Fields of `FinetuneConfig` that a flag of that name does not decide alone."""


@dataclass(kw_only=True)
class Finetune(Command):
    """Fine-tunes a model on a task of the paper or on labelled files of your own."""

    task: Positional[Annotated[str, arg(metavar="TASK")]]
    """mnli qqp mrpc qnli rte wnli sts-b sst-2 cola swag squad squad2 conll2003 with --data; or
    classify, regress, choose, tag, answer with --train."""
    model: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint=_OR_SIZE)] = None
    """Model folder, `tiny-en`, `tiny-zh`, `minilm` (extra `minilm`), or a name of the Hugging Face
    hub (extra `hub`)."""
    out: Path
    """Folder for the best model, the results and the report."""
    size: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint=_OR_MODEL)] = None
    """A BERT without pre-training: tiny, mini, small, medium, base, large, or a config.json."""
    tokenizer: Annotated[str | None, arg(metavar="TOKENIZER", help_behavior_hint=OPTIONAL)] = None
    """For --size: folder of a tokenizer, or a model; without it the training texts make one."""
    vocab_size: Annotated[int | None, arg(metavar="N", help_behavior_hint=_BY_SIZE)] = None
    """For --size: most pieces of the vocabulary that is trained."""
    initial_weights: Annotated[
        InitialWeights | None,
        arg(metavar="{paper,structured}", help_behavior_hint=_STRUCTURED),
    ] = None
    """For --size, paper: drawn; structured: heads that see the neighbours, word vectors."""
    data: Annotated[str | None, arg(metavar="DIR", help_behavior_hint=OPTIONAL)] = None
    """Folder of the task's official files."""
    train: _File = None
    """Your training file: .csv .tsv .jsonl .parquet, CoNLL columns, or SQuAD's .json."""
    dev: _File = None
    """Your file to evaluate on; without it a tenth of --train is put aside."""
    text: _Column = "text"
    """Column of the text."""
    text_pair: Annotated[str | None, arg(metavar="COL", help_behavior_hint=OPTIONAL)] = None
    """Column of the second text."""
    label: _Column = "label"
    """Column of the class, the number, or the right choice."""
    choices: Annotated[str | None, arg(metavar="COL,...", help_behavior_hint=OPTIONAL)] = None
    """Columns of the choices, or the one column that holds lists of them."""
    words: _Column = "words"
    """Column of the words, for `tag`: lists, or in a file of columns a number from 1 or a name."""
    tags: _Column = "tags"
    """Column of their tags, for `tag`, likewise."""
    question: _Column = "question"
    """Column of the question, for `answer`."""
    context: _Column = "context"
    """Column of the context, for `answer`."""
    answer: _Column = "answer"
    """Column of the answer's text, for `answer`; empty: there is none."""
    skip_misplaced: bool = False
    """Leave out answers that are not in their context."""
    join_labels: bool = False
    """Make one label of those that differ only in their spelling (case, spaces, `1` and `1.0`)."""
    strict_tags: bool = False
    """Refuse tags of entities that their scheme does not allow where they are."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """Runs that differ in their seed only; tells mean and deviation."""
    sweep: bool = False
    """Try the paper's grid of rates, batch sizes and epochs (a wider one for small models)."""
    batch_size: _Count = None
    """Examples per step."""
    learning_rate: _Number = None
    """Highest learning rate."""
    epochs: _Count = None
    """Passes over the training part."""
    longest: _Count = None
    """Most tokens of an input."""
    stride: _Count = None
    """Pieces from the start of a window to the start of the next."""
    long: Annotated[Long | None, arg(metavar="{cut,windows}", help_behavior_hint=_BY_TASK)] = None
    """What is done with texts that are too long to classify: cut their end, or average windows."""
    warmup: _Number = None
    """Part of the run over which the learning rate rises."""
    weight_decay: _Number = None
    """AdamW's weight decay."""
    dropout: _Number = None
    """Dropout, everywhere the paper has it."""
    weights: Annotated[
        Weights | None, arg(metavar="{none,balanced}", help_behavior_hint=_BY_TASK)
    ] = None
    """balanced: rare classes count as much as frequent ones."""
    patience: _Count = None
    """Stop after so many epochs without a better dev score; 0: never."""
    features: Annotated[str | None, arg(metavar="L,...", help_behavior_hint=OPTIONAL)] = None
    """For `tag`: keep the encoder as it is and train a BiLSTM on these layers, e.g. -4,-3,-2,-1."""
    combine: Annotated[Combine | None, arg(metavar="{concat,sum}", help_behavior_hint=_BY_TASK)] = (
        None
    )
    """How the layers of --features become one."""
    frozen: Annotated[
        Literal["yes", "no"] | None, arg(metavar="{yes,no}", help_behavior_hint=_BY_MODEL)
    ] = None
    """For an ELMo: whether it stays as it is under the task's own network, or is trained too."""
    bilstm: bool = False
    """For a BERT: put a BiLSTM before the output layer (paper, section 5.1, "+ BiLSTM")."""
    seed: _Count = None
    """Decides initial weights, order and dropout (of the first run)."""
    precision: Annotated[
        Precision | None, arg(metavar="{auto,fp32,bf16}", help_behavior_hint=_BY_TASK)
    ] = None
    """auto uses bf16 where the hardware has it."""
    micro_tokens: _Count = None
    """Tokens computed at once; 0 chooses by device."""
    resume: bool = False
    """Continue an interrupted fine-tuning, or add more --seeds to one that is done."""

    def run(self) -> Result:
        """Fine-tunes."""
        from bertsmith.finetuning.job import JOB, finetune
        from bertsmith.tasks.datasets.registry import GLUE

        is_new = not self.out.is_dir() or not any(self.out.iterdir())
        if self.resume and is_new and world_from_environment().first:
            told = f"{self.out} holds no fine-tuning yet, so that this one begins anew."
            print(told, file=sys.stderr, flush=True)
        try:
            done = finetune(self._job(), self.out, resume=self.resume)
        except KeyboardInterrupt as interrupt:
            again = "with --resume " if (self.out / JOB).is_file() else ""
            kept = "finished runs and the last checkpoint are"
            raise Stopped(signal.SIGINT, "at once", again=again, kept=kept) from interrupt
        place = ["--data", self.data or self.dev or "FILE"]
        following = [
            ["evaluate", str(self.out), *place],
            ["predict", str(self.out), "INPUT", "--out", "answers.jsonl"],
        ]
        if self.task in GLUE:
            following.append(["glue-submit", str(self.out), "RUN...", "--out", "submission.zip"])
        return Result(done, with_next(done.summary_lines(), *following))

    def _job(self) -> "Job":
        from bertsmith.finetuning.data import Source
        from bertsmith.finetuning.job import Job
        from bertsmith.tasks.datasets.custom import Columns

        names = {setting.name for setting in msgspec.structs.fields(FinetuneConfig)}
        settings = {
            name: value
            for name, value in vars(self).items()
            if name in names - _NO_SETTINGS and value is not None
        }
        if self.frozen is not None:
            settings["frozen"] = self.frozen == "yes"
        if self.bilstm:
            settings["bilstm"] = True
        if self.features is not None:
            settings["features"] = parse_layers(self.features)
        columns = Columns(
            text=self.text,
            text_pair=self.text_pair,
            label=self.label,
            choices=tuple(self.choices.split(",")) if self.choices else (),
            words=self.words,
            tags=self.tags,
            question=self.question,
            context=self.context,
            answer=self.answer,
        )
        source = Source(
            task=self.task,
            data=self.data,
            train=self.train,
            dev=self.dev,
            columns=columns,
            skip_misplaced=self.skip_misplaced,
            join_labels=self.join_labels,
            strict_tags=self.strict_tags,
        )
        return Job(
            source=source,
            model=self._model(),
            seeds=self.seeds,
            sweep=self.sweep,
            settings=settings,
        )

    def _model(self) -> "str | Untrained":
        from bertsmith.finetuning.origin import Untrained

        if (self.model is None) == (self.size is None):
            what = "leave one of them out" if self.model is not None else "give one of them"
            raise UsageError(
                f"--model names a pre-trained model, --size a BERT without pre-training; {what}."
            )
        own = {
            "--tokenizer": self.tokenizer,
            "--vocab-size": self.vocab_size,
            "--initial-weights": self.initial_weights,
        }
        given = [flag for flag, value in own.items() if value is not None]
        if self.model is not None:
            if given:
                raise UsageError(
                    f"{given[0]} is for --size, and --model {self.model} has its own: leave "
                    f"{given[0]} out."
                )
            return self.model
        assert self.size is not None
        if self.tokenizer is not None and self.vocab_size is not None:
            raise UsageError(
                f"--vocab-size is for a vocabulary that is trained here, but --tokenizer "
                f"{self.tokenizer} has one; leave one of the two out."
            )
        return Untrained(
            size=self.size,
            tokenizer=self.tokenizer,
            vocab_size=self.vocab_size,
            initial_weights=self.initial_weights or "structured",
        )


def parse_layers(text: str, *, flag: str = "--features") -> tuple[int, ...]:
    """`-4,-3,-2,-1` as numbers.

    Raises:
        UsageError: it is not written so.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{flag} {text}: expected numbers of layers, for example -4,-3,-2,-1."
        ) from error
