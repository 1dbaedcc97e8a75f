"""What a comparison came to (`compare.json`)."""

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
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN

MEAN = "mean"
"""The name under which differences stand that are of the mean over all tasks."""
PAIRS = "minimal pairs"
"""The same, of the share of minimal pairs."""
LEARNED = 0.3
"""Nats a word that a model must be better than guessing by frequency to have learned something."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out loss of a pre-training as it went."""

    tokens: list[int]
    seconds: list[float]
    loss: list[float]
    """Nats a predicted word: the mean of the word objectives."""


class SystemResult(msgspec.Struct, frozen=True, kw_only=True):
    """One system: what it is, what it cost, what it reached."""

    name: str
    title: str
    architecture: str
    direction: str
    objective: str
    tuned_as: str
    """What is trained in fine-tuning."""
    pretrained: str
    """The system whose pre-trained model it is: its own name, or another's."""
    model: str
    """Folder of the pre-trained model."""
    parameters: int
    """With the heads of the pre-training."""
    steps: int
    tokens: int
    """Real tokens seen in pre-training."""
    flops: float
    """Floating-point operations of the pre-training (`budget.training_flops`)."""
    seconds: float
    """Of its pre-training, evaluations counted."""
    predictions_per_token: float
    """How many words the objective asks for, for each token read."""
    evaluation: dict[str, float]
    """On held-out text: `<objective>_loss` (nats) and `<objective>_accuracy`."""
    baseline: dict[str, float]
    """The same for guessing by frequency."""
    curve: Curve
    scores: dict[str, Summary]
    """Task -> score over the seeds."""
    runs: dict[str, list[float]]
    """Task -> the score of each seed."""
    metrics: dict[str, dict[str, Summary]]
    """Task -> each of its metrics over the seeds."""
    degenerate: dict[str, int]
    """Task -> runs that came out no better than the most frequent answer; they count."""
    tuning_seconds: dict[str, float]
    """Task -> seconds of one fine-tuning, on average."""
    unknown: dict[str, float] = {}
    """Task -> share of the pieces of its train part that are `[UNK]`."""

    @property
    def gain(self) -> float:
        """Nats a held-out word that it is better than guessing by frequency; 0 if not trained."""
        if not self.evaluation:
            return 0.0
        return word(self.baseline, "loss") - word(self.evaluation, "loss")


def word(numbers: dict[str, float], what: str) -> float:
    """The mean of a held-out number, `loss` or `accuracy`, over the word objectives."""
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
    """Whose mean is the score."""
    train_examples: int
    dev_examples: int
    baseline: float | None
    """Score of always giving the most frequent answer."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that came out."""

    out: str
    report: str
    plan: Plan
    engine: Engine
    """Of the last call."""
    corpus_documents: int
    corpus_tokens: int
    vocab_size: int
    tasks: list[TaskAbout]
    systems: list[SystemResult]
    differences: list[Difference]
    """Of every pair of systems, on every task and (task `mean`) on the mean of them."""
    verdicts: list[Verdict]
    """Whether BERT wins, by task, and on the mean of them; empty without BERT."""
    pairs: dict[str, MinimalPairsResult]
    """By system with a pre-trained model of its own; empty without minimal pairs."""
    insight: Insight
    timetable: Timetable | None
    """What was foreseen, where speeds were measured."""
    seconds: float
    """Of the last call; earlier ones that were stopped are not counted."""

    @property
    def little(self) -> str | None:
        """What to say where no model has learned anything; None where one has."""
        best = max(self.systems, key=lambda system: system.gain)
        if best.gain >= LEARNED:
            return None
        return (
            f"No model has learned to predict words: the best, {best.title}, is {best.gain:.2f} "
            "nats a word better than guessing by frequency. The scores say nothing about what "
            f"pre-training is worth; give more hours or a larger budget."
        )

    @property
    def warnings(self) -> list[str]:
        """What makes scores say little: nothing learned, or text that the vocabulary lacks."""
        return [line for line in (self.little, *self._unknown()) if line]

    def _unknown(self) -> Iterator[str]:
        for task in self.tasks:
            found = max((system.unknown.get(task.name, 0.0) for system in self.systems), default=0)
            if found >= MANY_UNKNOWN:
                yield (
                    f"{task.title}: {found:.1%} of the pieces of train are unknown to the "
                    "vocabulary ([UNK]), so no system can tell these words from one another. Give "
                    "a corpus in the language of the task."
                )

    def summary(self) -> list[str]:
        """The result in a few lines."""
        lines = [line for warning in self.warnings for line in (f"Warning: {warning}", "")]
        if self.verdicts:
            lines += ["Does BERT win here?", *(f"  {self.told(one)}" for one in self.verdicts), ""]
        names = [task.name for task in self.tasks] + [PAIRS] * bool(self.pairs)
        width = max(len(system.title) for system in self.systems)
        lines.append(f"{'':{width}}  " + "  ".join(f"{name:>14}" for name in names))
        for system in self.systems:
            cells = [system.scores[task.name].told for task in self.tasks]
            if self.pairs:
                scored = self.pairs.get(system.name)
                cells.append(f"{100 * scored.overall.score:.1f}" if scored else "-")
            lines.append(f"{system.title:{width}}  " + "  ".join(f"{cell:>14}" for cell in cells))
        titles = {system.name: system.title for system in self.systems}
        sure = [found for found in self.differences if found.is_sure]
        lines += ["", "Larger than the noise of examples and fine-tuning seeds:"]
        lines += [f"  {_told(found, titles)}" for found in sure] or ["  no difference"]
        return [*lines, f"  ({ONE_PRETRAINING})"]

    def told(self, verdict: Verdict) -> str:
        """A verdict with its reasons."""
        reasons = self.reasons(verdict)
        return f"{verdict.task}: {verdict.answer}{f' ({reasons})' if reasons else ''}"

    def reasons(self, verdict: Verdict) -> str:
        """Which rivals BERT beats, and which beat it."""
        titles = {system.name: system.title for system in self.systems}
        return "; ".join(
            f"{words} {', '.join(found)}"
            for answer, words in (("yes", "better than"), ("no", "worse than"))
            if (found := [titles[n] for n in verdict.rivals if verdict.against.get(n) == answer])
        )


ONE_PRETRAINING = "Each system was pre-trained once: the luck of that is in no interval."


def _told(found: Difference, titles: dict[str, str]) -> str:
    first, second, value = found.first, found.second, found.value
    assert found.interval is not None
    low, high = found.interval
    if value < 0:
        first, second, value, low, high = second, first, -value, -high, -low
    return (
        f"{found.task}: {titles[first]} over {titles[second]} by {100 * value:.1f} points "
        f"({100 * low:.1f} to {100 * high:.1f})"
    )
