"""The job: pre-trainings and fine-tunings of all systems, then the numbers and the page."""

import sys
import time
from collections import Counter
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.comparison.bootstrap import (
    Difference,
    Scores,
    difference,
    mean_scores,
    scores_of,
)
from bertsmith.comparison.cluster import Cluster, check_side_by_side
from bertsmith.comparison.insight import look_inside
from bertsmith.comparison.matching import count_parameters, matched_shapes
from bertsmith.comparison.page import write_page
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.result import Compared, Curve, SystemResult, TaskAbout
from bertsmith.comparison.runs import (
    Pretraining,
    Tuned,
    model_folder,
    one_after_another,
    plan_pretraining,
    shape_file,
)
from bertsmith.comparison.systems import ABLATIONS, System
from bertsmith.config import Engine
from bertsmith.corpus.shards import Corpus
from bertsmith.errors import UsageError
from bertsmith.files import read_json, write_json
from bertsmith.models.architectures import NAMES
from bertsmith.report import canvas
from bertsmith.runtime import derive_seed
from bertsmith.shape_files import shape_keys
from bertsmith.tasks.decode import gold, said
from bertsmith.train.progress import read_metrics
from bertsmith.train.start import check_same_settings
from bertsmith.tuning import data as finetune_data
from bertsmith.tuning.data import Parts, Source
from bertsmith.tuning.result import FinetuneResult, summarise
from bertsmith.tuning.run import read_predictions

PLAN = "plan.json"
RESULT = "compare.json"
REPORT = "compare.html"
MEAN = "mean"
"""The name under which differences stand that are of the mean over all tasks."""


def compare(plan: Plan, out: Path, *, resume: bool = False, engine: Engine = "local") -> Compared:
    """Trains and scores all systems of a plan, and writes `compare.json` and `compare.html`.

    Args:
        plan: what is compared.
        out: folder of the comparison; must not hold anything unless `resume`.
        resume: continue in `out`: what is done is not done again. There may be more systems, tasks
            or seeds than before.
        engine: `local` does one run after the other here, `ray` several at a time on a cluster,
            all of whose machines see `out`, the corpus and the data at the same paths.

    Raises:
        MissingExtra: Ray is asked for and not installed.
        UsageError: an unknown name, a budget too small or one that Ray cannot keep, or, on a
            resume, other settings.
        DataError: files that cannot be read.
        FolderError: the corpus or a run is missing or damaged.
        DivergedError: a loss or the gradient of a run stopped being finite.
        Stopped: SIGINT or SIGTERM ended it; everything so far was saved.
        SystemFault: the disk is full, memory ran out, ...
    """
    began = time.monotonic()
    # 1. Everything that can be wrong in what the user gave, before anything is written.
    canvas.matplotlib("figure")  # the page at the end must not be what fails
    plan = plan.check()
    if engine == "ray":
        out, plan = out.resolve(), plan.resolved()
        check_side_by_side(plan)
    _check_folder(out, plan, resume=resume)
    corpus = Corpus.open(Path(plan.corpus))
    parts = {
        task: finetune_data.read(
            Source(task=task, data=plan.data), seed=derive_seed(plan.seed, "split")
        )
        for task in plan.tasks
    }
    for found in parts.values():
        finetune_data.inspect(found)
    shapes = matched_shapes(plan.size, vocab_size=corpus.manifest.vocab_size)
    todo = {
        system.name: plan_pretraining(plan, system, shapes, corpus, out)
        for system in _pretrained(plan.systems)
    }

    # 2. The runs.
    with ExitStack() as stack:
        do_all = one_after_another
        if engine == "ray":
            do_all = stack.enter_context(Cluster()).side_by_side
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / PLAN, plan)
        (out / "shapes").mkdir(exist_ok=True)
        for name, shape in shapes.items():
            write_json(shape_file(out, name), shape_keys(shape))
        tuned = do_all(plan, list(todo.values()), out, _say)

    # 3. The numbers and the page; the result comes last: the comparison is done.
    result = Compared(
        out=str(out),
        report=str(out / REPORT),
        plan=plan,
        engine=engine,
        corpus_documents=corpus.manifest.documents("train"),
        corpus_tokens=corpus.manifest.tokens("train"),
        vocab_size=corpus.manifest.vocab_size,
        tasks=[_about(tuned[plan.systems[0].name, task]) for task in plan.tasks],
        systems=[
            _system(plan, system, todo[system.pretrained], out, tuned) for system in plan.systems
        ],
        differences=_differences(plan, tuned, parts),
        insight=look_inside(
            {
                system.name: model_folder(out, system)
                for system in plan.systems
                if system.is_trained and system.knows_masks and not system.trained_as
            },
            corpus,
            _say,
        ),
        seconds=time.monotonic() - began,
    )
    write_page(result, out / REPORT)
    write_json(out / RESULT, result)
    return result


# What may grow on a resume, because what is done stays done; paths may differ.
_GROWING = ("models", "ablations", "tasks", "seeds")
_FREE = frozenset({"corpus", "data", *_GROWING})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
        _check_grown(read_json(out / PLAN, Plan), plan)
        return
    if resume:
        _say(f"{out} holds no comparison yet: a new one begins.")
    if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise UsageError(
            f"--out {out} holds something else than a comparison ({PLAN} is not there); choose "
            "another folder."
        )


def _check_grown(old: Plan, new: Plan) -> None:
    """Refuses to lose what an earlier call has compared."""
    for name in _GROWING:
        before, now = getattr(old, name), getattr(new, name)
        if name == "seeds":
            lost = [str(before)] if now < before else []
        else:
            lost = [one for one in before if one not in now]
        if lost:
            raise UsageError(
                f"--resume: the comparison has --{name} {', '.join(lost)}, which you leave out; "
                "give at least what it has, or compare in another folder."
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
    tuned: Tuned,
) -> SystemResult:
    folder = model_folder(out, system)
    records = read_metrics(folder / "metrics.jsonl") if system.is_trained else []
    of_kind = {row["kind"]: row for row in records}
    steps = [row for row in records if row["kind"] == "train"]
    lengths = Counter(row["length"] for row in steps)
    tokens = steps[-1]["tokens"] if steps else 0
    asked = sum(count * todo.steps[length].word_predictions for length, count in lengths.items())
    read = sum(count * todo.steps[length].tokens for length, count in lengths.items())
    results = {task: tuned[system.name, task] for task in plan.tasks}
    return SystemResult(
        name=system.name,
        title=system.title,
        architecture=NAMES[todo.config.model],
        direction=system.direction,
        objective=system.objective,
        tuned_as=system.tuned_as,
        pretrained=system.pretrained,
        model=str(folder),
        parameters=count_parameters(todo.shape, pair_task=todo.config.pair_task != "none"),
        steps=len(steps),
        tokens=tokens,
        flops=sum(count * todo.flops(length) for length, count in lengths.items()),
        seconds=steps[-1]["elapsed"] if steps else 0.0,
        predictions_per_token=asked / read if read else 0.0,
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


def _differences(plan: Plan, tuned: Tuned, parts: dict[str, Parts]) -> list[Difference]:
    scores: dict[tuple[str, str], Scores] = {}
    for (name, task), result in tuned.items():
        labels, kind = parts[task].labels, parts[task].task.kind
        answers = [read_predictions(Path(run.out)) for run in result.runs]
        scores[name, task] = scores_of(
            result.deciding_metrics,
            gold(kind, parts[task].evaluated[result.deciding], labels),
            [said(kind, given, labels) for given in answers],
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
