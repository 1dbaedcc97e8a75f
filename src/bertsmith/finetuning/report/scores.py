"""How well the runs of a fine-tuning did and how the best one learned, as sections of its page."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.finetuning.result import FinetuneResult
from bertsmith.finetuning.run import RunResult
from bertsmith.reports.charts import Dots, Mark, Series, dots_chart, line_chart
from bertsmith.reports.page import Report
from bertsmith.tasks import metrics
from bertsmith.tasks.metric import told
from bertsmith.tasks.metrics import METRICS
from bertsmith.training.progress import read_metrics

_CURVE_POINTS = 60


def write_scores(page: Report, result: FinetuneResult) -> None:
    """Writes what the scores are and mean."""
    best = result.best_run
    meanings = [METRICS[name].meaning for name in best.scores[result.deciding]]
    if "f1" in best.scores[result.deciding]:
        place = list(best.scores[result.deciding]).index("f1")
        meanings[place] += f" “{result.labels[1]}”."
    page.section("Scores", " ".join(meanings))
    several = any(found.runs > 1 for found in result.summary[result.deciding].values())
    columns = ["part", "score", "best run", "95% interval", result.task_kind.baseline_words]
    rows: list[list[object]] = []
    for part, scores in best.scores.items():
        for name, value in scores.items():
            row: list[object] = [part, METRICS[name].title, told(value), None, None]
            if part == result.deciding and name in result.intervals:
                low, high = result.intervals[name]
                row[3] = f"{told(low)} to {told(high)}"
            if part == result.deciding and name in result.baseline:
                row[4] = told(result.baseline[name])
            if several:
                found = result.summary[part][name]
                row += [told(found.mean), told(found.deviation), found.runs]
            rows.append(row)
    page.table(columns + ["mean", "deviation", "runs"] * several, rows)
    notes = []
    if result.intervals:
        notes.append(
            "The interval holds the score in 95 of 100 draws of as many examples from these, with "
            "repeats (a bootstrap): so much is due to which examples they happen to be."
        )
    if several:
        notes.append(
            "Mean and standard deviation are over runs that differ only in their seed, the number "
            "that decides the initial output layer, the order of the examples and the dropout."
        )
    chosen = "best epoch and run were" if len(result.runs) > 1 else "best epoch was"
    notes.append(
        f"The {chosen} chosen by {result.deciding}, so expect a little less on new examples."
    )
    page.text(" ".join(notes))


def write_runs(page: Report, result: FinetuneResult) -> None:
    """Writes the score of every run, the best first."""
    usual = result.task_kind.baseline_words
    ranked = sorted(result.runs, key=lambda run: -run.main)
    titles = [METRICS[name].title for name in result.deciding_metrics]
    score = titles[0] if len(titles) == 1 else f"mean of {' and '.join(titles)}"
    groups: dict[str, list[float]] = {}
    for run in ranked:
        # As in the mean, a run that learned nothing does not count.
        groups.setdefault(_setting(run), []).append(math.nan if run.degenerate else run.main)
    page.section("Runs")
    page.picture(
        dots_chart(
            [Dots(name, mains) for name, mains in groups.items()],
            title="Scores of the runs",
            x_label=f"{score} on {result.deciding}",
            marks=_baseline_marks(
                result,
                [result.deciding_metrics],
                [run.main for run in ranked if not run.degenerate],
            ),
        ),
        "A dot is a run; a row has the runs of one learning rate, number of examples a step and "
        "number of epochs, with their mean and standard deviation."
        + f" A run no better than “{usual}” has no dot and counts as failed."
        * bool(result.degenerate),
    )
    page.table(
        ["learning rate", "examples a step", "epochs", "seed", score, "best epoch", ""],
        [
            [
                f"{run.learning_rate:g}",
                run.batch_size,
                run.epochs,
                run.seed,
                f"{run.main:.4f}",
                f"{run.best_epoch:g}",
                "kept"
                if run is result.best_run
                else f"no better than “{result.task_kind.baseline_words}”" * run.degenerate,
            ]
            for run in ranked
        ],
    )


def _setting(run: RunResult) -> str:
    return f"{run.learning_rate:g}, {run.batch_size}, {run.epochs}"


def _baseline_marks(
    result: FinetuneResult, chosen: Sequence[Sequence[str]], shown: Sequence[float]
) -> list[Mark]:
    """Lines of the baseline, each the mean of some metrics.

    A baseline that is far below everything else has no line, which would leave the scores no room.
    """
    names: dict[float, list[str]] = {}
    for row in chosen:
        scores = {name: result.baseline.get(name) for name in row}
        if any(value is not None for value in scores.values()):
            titles = [METRICS[name].title for name in row]
            names.setdefault(metrics.main(scores), []).extend(titles)
    values = [value for value in shown if math.isfinite(value)]
    room = 2 * (max(values) - min(values)) if values else math.inf
    return [
        Mark(f"{result.task_kind.baseline_words}: {', '.join(titles)}", at)
        for at, titles in names.items()
        if not values or min(values) - at <= room
    ]


def write_curves(page: Report, result: FinetuneResult) -> None:
    """Writes the loss and the scores of the best run, epoch by epoch.

    Raises:
        FolderError: its `metrics.jsonl` is damaged.
    """
    best = result.best_run
    records = read_metrics(Path(best.out) / "metrics.jsonl")
    trained = [record for record in records if record["kind"] == "train"]
    evaluated = [record for record in records if record["kind"] == "evaluation"]
    # Steps of an epoch: a run that was over within its first one was evaluated at its end only.
    epoch = evaluated[0]["step"] / min(best.best_epoch, 1)
    page.section("How it learned")
    page.picture(
        line_chart(
            [_smooth(trained, epoch)],
            title="Training loss",
            x_label="epochs",
            y_label="loss",
        ),
        f"The loss is what training lowers: {result.task_kind.loss_words}. Means over stretches of "
        "steps.",
    )
    # An error is in another unit than the scores.
    names = [
        name
        for name in best.scores[result.deciding]
        if name in evaluated[-1] and not METRICS[name].is_error
    ]
    if not names or len(evaluated) == 1:
        return
    lines = [
        Series(
            METRICS[name].title,
            [record["step"] / epoch for record in evaluated],
            [record.get(name, math.nan) for record in evaluated],
        )
        for name in names
    ]
    shown = [value for line in lines for value in line.y]
    page.picture(
        line_chart(
            lines,
            title="Scores by epoch",
            x_label="epochs",
            y_label=f"score on {result.deciding}",
            marks=_baseline_marks(result, [[name] for name in names], shown),
        ),
        f"Scores after each epoch of the best run. The model after epoch {best.best_epoch:g} was "
        "kept.",
    )


def _smooth(trained: Sequence[dict[str, Any]], epoch: float) -> Series:
    """The training loss as means over stretches of equal length."""
    parts = np.array_split(
        np.array([(record["step"] / epoch, record["loss"]) for record in trained]),
        min(_CURVE_POINTS, len(trained)),
    )
    x, y = np.array([part.mean(axis=0) for part in parts]).T
    return Series("training", x.tolist(), y.tolist())
