"""`bertsmith finetune`: a task of the paper, or the user's own labelled files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from bertsmith.cli.columns import ColumnOptions
from bertsmith.cli.command import MODEL, Help, Result, with_next
from bertsmith.cli.options import Option, flag, page_language_flag, word
from bertsmith.cli.training import TrainingOptions
from bertsmith.core.errors import Stopped
from bertsmith.core.runtime import PageLanguage, world_from_environment
from bertsmith.core.stop import signal_of
from bertsmith.finetuning.config import ClassWeights, FinetuneConfig
from bertsmith.models.head_config import Combine
from bertsmith.pretraining.config import InitialWeights
from bertsmith.tasks.examples import LongTexts

if TYPE_CHECKING:
    from bertsmith.finetuning.job import Job
    from bertsmith.tasks.kind import TaskKind

_NO_SETTINGS = {"task", "model", "initial_weights", "frozen", "bilstm"}
"""Fields of `FinetuneConfig` that a flag of that name does not decide alone."""
_DEFAULTS = {
    "learning_rate": "by width: 3e-5 from 768, 1e-4 from 257, 3e-4 below; 1e-3 if frozen",
    "epochs": "3 to 20, more for less data",
    "seed": "0",
}
_OWN_FILES = ("train", "merge_labels", "strict_tags", "dev")
"""Flags of the user's own files."""


@dataclass(kw_only=True)
class Finetune(TrainingOptions, ColumnOptions):
    """Fine-tune a model on a task of the paper or on labelled files of your own."""

    examples = (
        "finetune classification --model my-model --train reviews.csv --out my-classifier",
        "finetune mrpc --model minilm --data glue/MRPC --out my-mrpc --seeds 5",
        "finetune classification --help",
    )

    task: str = word(
        "Kind of task of your own files: classification, multi-label, regression, "
        "multiple-choice, token-classification, question-answering; or a task of the paper with "
        "its official files: mnli, qqp, mrpc, qnli, rte, wnli, sts-b, sst-2, cola, swag, squad, "
        "squad2, conll2003.",
        metavar="TASK",
    )
    train: str | None = flag(
        "Your training file: .csv .tsv .jsonl .parquet, CoNLL columns, or SQuAD's .json.",
        group="Data",
        default=None,
        metavar="FILE",
    )
    dev: str | None = flag(
        "Your file to evaluate on.",
        group="Data",
        default=None,
        metavar="FILE",
        shown="a tenth of --train",
    )
    data: str | None = flag(
        "Folder of the task's official files.", group="Data", default=None, metavar="DIR"
    )
    skip_bad: bool = flag(
        "Leave out rows that cannot be used (empty texts, bad labels, answers that are not in "
        "their context), and count them.",
        group="Data",
        default=False,
    )
    merge_labels: bool = flag(
        "Merge labels that differ only in spelling (case, spaces, `1` and `1.0`).",
        group="Data",
        default=False,
    )
    strict_tags: bool = flag(
        "Refuse tags that their scheme does not allow where they are.",
        group="Data",
        default=False,
    )
    model: str | None = flag(
        f"{MODEL} This or --size.", group="Model", default=None, metavar="MODEL"
    )
    size: str | None = flag(
        "Start from a BERT that is not pre-trained: tiny, mini, small, medium, base, large, or a "
        "config.json.",
        group="Model",
        default=None,
        metavar="SIZE",
    )
    tokenizer: str | None = flag(
        "For --size: folder of a tokenizer, or a model.",
        group="Model",
        default=None,
        metavar="MODEL",
        shown="trained on the training texts",
    )
    vocab_size: int | None = flag(
        "For --size: size of the vocabulary to train.", group="Model", default=None, shown="8000"
    )
    initial_weights: InitialWeights | None = flag(
        "For --size. paper: normally distributed; structured: heads that attend to neighbours, "
        "and word vectors of the training texts.",
        group="Model",
        default=None,
        shown="structured",
    )
    max_length: int | None = flag("Maximum tokens of an input.", group="Model", default=None)
    long_texts: LongTexts | None = flag(
        "Texts that are too long: truncate them, or average the scores of sliding windows.",
        group="Model",
        default=None,
        shown="truncate",
    )
    stride: int | None = flag(
        "Tokens by which neighbouring windows overlap.",
        group="Model",
        default=None,
    )
    features: tuple[int, ...] | None = flag(
        "Freeze the encoder and train a BiLSTM on these layers, e.g. -4,-3,-2,-1 (paper, section "
        "5.3).",
        group="Model",
        default=None,
        metavar="L,...",
    )
    combine: Combine | None = flag(
        "Concatenate or add the layers of --features.",
        group="Model",
        default=None,
        shown="concat",
    )
    frozen: Literal["yes", "no"] | None = flag(
        "Of an ELMo: keep the encoder as it is and train only the task's network.",
        group="Model",
        default=None,
        shown="yes",
    )
    bilstm: bool = flag(
        "Of a BERT: add a BiLSTM before the output layer (paper, section 5.1).",
        group="Model",
        default=False,
    )
    epochs: int | None = flag("Passes over the training data.", group="Length", default=None)
    patience: int | None = flag(
        "Stop after N epochs without a better dev score; 0: never.",
        group="Length",
        default=None,
        shown="0",
    )
    class_weights: ClassWeights | None = flag(
        "balanced: rare classes weigh as much as frequent ones in the loss.",
        group="Training",
        default=None,
        shown="none",
    )
    seeds: int = flag(
        "Number of runs with different seeds; reports mean and deviation.", group="Runs", default=1
    )
    sweep: bool = flag(
        "Try the paper's grid of learning rates, batch sizes and epochs (a wider one for small "
        "models).",
        group="Runs",
        default=False,
    )
    out: Path = flag(
        "Folder for the best model, the results and the report.", group="Output", metavar="DIR"
    )
    language: PageLanguage | None = page_language_flag()

    @classmethod
    def help_for(cls, words: Sequence[str]) -> Help:
        """Without a task everything; for a task what it looks at, with its defaults."""
        from bertsmith.tasks.datasets import registry
        from bertsmith.tasks.kinds.registry import KINDS

        everything = super().help_for(words)
        kinds = KINDS | {name: task.kind for name, task in registry.TASKS.items()}
        task = next((one for one in words if one in kinds), None)
        looking = {
            one.name: [kind.name for kind in KINDS.values() if one.name in kind.settings]
            for one in everything.options
        }
        if task is None:
            options = [_with_kinds(one, looking[one.name]) for one in everything.options]
            return everything._replace(options=options)
        kind, official = kinds[task], registry.TASKS.get(task)
        columns = () if official else kind.columns_read(labelled=True)
        defaults = _DEFAULTS | _settings_of(kind) | _columns_of()
        options = [
            replace(one, default=one.default or defaults.get(one.name, ""))
            for one in everything.options
            if (not looking[one.name] or one.name in kind.settings)
            and (one.group != "Columns" or one.name in columns)
            and one.name not in ("task", *(_OWN_FILES if official else ("data",)))
        ]
        name = f"{task} ({official.title})" if official else f"your own files, kind `{task}`"
        return Help(task, f"Fine-tune a model on {name}.", options, ())

    def run(self) -> Result:
        """Fine-tunes."""
        from bertsmith.core.terminal import say
        from bertsmith.finetuning.job import JOB, finetune
        from bertsmith.tasks.datasets.registry import GLUE

        is_new = not self.out.is_dir() or not any(self.out.iterdir())
        if self.resume and is_new and world_from_environment().first:
            say(f"{self.out} has no fine-tuning to resume; starting a new one.")
        try:
            done = finetune(self._job(), self.out, resume=self.resume, language=self.language)
        except KeyboardInterrupt as interrupt:
            again = "with --resume " if (self.out / JOB).is_file() else ""
            kept = "finished runs and the last checkpoint are"
            raise Stopped(signal_of(interrupt), "at once", again=again, kept=kept) from interrupt
        place = ["--data", self.data or self.dev or "FILE"]
        following = [
            ["evaluate", str(self.out), *place],
            ["predict", str(self.out), "INPUT", "--out", "answers.jsonl"],
            ["serve", str(self.out)],
        ]
        if self.task in GLUE:
            following.append(["glue-submit", str(self.out), "RUN...", "--out", "submission.zip"])
        return Result(done, with_next(done.summary_lines(), *following))

    def _job(self) -> "Job":
        from bertsmith.finetuning.data import Source
        from bertsmith.finetuning.job import Job
        from bertsmith.finetuning.origin import model_or_size
        from bertsmith.tasks.task_config import Columns

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
        source = Source(
            task=self.task,
            data=self.data,
            train=self.train,
            dev=self.dev,
            columns=Columns(**self.given_columns()),
            skip_bad=self.skip_bad,
            merge_labels=self.merge_labels,
            strict_tags=self.strict_tags,
        )
        return Job(
            source=source,
            model=model_or_size(
                self.model,
                self.size,
                tokenizer=self.tokenizer,
                vocab_size=self.vocab_size,
                initial_weights=self.initial_weights,
            ),
            seeds=self.seeds,
            sweep=self.sweep,
            settings=settings,
        )


def _with_kinds(option: Option, kinds: Sequence[str]) -> Option:
    """With the kinds of task that look at it, if not all do."""
    if not kinds:
        return option
    return replace(option, help=f"{option.help.removesuffix('.')} ({', '.join(kinds)}).")


def _settings_of(kind: "TaskKind") -> dict[str, str]:
    """Defaults of a kind's settings, as the help says them."""
    usual = kind.usual
    return {
        "batch_size": str(usual.batch_size),
        "max_length": str(usual.max_length),
        "stride": str(usual.stride),
    } | {
        field.name: f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        for field in msgspec.structs.fields(FinetuneConfig)
        if isinstance(field.default, str | float | int) and not isinstance(field.default, bool)
    }


def _columns_of() -> dict[str, str]:
    """What columns are called by default."""
    from bertsmith.tasks.task_config import Columns

    columns = asdict(Columns())
    return {name: value for name, value in columns.items() if isinstance(value, str)}
