"""What a fine-tuning came to: its runs, the scores over seeds, and the same in words."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bertsmith.core.terminal import clock
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import Lengths
from bertsmith.finetuning.run import RunResult
from bertsmith.tasks.inspection import Inspection
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.metric import UNDEFINED, told
from bertsmith.tasks.metrics import METRICS, told_beside
from bertsmith.tasks.scoring import Scores

REMEDY = "Try another learning rate, more epochs or more examples."
"""What to do where nothing was learned."""


class Summary(msgspec.Struct, frozen=True):
    """One metric over the seeds of the best setting, degenerate runs left out."""

    mean: float
    deviation: float
    """Of the sample; 0 for a single run."""
    best: float
    runs: int

    @property
    def told(self) -> str:
        """Mean and, of several runs, deviation, in percent."""
        deviation = f" ± {100 * self.deviation:.1f}" if self.runs > 1 else ""
        return f"{100 * self.mean:.1f}{deviation}"


class FinetuneResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job came to (`results.json`)."""

    out: str
    """The model folder."""
    report: str
    task: str
    title: str
    kind: str
    model: str
    """As `FinetuneConfig.model`."""
    labels: tuple[str, ...]
    deciding: str
    """The part by which the best run was chosen."""
    deciding_metrics: tuple[str, ...]
    """Their mean is a run's score."""
    inspection: Inspection
    lengths: Lengths
    baseline: Scores
    """Scores on the deciding part of always giving the most frequent answer."""
    config: FinetuneConfig
    """Of the best run."""
    runs: list[RunResult]
    """In the order in which they ran."""
    best: int
    """Number of the best run, from 0."""
    summary: dict[str, dict[str, Summary]]
    """Part -> metric -> over the seeds of the best setting."""
    degenerate: list[str]
    """Names of runs that were no better than the most frequent answer; left out of the summary."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% bootstrap interval of the best run on the deciding part, over its examples."""
    seconds: float
    """Of all runs together, evaluations counted."""
    in_transformers: bool = True
    """Whether `transformers` has a model that gives the same outputs."""

    @property
    def task_kind(self) -> TaskKind:
        """The kind of the task."""
        return kind_named(self.kind)

    @property
    def best_run(self) -> RunResult:
        """The run whose model was kept."""
        return self.runs[self.best]

    def summary_lines(self) -> list[str]:
        """The result in a few lines."""
        best = self.best_run
        origin = f"from {self.model}"
        if self.config.initial_weights is not None:
            origin = f"of a BERT ({self.model}) without pre-training"
        lines = [f"{self.title}: {len(self.runs)} run{'s' * (len(self.runs) > 1)} {origin}"]
        for part, scores in best.scores.items():
            for name, value in scores.items():
                lines.append(
                    f"  {part} {METRICS[name].title}: {self._score_line(part, name, value)}"
                )
        if None in best.scores[self.deciding].values():
            lines.append(f"  {UNDEFINED}")
        if self.degenerate:
            left_out = len(self.degenerate) < len(self.runs)
            runs = f"{len(self.degenerate)} of {len(self.runs)} runs"
            lines.append(
                f"  {runs if len(self.runs) > 1 else 'the run'} came out no better than always "
                f"giving the {self.task_kind.usual_answer}{' and count in no mean' * left_out}: "
                f"{', '.join(self.degenerate)}"
            )
            if not left_out:
                lines.append(f"  {REMEDY}")
        return [
            *lines,
            f"  best run: {Path(best.out).name}, epoch {best.best_epoch:g}, "
            f"{best.examples_per_second:,.0f} examples a second, {clock(self.seconds)} in all",
            f"The model is in {self.out}; the report is {self.report}.",
        ]

    def _score_line(self, part: str, name: str, value: float | None) -> str:
        interval = baseline = None
        if part == self.deciding:
            interval, baseline = self.intervals.get(name), self.baseline.get(name)
        line = told_beside(name, value, interval, baseline)
        found = self.summary[part][name]
        if found.runs > 1:
            mean, deviation = told(found.mean), told(found.deviation)
            line += f"; {found.runs} seeds: {mean} +- {deviation}"
        return line


def summarise(values: Sequence[float | None]) -> Summary:
    """Mean and deviation of a metric over runs; an undefined value counts as 0."""
    defined = [0.0 if value is None else value for value in values]
    deviation = statistics.stdev(defined) if len(defined) > 1 else 0.0
    return Summary(statistics.mean(defined), deviation, max(defined), len(defined))
