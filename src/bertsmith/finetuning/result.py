"""The result of a fine-tuning: its runs, their scores over seeds, and a summary as text."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bertsmith.core.terminal import duration
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import Lengths
from bertsmith.finetuning.run import RunResult
from bertsmith.tasks.inspection import Inspection
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.metric import UNDEFINED, score_text
from bertsmith.tasks.metrics import METRICS, score_line
from bertsmith.tasks.scoring import Scores

REMEDY = "Try another learning rate, more epochs or more examples."
"""Advice if nothing was learned."""


class Summary(msgspec.Struct, frozen=True):
    """One metric over the seeds of the best setting, without degenerate runs."""

    mean: float
    deviation: float
    """Sample standard deviation; 0 for a single run."""
    best: float
    runs: int

    @property
    def percent(self) -> str:
        """Mean in percent, with the deviation if there are several runs."""
        deviation = f" ± {100 * self.deviation:.1f}" if self.runs > 1 else ""
        return f"{100 * self.mean:.1f}{deviation}"


class FinetuneResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a job (`results.json`)."""

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
    """The split that selected the best run."""
    deciding_metrics: tuple[str, ...]
    """The metrics whose mean is the score of a run."""
    inspection: Inspection
    lengths: Lengths
    baseline: Scores
    """Scores of the baseline on the selecting split."""
    config: FinetuneConfig
    """Settings of the best run."""
    runs: list[RunResult]
    """All runs in order of execution."""
    best: int
    """Index of the best run."""
    summary: dict[str, dict[str, Summary]]
    """Split -> metric -> summary over the seeds of the best setting."""
    degenerate: list[str]
    """Names of the runs no better than the baseline; the summary leaves them out."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% bootstrap interval over the examples of the selecting split, best run."""
    seconds: float
    """Time of all runs, with evaluations."""
    in_transformers: bool = True
    """Whether `transformers` has a model with the same outputs."""
    source: str = ""
    """Of the user's own data: the training file and the column of the labels."""
    skipped: list[str] = []
    """What is wrong with rows that were left out, a line for each kind of fault."""

    @property
    def task_kind(self) -> TaskKind:
        """The kind of the task."""
        return kind_named(self.kind)

    @property
    def best_run(self) -> RunResult:
        """The run whose model is kept."""
        return self.runs[self.best]

    def summary_lines(self) -> list[str]:
        """The result in a few lines."""
        best = self.best_run
        origin = f"from {self.model}"
        if self.config.initial_weights is not None:
            origin = f"of a BERT without pre-training ({self.model})"
        lines = [f"{self.title}: {len(self.runs)} run{'s' * (len(self.runs) > 1)} {origin}"]
        for part, scores in best.scores.items():
            for name, value in scores.items():
                lines.append(
                    f"  {part} {METRICS[name].title}: {self._score_line(part, name, value)}"
                )
        if None in best.scores[self.deciding].values():
            lines.append(f"  {UNDEFINED}")
        if self.degenerate:
            failed, count = len(self.degenerate), len(self.runs)
            runs = f"{failed} of {count} runs are" if count > 1 else "the run is"
            left_out = " and left out of all means" if failed < count else ""
            lines.append(
                f"  {runs} no better than the baseline ({self.task_kind.baseline_name}){left_out}: "
                f"{', '.join(self.degenerate)}"
            )
            if failed == count:
                lines.append(f"  {REMEDY}")
        return [
            *lines,
            f"  best run: {Path(best.out).name}, epoch {best.best_epoch:g}, "
            f"{best.examples_per_second:,.0f} examples/s, {duration(self.seconds)} in total",
            f"Model: {self.out}. Report: {self.report}.",
        ]

    def _score_line(self, part: str, name: str, value: float | None) -> str:
        interval = baseline = None
        if part == self.deciding:
            interval, baseline = self.intervals.get(name), self.baseline.get(name)
        line = score_line(value, interval, baseline)
        found = self.summary[part][name]
        if found.runs > 1:
            mean, deviation = score_text(found.mean), score_text(found.deviation)
            line += f"; {found.runs} seeds: {mean} ± {deviation}"
        return line


def summarise(values: Sequence[float | None]) -> Summary:
    """Summarises a metric over runs; an undefined value counts as 0."""
    defined = [0.0 if value is None else value for value in values]
    deviation = statistics.stdev(defined) if len(defined) > 1 else 0.0
    return Summary(statistics.mean(defined), deviation, max(defined), len(defined))
