"""The job: pre-trainings and fine-tunings of all systems, then the numbers and the page."""

import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.comparison.bootstrap import Difference, Floats, difference, resampled_scores
from bertsmith.comparison.insight import look_inside
from bertsmith.comparison.matching import count_parameters, matched_shapes
from bertsmith.comparison.page import write_page
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.result import Compared, Curve, SystemResult, TaskAbout
from bertsmith.comparison.runs import (
    Pretraining,
    do_pretraining,
    do_tunings,
    model_folder,
    plan_pretraining,
    shape_file,
)
from bertsmith.comparison.systems import ABLATIONS, System
from bertsmith.corpus.shards import Corpus
from bertsmith.errors import UsageError
from bertsmith.files import write_json
from bertsmith.models.architectures import NAMES
from bertsmith.report import canvas
from bertsmith.runtime import derive_seed
from bertsmith.shape_files import shape_keys
from bertsmith.tasks.decode import gold, said
from bertsmith.train.progress import read_metrics
from bertsmith.train.start import check_same_settings
from bertsmith.tuning import data as finetune_data
from bertsmith.tuning.data import Source
from bertsmith.tuning.result import FinetuneResult, summarise
from bertsmith.tuning.run import read_predictions

PLAN = "plan.json"
RESULT = "compare.json"
REPORT = "compare.html"
MEAN = "mean"
"""The name under which differences stand that are of the mean over all tasks."""


def compare(plan: Plan, out: Path, *, resume: bool = False) -> Compared:
    """Trains and scores all systems of a plan, and writes `compare.json` and `compare.html`.

    Args:
        plan: what is compared.
        out: folder of the comparison; must not hold anything unless `resume`.
        resume: continue in `out`: what is done is not done again. There may be more systems, tasks
            or seeds than before.

    Raises:
        UsageError: an unknown name, a budget too small, or, on a resume, other settings.
        DataError: files that cannot be read.
        FolderError: the corpus or a run is missing or damaged.
        DivergedError: a loss or the gradient of a run stopped being finite.
        Stopped: SIGINT or SIGTERM ended it; everything so far was saved.
        SystemFault: the disk is full, memory ran out, ...
    """
    began = time.monotonic()
    # 1. Everything that can be wrong in what the user gave, before anything is written.
    canvas.matplotlib("figure")  # the page at the end must not be what fails
    plan.check()
    _check_folder(out, plan, resume=resume)
    corpus = Corpus.open(Path(plan.corpus))
    for task in plan.tasks:
        finetune_data.read(Source(task=task, data=plan.data), seed=0)
    shapes = matched_shapes(plan.size, vocab_size=corpus.manifest.vocab_size)
    todo = {
        system.name: plan_pretraining(plan, system, shapes, corpus, out)
        for system in _pretrained(plan.systems)
    }
    (out / "shapes").mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, plan)
    for name, shape in shapes.items():
        write_json(shape_file(out, name), shape_keys(shape))

    # 2. The runs.
    for number, one in enumerate(todo.values(), 1):
        do_pretraining(one, out, _numbered(number, len(todo)))
    tuned: dict[tuple[str, str], FinetuneResult] = {}
    number, total = 0, len(plan.tasks) * len(plan.systems)

    def say_next(line: str) -> None:
        nonlocal number
        number += line.endswith(_SEEDS)
        _say(f"[{number} of {total}] {line}" if line.endswith(_SEEDS) else line)

    for system, task, found in do_tunings(plan, out, say_next):
        tuned[system.name, task] = found

    # 3. The numbers and the page; the result comes last: the comparison is done.
    result = Compared(
        out=str(out),
        report=str(out / REPORT),
        plan=plan,
        corpus_documents=corpus.manifest.documents("train"),
        corpus_tokens=corpus.manifest.tokens("train"),
        vocab_size=corpus.manifest.vocab_size,
        tasks=[_about(tuned[plan.systems[0].name, task]) for task in plan.tasks],
        systems=[
            _system(plan, system, todo[system.pretrained], out, tuned) for system in plan.systems
        ],
        differences=_differences(plan, tuned),
        insight=look_inside(
            {
                system.name: model_folder(out, system)
                for system in plan.systems
                if system.is_trained and not system.trained_as
            },
            corpus,
            _say,
        ),
        seconds=time.monotonic() - began,
    )
    write_page(result, out / REPORT)
    write_json(out / RESULT, result)
    return result


_SEEDS = ("seed", "seeds")
# What may differ on a resume: paths, and how much is compared, because what is done stays done.
_FREE = frozenset({"corpus", "data", "models", "ablations", "tasks", "seeds"})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _numbered(number: int, total: int) -> Any:
    return lambda line: _say(f"[{number} of {total}] {line}")


def _check_folder(out: Path, plan: Plan, *, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    if (out / PLAN).is_file():
        if not resume:
            raise UsageError(
                f"--out {out} already holds a comparison; add --resume to continue it, or choose "
                "another folder."
            )
        check_same_settings(out / PLAN, plan, free=_FREE)
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise UsageError(
            f"--out {out} holds something else than a comparison ({PLAN} is not there); choose "
            "another folder."
        )


def _pretrained(systems: list[System]) -> list[System]:
    """Those whose pre-training must be done: of each system its own, or the one that it uses."""
    known = {system.name: system for rows in ABLATIONS.values() for system in rows}
    needed = [known[system.trained_as] if system.trained_as else system for system in systems]
    return list({system.name: system for system in needed}.values())


def _about(result: FinetuneResult) -> TaskAbout:
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


def _system(
    plan: Plan,
    system: System,
    todo: Pretraining,
    out: Path,
    tuned: dict[tuple[str, str], FinetuneResult],
) -> SystemResult:
    folder = model_folder(out, system)
    records = read_metrics(folder / "metrics.jsonl") if system.is_trained else []
    of_kind = {row["kind"]: row for row in records}
    last = of_kind.get("train", {"step": 0, "tokens": 0, "elapsed": 0.0})
    results = {task: tuned[system.name, task] for task in plan.tasks}
    return SystemResult(
        name=system.name,
        title=system.title,
        architecture=NAMES[todo.config.model],
        direction=system.direction,
        objective=system.objective,
        pretrained=system.pretrained,
        model=str(folder),
        parameters=count_parameters(todo.shape),
        steps=last["step"],
        tokens=last["tokens"],
        flops=last["step"] * todo.flops,
        seconds=last["elapsed"],
        predictions_per_token=todo.step.word_predictions / todo.step.tokens,
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
        tuning_seconds={
            task: float(np.mean([run.seconds for run in result.runs]))
            for task, result in results.items()
        },
    )


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.endswith(("_loss", "_accuracy"))}


def _curve(records: list[dict[str, Any]]) -> Curve:
    """Held-out losses, with the tokens and seconds of the training step before each."""
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


def _differences(plan: Plan, tuned: dict[tuple[str, str], FinetuneResult]) -> list[Difference]:
    scores: dict[tuple[str, str], Floats] = {}
    for task in plan.tasks:
        parts = finetune_data.read(
            Source(task=task, data=plan.data), seed=derive_seed(plan.seed, "split")
        )
        for system in plan.systems:
            result = tuned[system.name, task]
            examples = parts.evaluated[result.deciding]
            kind = parts.task.kind
            scores[system.name, task] = resampled_scores(
                result.deciding_metrics,
                gold(kind, examples, parts.labels),
                [said(kind, read_predictions(Path(run.out)), parts.labels) for run in result.runs],
            )
    found = []
    for first, second in combinations([system.name for system in plan.systems], 2):
        pairs = {task: (scores[first, task], scores[second, task]) for task in plan.tasks}
        for task, (one, other) in pairs.items():
            found.append(_difference(task, first, second, one, other))
        if len(pairs) > 1:
            means = [np.mean([pair[side] for pair in pairs.values()], axis=0) for side in (0, 1)]
            found.append(_difference(MEAN, first, second, *means))
    return found


def _difference(task: str, first: str, second: str, one: Floats, other: Floats) -> Difference:
    value, interval = difference(one, other)
    return Difference(task=task, first=first, second=second, value=value, interval=interval)
