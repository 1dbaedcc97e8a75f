"""The numbers of a comparison, read from the folders of its runs."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.comparison.bootstrap import Difference, Scores, difference, mean_scores, scores_of
from bertsmith.comparison.matching import count_parameters
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.result import MEAN, Curve, SystemResult, TaskAbout
from bertsmith.comparison.runs import Pretraining, Tuned, model_folder
from bertsmith.comparison.systems import System
from bertsmith.finetuning.best_epoch import read_predictions
from bertsmith.finetuning.data import Parts
from bertsmith.finetuning.result import FinetuneResult, summarise
from bertsmith.training.progress import read_metrics


def about_task(result: FinetuneResult) -> TaskAbout:
    """Describes a task, from any system's fine-tuning."""
    found = [result.baseline.get(name) for name in result.deciding_metrics]
    defined = [value for value in found if value is not None]
    return TaskAbout(
        name=result.task,
        title=result.title,
        metrics=result.deciding_metrics,
        train_examples=result.inspection.examples["train"],
        dev_examples=result.inspection.examples["dev"],
        baseline=float(np.mean(defined)) if defined else None,
    )


def about_system(
    plan: Plan,
    system: System,
    todo: Pretraining,
    out: Path,
    tuned: Tuned,
) -> SystemResult:
    """The result of a system, from its pre-training's folder and its fine-tunings."""
    folder = model_folder(out, system)
    records = read_metrics(folder / "metrics.jsonl") if system.is_trained else []
    of_kind = {row["kind"]: row for row in records}
    steps = [row for row in records if row["kind"] == "train"]
    lengths = Counter(row["length"] for row in steps)
    tokens = steps[-1]["tokens"] if steps else 0
    predicted = sum(
        count * todo.steps[length].word_predictions for length, count in lengths.items()
    )
    read = sum(count * todo.steps[length].tokens for length, count in lengths.items())
    results = {task: tuned[system.name, task] for task in plan.tasks}
    return SystemResult(
        name=system.name,
        title=system.title,
        architecture=todo.model_config.display_name,
        direction=system.direction,
        objective=system.objective,
        tuned_as=system.tuned_as,
        pretrained=system.pretrained,
        model=str(folder),
        parameters=count_parameters(todo.model_config, pair_task=todo.config.pair_task != "none"),
        steps=len(steps),
        tokens=tokens,
        flops=sum(count * todo.flops(length) for length, count in lengths.items()),
        seconds=steps[-1]["elapsed"] if steps else 0.0,
        predictions_per_token=predicted / read if read else 0.0,
        evaluation=_numbers(of_kind.get("evaluation", {})),
        baseline=_numbers(of_kind.get("baseline", {})),
        curve=_curve(records),
        scores={
            task: summarise([run.main for run in result.runs]) for task, result in results.items()
        },
        runs={task: [run.main for run in result.runs] for task, result in results.items()},
        metrics={
            task: {
                name: summarise([run.scores[result.deciding][name] for run in result.runs])
                for name in result.best_run.scores[result.deciding]
            }
            for task, result in results.items()
        },
        degenerate={task: len(result.degenerate) for task, result in results.items()},
        unknown={task: result.lengths.unknown for task, result in results.items()},
        tuning_seconds={
            task: float(np.mean([run.seconds for run in result.runs]))
            for task, result in results.items()
        },
    )


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.endswith(("_loss", "_accuracy"))}


def _curve(records: list[dict[str, Any]]) -> Curve:
    """Held-out losses with the tokens and seconds at the last training step before each."""
    curve = Curve(tokens=[], seconds=[], loss=[])
    tokens, seconds = 0, 0.0
    for row in records:
        if row["kind"] == "train":
            tokens, seconds = row["tokens"], row["elapsed"]
        elif row["kind"] == "evaluation":
            losses = [
                value
                for name, value in row.items()
                if name.endswith("_loss") and not name.startswith("nsp")
            ]
            curve.tokens.append(tokens)
            curve.seconds.append(seconds)
            curve.loss.append(float(np.mean(losses)))
    return curve


def differences(plan: Plan, tuned: Tuned, parts: Mapping[str, Parts]) -> list[Difference]:
    """Differences of every pair of systems, on every task and on their mean."""
    scores: dict[tuple[str, str], Scores] = {}
    for (name, task), result in tuned.items():
        labels, kind = parts[task].labels, parts[task].task.kind
        answers = [read_predictions(Path(run.out), kind) for run in result.runs]
        scores[name, task] = scores_of(
            result.deciding_metrics,
            kind.references(parts[task].evaluated[result.deciding], labels),
            [kind.predictions(given, labels) for given in answers],
        )
    found = []
    for first, second in combinations([system.name for system in plan.systems], 2):
        pairs = {task: (scores[first, task], scores[second, task]) for task in plan.tasks}
        if len(pairs) > 1:
            sides = zip(*pairs.values(), strict=True)
            one, other = (mean_scores(side) for side in sides)
            pairs[MEAN] = (one, other)
        for task, (one, other) in pairs.items():
            value, interval = difference(one, other)
            found.append(
                Difference(task=task, first=first, second=second, value=value, interval=interval)
            )
    return found
