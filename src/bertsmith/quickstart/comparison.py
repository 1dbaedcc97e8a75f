"""Compares the two fine-tunings of a quickstart: scores, difference, and their page section."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bertsmith.comparison.bootstrap import Scores, paired_interval, scores_of
from bertsmith.core.storage import read_json
from bertsmith.finetuning.best_epoch import read_predictions
from bertsmith.finetuning.job import REPORT, RESULTS
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.quickstart.task import PRETRAINED, UNTRAINED, TaskPlan
from bertsmith.reports.charts import Mark, Series, line_chart
from bertsmith.reports.language import t
from bertsmith.reports.page import Report
from bertsmith.tasks.examples import TextExample
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.training.progress import read_metrics

_SHOWN = 4


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two fine-tunings."""

    model: str
    """Folder of the model it started from."""
    out: str
    report: str
    accuracy: float
    """Dev accuracy of the best epoch."""
    interval: tuple[float, float]
    """95% bootstrap interval over dev examples."""
    steps: int
    """Optimizer steps."""
    epochs: list[float]
    """Epochs finished at each evaluation."""
    by_epoch: list[float]
    """Dev accuracy at each evaluation."""
    seconds: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The fine-tunings with and without pre-training."""

    question: str
    about_dev: str
    columns: list[str]
    examples: list[list[str]]
    """A few dev examples, by column."""
    train_examples: int
    dev_examples: int
    baseline: float
    """Dev accuracy of the majority baseline."""
    pretrained: Attempt
    untrained: Attempt
    difference: float
    """Dev accuracy with pre-training minus that without."""
    interval: tuple[float, float]
    """95% interval of the difference, by a paired bootstrap over dev examples."""

    @property
    def attempts(self) -> list[tuple[str, Attempt]]:
        """Both fine-tunings, each with a name in the current language."""
        return [
            (t("with pre-training"), self.pretrained),
            (t("without pre-training"), self.untrained),
        ]

    @property
    def is_even(self) -> bool:
        """Whether both did the same number of steps."""
        return self.pretrained.steps == self.untrained.steps

    @property
    def is_clear(self) -> bool:
        """Whether the comparison is fair and the difference significant."""
        low, high = self.interval
        return self.is_even and not low <= 0 <= high

    def verdict(self) -> str:
        """Whether pre-training helped, in a sentence or two of the current language."""
        low, high = (100 * end for end in self.interval)
        points = t(
            "{points:+.1f} points (95% interval {low:+.1f} to {high:+.1f})",
            points=100 * self.difference,
            low=low,
            high=high,
        )
        if not self.is_even:
            found = t(
                "The comparison is not fair: the machine became slower, which left time for only "
                "{untrained:,} of {pretrained:,} steps without pre-training. Difference: {points}.",
                untrained=self.untrained.steps,
                pretrained=self.pretrained.steps,
                points=points,
            )
        elif low > 0:
            found = t("Pre-training helped: {points}.", points=points)
        elif high < 0:
            found = t("Pre-training hurt: {points}.", points=points)
        else:
            found = t(
                "The effect of pre-training is within the noise of {count:,} dev examples: "
                "{points}.",
                count=self.dev_examples,
                points=points,
            )
        if self.pretrained.interval[0] <= self.baseline:
            found += t(" ") + t(
                "The pre-trained model is not significantly better than the majority baseline "
                "({baseline:.1%}); give it more minutes.",
                baseline=self.baseline,
            )
        return found


def compare(plan: TaskPlan, out: Path) -> Comparison:
    """Compares the two fine-tunings in the quickstart's folder `out`.

    Raises:
        FolderError: one of their results is missing or damaged.
    """
    pretrained, untrained = _read(plan, out, *PRETRAINED), _read(plan, out, *UNTRAINED)
    found, columns = pretrained.result, plan.columns
    assert found.baseline["accuracy"] is not None
    return Comparison(
        question=plan.question,
        about_dev=plan.about_dev,
        columns=[name for name in (columns.text, columns.text_pair, columns.label) if name],
        examples=[
            [text for text in (example.a, example.b, str(example.label)) if text is not None]
            for example in pretrained.examples[:_SHOWN]
        ],
        train_examples=found.inspection.examples["train"],
        dev_examples=found.inspection.examples["dev"],
        baseline=found.baseline["accuracy"],
        pretrained=pretrained.attempt,
        untrained=untrained.attempt,
        difference=pretrained.attempt.accuracy - untrained.attempt.accuracy,
        interval=paired_interval(pretrained.scores, untrained.scores),
    )


@dataclass(frozen=True)
class _Read:
    result: FinetuneResult
    examples: list[TextExample]
    attempt: Attempt
    scores: Scores
    """Dev accuracy of the best epoch."""


def _read(plan: TaskPlan, out: Path, model: str, tuned: str) -> _Read:
    folder = out / tuned
    result = read_json(folder / RESULTS, FinetuneResult, sealed=True)
    run = folder / "runs" / Path(result.best_run.out).name
    dev = CLASSIFICATION.read(out / "task" / "dev.csv", plan.columns)
    examples = [example for example in dev if isinstance(example, TextExample)]
    predictions = read_predictions(run, CLASSIFICATION)
    right = CLASSIFICATION.references(examples, result.labels)
    evaluated = [
        record for record in read_metrics(run / "metrics.jsonl") if record["kind"] == "evaluation"
    ]
    steps_per_epoch = -(-result.inspection.examples["train"] // result.config.batch_size)
    accuracy = result.best_run.scores[result.deciding]["accuracy"]
    assert accuracy is not None
    attempt = Attempt(
        model=str(out / model),
        out=str(folder),
        report=str(folder / REPORT),
        accuracy=accuracy,
        interval=result.intervals["accuracy"],
        steps=result.best_run.steps,
        epochs=[record["step"] / steps_per_epoch for record in evaluated],
        by_epoch=[record["accuracy"] for record in evaluated],
        seconds=result.best_run.seconds,
    )
    answered = CLASSIFICATION.predictions(predictions, result.labels)
    return _Read(result, examples, attempt, scores_of(["accuracy"], right, [answered]))


def write_comparison(page: Report, task: Comparison, out: Path) -> None:
    """Writes the comparison as a section of the page in the quickstart's folder `out`."""
    setting = t(
        "The pre-trained model was fine-tuned to answer this. So was a model with the same initial "
        "weights but no pre-training: same settings, same {count:,} examples, same order.",
        count=task.train_examples,
    )
    page.section(
        t("The effect of pre-training"),
        t(" ").join([t(task.question), setting, t(task.about_dev)]),
    )
    page.text(task.verdict())
    columns = "model", "dev accuracy", "95% interval", "steps", "seconds of training"
    page.table(
        [t(name) for name in columns],
        [
            [
                name,
                f"{one.accuracy:.1%}",
                t("{low:.1%} to {high:.1%}", low=one.interval[0], high=one.interval[1]),
                f"{one.steps:,}",
                f"{one.seconds:.0f}",
            ]
            for name, one in task.attempts
        ]
        + [[t("majority baseline"), f"{task.baseline:.1%}", None, None, None]],
    )
    page.picture(
        line_chart(
            [Series(name, one.epochs, one.by_epoch) for name, one in task.attempts],
            title=t("Fine-tuning"),
            x_label=t("epochs"),
            y_label=t("dev accuracy"),
            marks=[Mark(t("majority baseline"), task.baseline)],
            percent=True,
        ),
        t(
            "Dev accuracy after each epoch; the best epoch counts. The intervals cover the choice "
            "of the {count:,} dev examples only. Each fine-tuning was done once, and another seed "
            "would move both lines.",
            count=task.dev_examples,
        ),
    )
    page.table(task.columns, task.examples, caption=t("The first dev examples"))
    page.text(t("Reports of the fine-tunings, with confusion matrix and errors:"))
    page.links([(name, str(Path(one.report).relative_to(out))) for name, one in task.attempts])
