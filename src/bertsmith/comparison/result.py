"""The result of a comparison (`compare.json`)."""

from collections.abc import Iterator

import msgspec

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.probing import Insight
from bertsmith.comparison.timetable import Timetable
from bertsmith.comparison.verdict import Verdict
from bertsmith.core.runtime import Engine
from bertsmith.finetuning.result import Summary
from bertsmith.inference.pair_scores import MinimalPairsResult
from bertsmith.reports.language import listed, t
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN

MEAN = "mean"
"""Name of the mean over all tasks in differences and verdicts."""
PAIRS = "minimal pairs"
"""Name of the accuracy on minimal pairs there."""
LEARNED = 0.3
"""Gain over the unigram baseline, in nats per word, from which a model has learned something."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out loss in the course of a pre-training."""

    tokens: list[int]
    seconds: list[float]
    loss: list[float]
    """Nats per predicted word, the mean of the word objectives."""


class SystemResult(msgspec.Struct, frozen=True, kw_only=True):
    """One system: its properties, costs and scores."""

    name: str
    title: str
    architecture: str
    direction: str
    objective: str
    tuned_as: str
    """What fine-tuning trains."""
    pretrained: str
    """Name of the system whose pre-trained model it uses: its own, or another's."""
    model: str
    """Folder of the pre-trained model."""
    parameters: int
    """Parameters, including the pre-training heads."""
    steps: int
    tokens: int
    """Tokens read in pre-training, without padding."""
    flops: float
    """Floating-point operations of the pre-training (`budget.training_flops`)."""
    seconds: float
    """Time of the pre-training, with evaluations."""
    predictions_per_token: float
    """Words predicted per token read."""
    evaluation: dict[str, float]
    """On held-out text: `<objective>_loss` (nats) and `<objective>_accuracy`."""
    baseline: dict[str, float]
    """The same numbers of the unigram baseline."""
    curve: Curve
    scores: dict[str, Summary]
    """Task -> score over seeds."""
    runs: dict[str, list[float]]
    """Task -> score of each seed."""
    metrics: dict[str, dict[str, Summary]]
    """Task -> metric -> score over seeds."""
    degenerate: dict[str, int]
    """Task -> number of runs no better than the majority baseline; the means include them."""
    tuning_seconds: dict[str, float]
    """Task -> mean seconds per fine-tuning."""
    unknown: dict[str, float] = {}
    """Task -> share of `[UNK]` among its training tokens."""

    @property
    def gain(self) -> float:
        """Gain over the unigram baseline, nats per held-out word; 0 if it was not trained."""
        if not self.evaluation:
            return 0.0
        return word(self.baseline, "loss") - word(self.evaluation, "loss")


def word(numbers: dict[str, float], what: str) -> float:
    """The mean of `loss` or `accuracy` over the word objectives."""
    found = [
        value
        for name, value in numbers.items()
        if name.endswith(f"_{what}") and not name.startswith("nsp")
    ]
    return sum(found) / len(found)


class TaskAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the comparison."""

    name: str
    title: str
    metrics: tuple[str, ...]
    """The metrics whose mean is the score."""
    train_examples: int
    dev_examples: int
    baseline: float | None
    """Score of the majority baseline."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a comparison."""

    out: str
    report: str
    plan: Plan
    engine: Engine
    """Engine of the last call."""
    corpus_documents: int
    corpus_tokens: int
    vocab_size: int
    tasks: list[TaskAbout]
    systems: list[SystemResult]
    differences: list[Difference]
    """For every pair of systems, on every task and (task `mean`) on their mean."""
    verdicts: list[Verdict]
    """Whether BERT wins, for every task and on their mean; empty without BERT."""
    pairs: dict[str, MinimalPairsResult]
    """System with its own pre-trained model -> its result; empty without minimal pairs."""
    insight: Insight
    timetable: Timetable | None
    """The planned times, if speeds were measured."""
    seconds: float
    """Time of the last call, without earlier interrupted ones."""

    @property
    def little(self) -> str | None:
        """A warning if no model has learned anything."""
        best = max(self.systems, key=lambda system: system.gain)
        if best.gain >= LEARNED:
            return None
        return t(
            "No model has learned to predict words: the best one, {system}, gains only "
            "{gain:.2f} nats per word over the unigram baseline. The scores do not show what "
            "pre-training is worth. Give more hours or a larger budget.",
            system=t(best.title),
            gain=best.gain,
        )

    @property
    def warnings(self) -> list[str]:
        """Reasons why the scores say little: nothing learned, or too many unknown words."""
        return [line for line in (self.little, *self._unknown()) if line]

    def _unknown(self) -> Iterator[str]:
        for task in self.tasks:
            found = max((system.unknown.get(task.name, 0.0) for system in self.systems), default=0)
            if found >= MANY_UNKNOWN:
                yield t(
                    "{task}: {share:.1%} of the training tokens are unknown to the vocabulary "
                    "([UNK]), so no system can tell these words apart. Use a corpus in the "
                    "language of the task.",
                    task=task.title,
                    share=found,
                )

    def summary(self) -> list[str]:
        """The result in a few lines."""
        lines = [line for warning in self.warnings for line in (f"Warning: {warning}", "")]
        if self.verdicts:
            lines += ["Does BERT win here?"]
            lines += [f"  {self.verdict_line(one)}" for one in self.verdicts]
            lines += [""]
        names = [task.name for task in self.tasks] + [PAIRS] * bool(self.pairs)
        width = max(len(system.title) for system in self.systems)
        lines.append(f"{'':{width}}  " + "  ".join(f"{name:>14}" for name in names))
        for system in self.systems:
            cells = [system.scores[task.name].percent for task in self.tasks]
            if self.pairs:
                scored = self.pairs.get(system.name)
                cells.append(f"{100 * scored.overall.score:.1f}" if scored else "-")
            lines.append(f"{system.title:{width}}  " + "  ".join(f"{cell:>14}" for cell in cells))
        titles = {system.name: system.title for system in self.systems}
        significant = [found for found in self.differences if found.is_sure]
        lines += ["", "Significant differences:"]
        lines += [f"  {_difference_line(one, titles)}" for one in significant] or ["  none"]
        return [*lines, f"  ({ONE_PRETRAINING})"]

    def verdict_line(self, verdict: Verdict) -> str:
        """A verdict with its reasons."""
        reasons = self.reasons(verdict)
        return f"{verdict.task}: {verdict.answer}{f' ({reasons})' if reasons else ''}"

    def reasons(self, verdict: Verdict) -> str:
        """Which rivals BERT beats, and which beat it."""
        titles = {system.name: t(system.title) for system in self.systems}
        return t("; ").join(
            t(words, systems=listed(found))
            for answer, words in (("yes", "better than {systems}"), ("no", "worse than {systems}"))
            if (found := [titles[n] for n in verdict.rivals if verdict.against.get(n) == answer])
        )


ONE_PRETRAINING = (
    "Each system was pre-trained only once; the intervals do not include that source of noise."
)


def task_name(task: str) -> str:
    """A task's name on a page, where `MEAN` and `PAIRS` are words of its language."""
    return t(task) if task in (MEAN, PAIRS) else task


def _difference_line(found: Difference, titles: dict[str, str]) -> str:
    first, second, value = found.first, found.second, found.value
    assert found.interval is not None
    low, high = found.interval
    if value < 0:
        first, second, value, low, high = second, first, -value, -high, -low
    return (
        f"{found.task}: {titles[first]} over {titles[second]} by {100 * value:.1f} points "
        f"({100 * low:.1f} to {100 * high:.1f})"
    )
