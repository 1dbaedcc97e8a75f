"""Both fine-tunings of a quickstart side by side: scores, difference, and the page's section."""

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
from bertsmith.reports.page import Report
from bertsmith.tasks.examples import TextExample
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.training.progress import read_metrics

_SHOWN = 4


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two fine-tunings."""

    model: str
    """What it began with."""
    out: str
    report: str
    accuracy: float
    """Of the best epoch on dev."""
    interval: tuple[float, float]
    """95%, by the bootstrap over dev examples."""
    steps: int
    """Of the optimizer."""
    epochs: list[float]
    """Done at each evaluation."""
    by_epoch: list[float]
    """Dev accuracy at each evaluation."""
    seconds: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both fine-tunings side by side."""

    question: str
    about_dev: str
    columns: list[str]
    examples: list[list[str]]
    """A few of dev, by column."""
    train_examples: int
    dev_examples: int
    baseline: float
    """Dev accuracy of always giving the more frequent answer."""
    pretrained: Attempt
    untrained: Attempt
    difference: float
    """Dev accuracy of the first minus that of the second."""
    interval: tuple[float, float]
    """95%, by the bootstrap over dev examples, each drawn with both models' answers to it."""

    @property
    def attempts(self) -> list[tuple[str, Attempt]]:
        """Both, by what they began with."""
        return [("the pre-trained model", self.pretrained), ("its initial weights", self.untrained)]

    @property
    def is_even(self) -> bool:
        """Whether both were trained for as many steps."""
        return self.pretrained.steps == self.untrained.steps

    @property
    def is_clear(self) -> bool:
        """Whether the difference is fair and outside the noise."""
        low, high = self.interval
        return self.is_even and not low <= 0 <= high

    def verdict(self) -> str:
        """Whether pre-training helped, in a sentence or two."""
        low, high = (100 * end for end in self.interval)
        points = f"{100 * self.difference:+.1f} points (95% interval {low:+.1f} to {high:+.1f})"
        if not self.is_even:
            found = (
                "Not a fair comparison: the machine became slower, and there was time for only "
                f"{self.untrained.steps:,} of {self.pretrained.steps:,} steps without "
                f"pre-training. The pre-trained model stands at {points}."
            )
        elif low > 0:
            found = f"Pre-training helped: {points}."
        elif high < 0:
            found = f"Pre-training did harm here: {points}."
        else:
            found = (
                f"Whether pre-training helped is within the noise of {self.dev_examples:,} dev "
                f"examples: {points}."
            )
        if self.pretrained.interval[0] <= self.baseline:
            found += (
                " The pre-trained model itself is not surely better than always giving the more "
                f"frequent answer ({self.baseline:.1%}); give it more minutes."
            )
        return found


def compare(plan: TaskPlan, out: Path) -> Comparison:
    """What both fine-tunings in the quickstart's folder `out` came to.

    Raises:
        FolderError: a result of theirs is missing or damaged.
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
    """Accuracy of the best epoch's answers to dev."""


def _read(plan: TaskPlan, out: Path, model: str, tuned: str) -> _Read:
    folder = out / tuned
    result = read_json(folder / RESULTS, FinetuneResult)
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
    page.section(
        "What pre-training bought",
        f"{task.question} The pre-trained model was fine-tuned to tell, and so was a model of the "
        "same initial weights without pre-training: with the same settings, on the same "
        f"{task.train_examples:,} examples in the same order. {task.about_dev}",
    )
    page.text(task.verdict())
    page.table(
        ["fine-tuned from", "right on dev", "95% interval", "steps", "seconds of training"],
        [
            [
                name,
                f"{one.accuracy:.1%}",
                f"{one.interval[0]:.1%} to {one.interval[1]:.1%}",
                f"{one.steps:,}",
                f"{one.seconds:.0f}",
            ]
            for name, one in task.attempts
        ]
        + [["always the more frequent answer", f"{task.baseline:.1%}", None, None, None]],
    )
    page.picture(
        line_chart(
            [Series(name, one.epochs, one.by_epoch) for name, one in task.attempts],
            title="Fine-tuning",
            x_label="epochs (passes over the training examples)",
            y_label="dev examples right",
            marks=[Mark("always the more frequent answer", task.baseline)],
            percent=True,
        ),
        "After each epoch; the best one counts, for both alike. The intervals say what is due to "
        f"which {task.dev_examples:,} examples the dev part happens to have; each fine-tuning was "
        "done once, and another seed would move both lines too.",
    )
    page.table(task.columns, task.examples, caption="The first dev examples")
    page.text("More on each fine-tuning, with its confusions and its surest errors:")
    page.links(
        [(f"from {name}", str(Path(one.report).relative_to(out))) for name, one in task.attempts]
    )
