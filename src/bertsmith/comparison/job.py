"""The job: pre-trainings and fine-tunings of all systems, then the numbers and the page."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bertsmith.comparison.budget import Budget
from bertsmith.comparison.cluster import Cluster, check_side_by_side
from bertsmith.comparison.matching import matched_configs
from bertsmith.comparison.numbers import about_system, about_task, differences
from bertsmith.comparison.page import write_page
from bertsmith.comparison.pairs import CheckedPairs, check_pairs, pair_differences, score_pairs
from bertsmith.comparison.plan import HOURS, Plan
from bertsmith.comparison.probing import look_inside
from bertsmith.comparison.result import Compared
from bertsmith.comparison.runs import (
    Pretraining,
    model_folder,
    one_after_another,
    sample,
    with_length,
    write_model_configs,
)
from bertsmith.comparison.speed import measure
from bertsmith.comparison.systems import ABLATIONS, System
from bertsmith.comparison.timetable import (
    FEWEST_TOKENS,
    Speeds,
    Timetable,
    make_timetable,
    tokens_within,
    told,
)
from bertsmith.comparison.verdict import verdicts
from bertsmith.core.errors import UsageError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import Engine, derive_seed
from bertsmith.core.storage import read_json, write_json
from bertsmith.core.terminal import say
from bertsmith.corpus.shards import Corpus
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning.data import Parts, Source
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.reports import svg

PLAN = "plan.json"
TIMETABLE = "timetable.json"
RESULT = "compare.json"
REPORT = "compare.html"


@dataclass(frozen=True)
class _Ready:
    """A comparison that nothing is wrong with, as far as can be seen before it begins."""

    plan: Plan
    """With its budget."""
    corpus: Corpus
    parts: dict[str, Parts]
    model_configs: dict[FamilyName, ModelConfig]
    todo: dict[str, Pretraining]
    """By system."""
    pairs: CheckedPairs | None
    """Minimal pairs to score."""
    timetable: Timetable | None
    """Where speeds were measured, now or when the comparison began."""


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
    if engine == "ray":
        out, plan = out.resolve(), plan.resolved()
    ready = _prepare(plan, out, resume=resume, engine=engine)
    plan, corpus, todo = ready.plan, ready.corpus, ready.todo
    for line in _start_notes(ready, out):
        say(line)

    # 2. The runs.
    with ExitStack() as stack:
        do_all = one_after_another
        if engine == "ray":
            do_all = stack.enter_context(Cluster()).side_by_side
        stack.enter_context(job_folder(out).enter())
        if ready.timetable is not None:
            write_json(out / TIMETABLE, ready.timetable)
        write_json(out / PLAN, plan)
        write_model_configs(out, ready.model_configs)
        tuned = do_all(plan, list(todo.values()), out, say)

    # 3. The numbers and the page; the result comes last: the comparison is done.
    systems = [
        about_system(plan, system, todo[system.pretrained], out, tuned) for system in plan.systems
    ]
    pairs = {} if ready.pairs is None else score_pairs(plan, out, ready.pairs, say)
    found = [*differences(plan, tuned, ready.parts), *pair_differences(pairs)]
    result = Compared(
        out=str(out),
        report=str(out / REPORT),
        plan=plan,
        engine=engine,
        corpus_documents=corpus.manifest.documents("train"),
        corpus_tokens=corpus.manifest.tokens("train"),
        vocab_size=corpus.manifest.vocab_size,
        tasks=[about_task(tuned[plan.systems[0].name, task]) for task in plan.tasks],
        systems=systems,
        differences=found,
        verdicts=verdicts(
            list(dict.fromkeys(one.task for one in found)), [one.name for one in systems], found
        ),
        pairs=pairs,
        insight=look_inside(
            {
                system.name: model_folder(out, system)
                for system in plan.systems
                if system.is_trained and system.knows_masks and not system.trained_as
            },
            corpus,
            say,
        ),
        timetable=ready.timetable,
        seconds=time.monotonic() - began,
    )
    write_page(result, out / REPORT)
    write_json(out / RESULT, result)
    return result


def _start_notes(ready: _Ready, out: Path) -> Iterator[str]:
    """What to report when the comparison begins."""
    plan = ready.plan
    if ready.timetable is not None:
        yield from told(ready.timetable, plan, ready.corpus.manifest.tokens("train"))
    trained = sum(one.system.is_trained for one in ready.todo.values())
    tunings = len(plan.systems) * len(plan.tasks) * plan.seeds
    yield f"Plan: {trained} pre-trainings, then {tunings} fine-tunings. Output: {out}."


def foresee(
    plan: Plan, out: Path, *, resume: bool = False, engine: Engine = "local"
) -> tuple[Timetable, list[str]]:
    """What `compare` would do and when, also for people; measures speeds and writes nothing.

    The arguments and errors are those of `compare`.
    """
    ready = _prepare(plan, out, resume=resume, engine=engine, measured=True)
    assert ready.timetable is not None
    lines = told(ready.timetable, ready.plan, ready.corpus.manifest.tokens("train"))
    if resume:
        lines.append("What is done already is not done again, whatever its time here.")
    return ready.timetable, lines


def _prepare(
    plan: Plan, out: Path, *, resume: bool, engine: Engine, measured: bool = False
) -> _Ready:
    """Reads and checks everything; measures speeds where the budget or `measured` asks for it."""
    svg.matplotlib("figure")  # the page at the end must not be what fails
    plan = _with_budget(plan.check(), out, resume=resume)
    if engine == "ray":
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
    pairs = check_pairs(plan, corpus.tokenizer)
    model_configs = matched_configs(plan.size, vocab_size=corpus.manifest.vocab_size)
    sampled = [sample(plan, system, model_configs, corpus) for system in _pretrained(plan.systems)]
    if plan.budget:
        # A budget that is too small is told before anything is measured.
        todo = [with_length(plan, one, out) for one in sampled]
    timetable = None
    if measured or not plan.budget:
        speeds = measure(
            plan, sampled, model_configs, corpus, parts, 0 if pairs is None else pairs.count, say
        )
        if not plan.budget:
            assert plan.hours is not None
            tokens = tokens_within(plan.hours, speeds, seeds=plan.seeds)
            plan = msgspec.structs.replace(plan, budget=str(Budget("tokens", tokens)))
            todo = [with_length(plan, one, out) for one in sampled]
        timetable = _timetable(plan, todo, speeds)
    elif resume and (out / TIMETABLE).is_file():
        timetable = read_json(out / TIMETABLE, Timetable)
    _warn_of_little(plan, todo)
    return _Ready(
        plan, corpus, parts, model_configs, {one.system.name: one for one in todo}, pairs, timetable
    )


def _with_budget(plan: Plan, out: Path, *, resume: bool) -> Plan:
    """The plan with the budget that it has had from the beginning, or with hours to plan it from.

    On a resume the budget was planned before, and is kept.
    """
    if resume and not plan.budget and (out / PLAN).is_file():
        old = read_json(out / PLAN, Plan)
        hours = old.hours if plan.hours is None else plan.hours
        return msgspec.structs.replace(plan, hours=hours, budget=old.budget)
    if plan.hours is None and not plan.budget:
        return msgspec.structs.replace(plan, hours=HOURS)
    return plan


def _timetable(plan: Plan, todo: Sequence[Pretraining], speeds: Speeds) -> Timetable:
    budget = Budget.parse(plan.budget)
    if budget.unit == "hours":
        return make_timetable(speeds, seeds=plan.seeds, clock=3600 * budget.amount)
    tokens = {
        one.system.name: (one.config.steps or 0) * one.mean_tokens(plan.phases)
        for one in todo
        if one.system.is_trained
    }
    return make_timetable(speeds, seeds=plan.seeds, hours=plan.hours, tokens=tokens)


def _warn_of_little(plan: Plan, todo: Sequence[Pretraining]) -> None:
    """Says so where no system reads enough to learn anything."""
    tokens = [one.config.steps * one.mean_tokens(plan.phases) for one in todo if one.config.steps]
    if tokens and max(tokens) < FEWEST_TOKENS:
        say(
            f"Warning: the budget {plan.budget} is {max(tokens):,.0f} tokens; with fewer than "
            f"{FEWEST_TOKENS:,} a model learns little more than how often each word occurs, and "
            f"differences between systems mean little. Give more."
        )


# What may grow on a resume, because what is done stays done; paths may differ.
_GROWING = ("models", "ablations", "tasks", "seeds", "minimal_pairs")
_FREE = frozenset({"corpus", "data", *_GROWING})


def job_folder(out: Path) -> JobFolder:
    """`out` as the folder of a comparison."""
    return JobFolder(out, "a comparison", PLAN)


def _check_folder(out: Path, plan: Plan, *, resume: bool) -> None:
    folder = job_folder(out)
    folder.check(resume=resume)
    if folder.begun:
        old = read_json(folder.settings, Plan)
        _check_grown(old, plan)
        folder.check_same(plan, free=_FREE if old.minimal_pairs else _FREE | {"limit"})
    elif resume:
        say(f"{out} holds no comparison yet: a new one begins.")


def _check_grown(old: Plan, new: Plan) -> None:
    """Refuses to lose what an earlier call has compared."""
    for name in _GROWING:
        before, now = getattr(old, name), getattr(new, name)
        if name == "seeds":
            lost = [str(before)] if now < before else []
        elif name == "minimal_pairs":
            # The path may differ.
            lost = [before] if before and not now else []
        else:
            lost = [one for one in before if one not in now]
        if lost:
            left_out = option(name, tuple(lost) if isinstance(before, tuple) else before)
            raise UsageError(
                f"{option('resume')}: the comparison has "
                f"{left_out}, which you "
                "leave out; give at least what it has, or compare in another folder."
            )


def _pretrained(systems: list[System]) -> list[System]:
    """Those whose pre-training must be done: of each system its own, or the one that it uses."""
    known = {system.name: system for rows in ABLATIONS.values() for system in rows}
    needed = [known[system.trained_as] if system.trained_as else system for system in systems]
    return list({system.name: system for system in needed}.values())
