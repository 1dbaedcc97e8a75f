"""Sections of a fine-tuning's page: scores, runs and training curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.finetuning.result import FinetuneResult
from bertsmith.finetuning.run import RunResult
from bertsmith.reports.charts import Dots, Mark, Series, dots_chart, line_chart
from bertsmith.reports.language import listed, t
from bertsmith.reports.page import Report
from bertsmith.tasks import metrics
from bertsmith.tasks.metric import score_text
from bertsmith.tasks.metrics import METRICS
from bertsmith.training.progress import read_metrics

_CURVE_POINTS = 60


def baseline_title(result: FinetuneResult) -> str:
    """What the baseline predicts, e.g. `baseline (majority class)`."""
    return t("baseline ({name})", name=t(result.task_kind.baseline_name))


def write_scores(page: Report, result: FinetuneResult) -> None:
    """Writes the scores and what each metric means."""
    best = result.best_run
    meanings = [t(METRICS[name].meaning) for name in best.scores[result.deciding]]
    if "f1" in best.scores[result.deciding]:
        place = list(best.scores[result.deciding]).index("f1")
        meanings[place] += t(" ") + t("The class here is “{name}”.", name=result.labels[1])
    page.section(t("Scores"), t(" ").join(meanings))
    several = any(found.runs > 1 for found in result.summary[result.deciding].values())
    columns = [t("split"), t("score"), t("best run"), t("95% interval"), baseline_title(result)]
    rows: list[list[object]] = []
    for part, scores in best.scores.items():
        for name, value in scores.items():
            row: list[object] = [part, t(METRICS[name].title), t(score_text(value)), None, None]
            if part == result.deciding and name in result.intervals:
                low, high = result.intervals[name]
                row[3] = t("{low} to {high}", low=score_text(low), high=score_text(high))
            if part == result.deciding and name in result.baseline:
                row[4] = t(score_text(result.baseline[name]))
            if several:
                found = result.summary[part][name]
                row += [score_text(found.mean), score_text(found.deviation), found.runs]
            rows.append(row)
    page.table(columns + [t("mean"), t("deviation"), t("runs")] * several, rows)
    notes = []
    if result.intervals:
        notes.append(
            t(
                "The 95% interval comes from a bootstrap over the examples: it shows how much of "
                "the score is due to the choice of examples."
            )
        )
    if several:
        notes.append(
            t(
                "Mean and standard deviation are over runs that differ only in their seed, which "
                "decides the initial output layer, the order of the examples and the dropout."
            )
        )
    chosen = t("The best epoch was selected on {split}, so expect slightly lower scores on new "
               "examples.", split=result.deciding)  # fmt: skip
    if len(result.runs) > 1:
        chosen = t(
            "The best epoch and the best run were selected on {split}, so expect slightly lower "
            "scores on new examples.",
            split=result.deciding,
        )
    page.text(t(" ").join([*notes, chosen]))


def write_runs(page: Report, result: FinetuneResult) -> None:
    """Writes the score of every run, the best first."""
    ranked = sorted(result.runs, key=lambda run: -run.main)
    titles = [t(METRICS[name].title) for name in result.deciding_metrics]
    score = titles[0] if len(titles) == 1 else t("mean of {scores}", scores=listed(titles))
    groups: dict[str, list[float]] = {}
    for run in ranked:
        # As in the mean, a run that learned nothing does not count.
        groups.setdefault(_setting(run), []).append(math.nan if run.degenerate else run.main)
    page.section(t("Runs"))
    caption = t(
        "Each dot is a run, each row a setting: learning rate, batch size, epochs. Beside it the "
        "mean and the standard deviation."
    )
    if result.degenerate:
        caption += t(" ") + t(
            "A run that is no better than the baseline has failed, without a dot."
        )
    page.picture(
        dots_chart(
            [Dots(name, mains) for name, mains in groups.items()],
            title=t("Scores of the runs"),
            x_label=t("{score} on {split}", score=score, split=result.deciding),
            marks=_baseline_marks(
                result,
                [result.deciding_metrics],
                [run.main for run in ranked if not run.degenerate],
            ),
        ),
        caption,
    )
    columns = t("learning rate"), t("batch size"), t("epochs"), t("seed"), score, t("best epoch")
    page.table(
        [*columns, ""],
        [
            [
                f"{run.learning_rate:g}",
                run.batch_size,
                run.epochs,
                run.seed,
                f"{run.main:.4f}",
                f"{run.best_epoch:g}",
                t("kept")
                if run is result.best_run
                else t("no better than the baseline") * run.degenerate,
            ]
            for run in ranked
        ],
    )


def _setting(run: RunResult) -> str:
    return f"{run.learning_rate:g}, {run.batch_size}, {run.epochs}"


def _baseline_marks(
    result: FinetuneResult, chosen: Sequence[Sequence[str]], shown: Sequence[float]
) -> list[Mark]:
    """Lines of the baseline, each for the mean of some metrics.

    A baseline far below all scores gets no line, because it would squeeze them together.
    """
    names: dict[float, list[str]] = {}
    for row in chosen:
        scores = {name: result.baseline.get(name) for name in row}
        if any(value is not None for value in scores.values()):
            titles = [t(METRICS[name].title) for name in row]
            names.setdefault(metrics.main(scores), []).extend(titles)
    values = [value for value in shown if math.isfinite(value)]
    room = 2 * (max(values) - min(values)) if values else math.inf
    return [
        Mark(f"{baseline_title(result)}{t(': ')}{listed(titles)}", at)
        for at, titles in names.items()
        if not values or min(values) - at <= room
    ]


def write_curves(page: Report, result: FinetuneResult) -> None:
    """Writes the loss and the scores of the best run by epoch.

    Raises:
        FolderError: its `metrics.jsonl` is damaged.
    """
    best = result.best_run
    records = read_metrics(Path(best.out) / "metrics.jsonl")
    trained = [record for record in records if record["kind"] == "train"]
    evaluated = [record for record in records if record["kind"] == "evaluation"]
    # Steps per epoch; a run that ended within its first epoch was evaluated only at its end.
    epoch = evaluated[0]["step"] / min(best.best_epoch, 1)
    page.section(t("Training"))
    page.picture(
        line_chart(
            [_smooth(trained, epoch)],
            title=t("Training loss"),
            x_label=t("epochs"),
            y_label=t("loss"),
        ),
        t("Loss: {loss}, averaged over short spans of steps.", loss=t(result.task_kind.loss_words)),
    )
    # An error has another unit than the scores.
    names = [
        name
        for name in best.scores[result.deciding]
        if name in evaluated[-1] and not METRICS[name].is_error
    ]
    if not names or len(evaluated) == 1:
        return
    lines = [
        Series(
            t(METRICS[name].title),
            [record["step"] / epoch for record in evaluated],
            [record.get(name, math.nan) for record in evaluated],
        )
        for name in names
    ]
    shown = [value for line in lines for value in line.y]
    page.picture(
        line_chart(
            lines,
            title=t("Scores by epoch"),
            x_label=t("epochs"),
            y_label=t("score on {split}", split=result.deciding),
            marks=_baseline_marks(result, [[name] for name in names], shown),
        ),
        t(
            "Scores of the best run after each epoch. The model of epoch {epoch:g} was kept.",
            epoch=best.best_epoch,
        ),
    )


def _smooth(trained: Sequence[dict[str, Any]], epoch: float) -> Series:
    """The training loss, averaged over spans of equal length."""
    parts = np.array_split(
        np.array([(record["step"] / epoch, record["loss"]) for record in trained]),
        min(_CURVE_POINTS, len(trained)),
    )
    x, y = np.array([part.mean(axis=0) for part in parts]).T
    return Series(t("training"), x.tolist(), y.tolist())
