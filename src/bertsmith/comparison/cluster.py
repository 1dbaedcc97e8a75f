"""The runs of a comparison side by side on Ray: all pre-trainings, and fine-tunings as they end.

Every run is a task of its own that continues in its own folder, so a machine that is lost costs
what its runs had not saved: Ray starts them again on another one.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bertsmith.comparison.plan import Plan
from bertsmith.comparison.runs import (
    Pretraining,
    Say,
    Tuned,
    do_pretraining,
    do_tuning,
    model_folder,
    silent,
)
from bertsmith.comparison.systems import System
from bertsmith.errors import BertsmithError, FolderError, Stopped, SystemFault
from bertsmith.extras import require
from bertsmith.train.loop import listening
from bertsmith.train.progress import read_metrics
from bertsmith.tuning.result import FinetuneResult

_ADDRESS = "RAY_ADDRESS"
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 20.0
_SAVE_SECONDS = 60.0
"""That runs get to write their checkpoints when all is to stop."""


@dataclass(frozen=True)
class _Run:
    """A task that was handed to Ray."""

    title: str
    tunes: tuple[str, str] | None
    """System and task of a fine-tuning."""


def side_by_side(plan: Plan, todo: list[Pretraining], out: Path, say: Say) -> Tuned:
    """Does all runs on the cluster that `RAY_ADDRESS` names, or else on this machine's cores.

    Args:
        plan: what is compared; with absolute paths.
        todo: the pre-trainings.
        out: folder of the comparison, absolute, which every machine sees.
        say: is told what was done.

    Raises:
        MissingExtra: Ray is not installed.
        SystemFault: the cluster cannot be reached, or the process of a run died again and again.
        Stopped: SIGINT or SIGTERM came; the runs were asked to save what they had.
        BertsmithError: what a run raised.
    """
    ray = find_ray()
    _join(ray)
    waiting: list[Any] = []
    try:
        with listening() as stop:
            cores, gpus = _share(ray, len(todo))
            runs = _submit(ray.remote(num_cpus=cores, num_gpus=gpus), plan, todo, out, cores)
            waiting, told, tuned = list(runs), time.monotonic(), Tuned()
            say(f"{len(runs)} runs on Ray, each on {cores} core{'s' * (cores > 1)}")
            while waiting:
                ended, waiting = ray.wait(waiting, timeout=_LOOK_SECONDS)
                for reference in ended:
                    run, result = runs[reference], _result(ray, reference)
                    if run.tunes is not None:
                        tuned[run.tunes] = result
                    say(f"[{len(runs) - len(waiting)} of {len(runs)} done] {run.title}")
                if stop.signal:
                    where = f"with {len(runs) - len(waiting)} of {len(runs)} runs done"
                    raise Stopped(stop.signal, where)
                if time.monotonic() - told > _TELL_SECONDS:
                    _tell(todo, out, say)
                    told = time.monotonic()
            return tuned
    finally:
        for reference in waiting:
            ray.cancel(reference)
        ray.wait(waiting, num_returns=max(len(waiting), 1), timeout=_SAVE_SECONDS)
        ray.shutdown()


def find_ray() -> Any:
    """The module.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    return require("ray", extra="cluster", purpose="Running side by side")


def _join(ray: Any) -> None:
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise SystemFault(
            f"The Ray cluster at {os.environ.get(_ADDRESS)} does not answer; correct {_ADDRESS}, "
            "or unset it to use this machine alone."
        ) from error


def _share(ray: Any, pretrainings: int) -> tuple[int, int]:
    """Cores and GPUs of a run: so many that all pre-trainings run at once, where there are."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    return max(1, min(max(cores), sum(cores) // pretrainings)), min(gpus, 1)


def _submit(
    remote: Any, plan: Plan, todo: list[Pretraining], out: Path, cores: int
) -> dict[Any, _Run]:
    """All runs by their references; a fine-tuning waits for its pre-training."""
    pretrain, tune = remote(_pretrain), remote(_tune)
    runs, pretrained = {}, {}
    for one in todo:
        reference = pretrain.remote(one, out, cores)
        pretrained[one.system.name] = reference
        what = "pre-training" if one.system.is_trained else "fresh weights"
        runs[reference] = _Run(f"{one.system.title}: {what}", None)
    for task in plan.tasks:
        for system in plan.systems:
            reference = tune.remote(pretrained[system.pretrained], plan, system, task, out, cores)
            title = f"{system.title}: {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}"
            runs[reference] = _Run(title, (system.name, task))
    return runs


def _pretrain(todo: Pretraining, out: Path, cores: int) -> None:
    """The task of a pre-training, in a process of its own."""
    _settle(out, cores)
    do_pretraining(todo, out)


def _tune(
    after: None, plan: Plan, system: System, task: str, out: Path, cores: int
) -> FinetuneResult:
    """The task of a fine-tuning; `after` is what its pre-training returned."""
    _settle(out, cores)
    return do_tuning(plan, system, task, out, silent)


def _settle(out: Path, cores: int) -> None:
    torch.set_num_threads(cores)
    if not out.is_dir():
        raise FolderError(
            f"{os.uname().nodename} does not see {out}; give an --out that every machine of the "
            "cluster sees at the same path."
        )


def _result(ray: Any, reference: Any) -> Any:
    """What a run returned, or its error as it was raised."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BertsmithError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise SystemFault(
            "The process of a run died and could not be started again, perhaps for want of memory; "
            "run the same command with --resume, without --engine ray where it happens again."
        ) from error


def _tell(todo: list[Pretraining], out: Path, say: Say) -> None:
    """How far the pre-trainings are that have begun and are not done."""
    shown = []
    for one in todo:
        folder = model_folder(out, one.system)
        if (folder / "config.json").is_file() or not (folder / "metrics.jsonl").is_file():
            continue
        steps = [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"]
        if steps:
            length = one.config.steps or (one.config.hours or 0) * 3600
            done = steps[-1]["step" if one.config.steps else "elapsed"]
            shown.append(f"{one.system.title} {done / length:.0%}")
    if shown:
        say(f"pre-training: {', '.join(shown)}")
