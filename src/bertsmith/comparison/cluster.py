"""The runs of a comparison in parallel on Ray; fine-tunings start when their pre-training ends.

Every run is a Ray task that continues in its own folder. If its process dies, Ray restarts it,
possibly on another machine, and only unsaved steps are lost.
"""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from bertsmith.comparison.budget import Budget
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.runs import (
    Pretraining,
    Say,
    Tuned,
    do_pretraining,
    do_tuning,
    model_folder,
    tuning_title,
)
from bertsmith.comparison.systems import System
from bertsmith.core.cluster import TRIES, answer_of, joined, load_ray
from bertsmith.core.errors import (
    FolderError,
    Stopped,
    SystemFault,
    UsageError,
    option,
)
from bertsmith.core.runtime import PageLanguage
from bertsmith.core.stop import stop_signal
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.training.progress import read_metrics

_POLL_SECONDS = 1.0
_REPORT_SECONDS = 20.0
_SAVE_SECONDS = 60.0
"""Time for the runs to write their checkpoints when the comparison is stopped."""


def check_side_by_side(plan: Plan) -> None:
    """Refuses a plan that cannot run in parallel.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: the budget of each pre-training is a time.
    """
    load_ray()
    if plan.budget and Budget.parse(plan.budget).unit == "hours":
        raise UsageError(
            f"{option('engine', 'ray')}: parallel runs slow each other down, so "
            f"{option('budget', plan.budget)} would be unfair; give tokens or flops, e.g. "
            "tokens=5e6."
        )


@dataclass(frozen=True)
class _Run:
    """A task submitted to Ray."""

    title: str
    tunes: tuple[str, str] | None = None
    """(system, task) of a fine-tuning."""


class Cluster:
    """The Ray cluster at `RAY_ADDRESS`, or a local one of this machine's cores; a context manager.

    Raises:
        MissingExtra: Ray is not installed.
        SystemFault: from `with`, if the cluster does not answer or does not start.
    """

    def __init__(self) -> None:
        load_ray()  # missing, it is to be told before anything is written
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._ray = self._stack.enter_context(joined())
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def side_by_side(
        self, plan: Plan, todo: list[Pretraining], out: Path, say: Say, language: PageLanguage
    ) -> Tuned:
        """Does all runs in parallel.

        Args:
            plan: settings of the comparison, with absolute paths.
            todo: the pre-trainings.
            out: folder of the comparison, absolute.
            say: called with a line for each finished run.
            language: language of the reports.

        Raises:
            SystemFault: no machine has room for a run, or a run failed for good.
            Stopped: SIGINT or SIGTERM was received; the runs were told to save.
            FolderError: a machine cannot access the folders, or a run's folder is damaged.
            BertsmithError: any other error of a run.
        """
        ray = self._ray
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores, gpus = share(machines, len(todo))
        tuned: Tuned = {}
        waiting: list[Any] = []
        with stop_signal() as stop:
            try:
                runs = self._submit(plan, todo, out, cores, gpus, language)
                waiting, reported = list(runs), time.monotonic()
                say(f"{len(runs)} runs on Ray, each on {cores} core{'s' * (cores > 1)}")
                while waiting:
                    ended, waiting = ray.wait(waiting, timeout=_POLL_SECONDS)
                    done = f"{len(runs) - len(waiting)} of {len(runs)}"
                    for reference in ended:
                        run = runs[reference]
                        result = answer_of(ray, reference, run.title)
                        if run.tunes is not None:
                            tuned[run.tunes], lines = result
                            for line in lines if run.tunes[0] == plan.systems[0].name else ():
                                say(line)
                        say(f"[{done} done] {run.title}")
                    if stop.number:
                        raise Stopped(stop.number, f"with {done} runs done")
                    if time.monotonic() - reported > _REPORT_SECONDS:
                        reported = time.monotonic()
                        if line := progress_line(todo, out):
                            say(line)
            except BaseException:
                self._let_save(waiting, say)
                raise
        return tuned

    def _submit(
        self,
        plan: Plan,
        todo: list[Pretraining],
        out: Path,
        cores: int,
        gpus: int,
        language: PageLanguage,
    ) -> dict[Any, _Run]:
        """Submits all runs, by reference; fine-tunings wait for their pre-training."""
        # A machine that shuts down terminates its runs, which report it as a stop.
        remote = self._ray.remote(
            num_cpus=cores, num_gpus=gpus, max_retries=TRIES, retry_exceptions=[Stopped]
        )
        pretrain, tune = remote(_pretrain), remote(_tune)
        runs, pretrained = {}, {}
        for one in todo:
            reference = pretrain.remote(one, out, cores)
            pretrained[one.system.name] = reference
            runs[reference] = _Run(one.title)
        for task in plan.tasks:
            for system in plan.systems:
                after = pretrained[system.pretrained]
                reference = tune.remote(after, plan, system, task, out, cores, language)
                title = tuning_title(plan, system, task)
                runs[reference] = _Run(title, (system.name, task))
        return runs

    def _let_save(self, waiting: list[Any], say: Say) -> None:
        """Stops the runs and waits for their checkpoints."""
        if not waiting:
            return
        say("waiting for the runs to save their checkpoints")
        for reference in waiting:
            self._ray.cancel(reference)
        _, late = self._ray.wait(waiting, num_returns=len(waiting), timeout=_SAVE_SECONDS)
        if late:
            say(f"{len(late)} runs did not save in time; they will continue from older checkpoints")


def share(machines: Sequence[dict[str, float]], runs: int) -> tuple[int, int]:
    """Cores and GPUs per run: the most cores that do not reduce the number of parallel runs.

    Args:
        machines: resources of each machine, as Ray reports them.
        runs: number of runs to do at once.

    Raises:
        SystemFault: no machine offers a core.
    """
    with_gpu = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    gpus = 1 if with_gpu else 0
    sizes = [
        (int(machine.get("CPU", 0)), int(machine.get("GPU", 0))) for machine in with_gpu or machines
    ]

    def at_once(cores: int) -> int:
        return sum(min(size // cores, count) if gpus else size // cores for size, count in sizes)

    wanted = min(runs, at_once(1))
    if not wanted:
        raise SystemFault(
            "No machine of the Ray cluster offers a core; add machines, or repeat the command "
            f"without {option('engine', 'ray')}."
        )
    largest = max(size for size, _ in sizes)
    return max(cores for cores in range(1, largest + 1) if at_once(cores) >= wanted), gpus


def progress_line(todo: Sequence[Pretraining], out: Path) -> str:
    """Progress of the running pre-trainings; empty if there are none."""
    shown = []
    for one in todo:
        folder = model_folder(out, one.system)
        if (folder / "config.json").is_file() or not (folder / "metrics.jsonl").is_file():
            continue
        steps = [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"]
        if steps and one.config.steps:
            shown.append(f"{one.system.title} {steps[-1]['step'] / one.config.steps:.0%}")
    return f"pre-training: {', '.join(shown)}" if shown else ""


# --- in the processes of the cluster ------------------------------------------------------------


def _pretrain(todo: Pretraining, out: Path, cores: int) -> None:
    _set_up(cores, out, todo.config.data)
    do_pretraining(todo, out)


def _tune(
    after: None,
    plan: Plan,
    system: System,
    task: str,
    out: Path,
    cores: int,
    language: PageLanguage,
) -> tuple[FinetuneResult, list[str]]:
    """The result and the notes on the data; `after` makes Ray wait for the pre-training."""
    _set_up(cores, out, plan.corpus, plan.data)
    notes: list[str] = []
    return do_tuning(plan, system, task, out, notes.append, language), notes


def _set_up(cores: int, *folders: Path | str) -> None:
    torch.set_num_threads(cores)
    for folder in folders:
        if not Path(folder).is_dir():
            raise FolderError(
                f"{os.uname().nodename} cannot access {folder}; the corpus, the data and "
                f"{option('out')} must have the same paths on every machine of the cluster."
            )
