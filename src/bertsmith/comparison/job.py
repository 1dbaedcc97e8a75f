"""The job: pre-trains and fine-tunes all systems, then writes the numbers and the page."""

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
    timetable_lines,
    tokens_within,
)
from bertsmith.comparison.verdict import verdicts
from bertsmith.core.errors import UsageError, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import Engine, PageLanguage, derive_seed, page_language
from bertsmith.core.storage import read_json, write_sealed
from bertsmith.core.terminal import say
from bertsmith.corpus.shards import Corpus
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning.data import Parts, Source
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.reports import svg
from bertsmith.reports.language import written_in

PLAN = "plan.json"
TIMETABLE = "timetable.json"
RESULT = "compare.json"
REPORT = "compare.html"


@dataclass(frozen=True)
class _Ready:
    """A comparison that has passed every check possible before it starts."""

    plan: Plan
    """The plan with its budget."""
    corpus: Corpus
    parts: dict[str, Parts]
    model_configs: dict[FamilyName, ModelConfig]
    todo: dict[str, Pretraining]
    """System -> its pre-training."""
    pairs: CheckedPairs | None
    """Minimal pairs to score."""
    timetable: Timetable | None
    """The planned times, if speeds were measured, now or when the comparison started."""


def compare(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    engine: Engine = "local",
    language: PageLanguage | None = None,
) -> Compared:
    """Trains and scores all systems of a plan, and writes `compare.json` and `compare.html`.

    Args:
        plan: settings of the comparison.
        out: folder of the comparison; must be empty unless `resume`.
        resume: continue in `out` and skip finished runs. Systems, tasks and seeds may be added.
        engine: `local` does one run after the other here; `ray` does several at a time on a
            cluster whose machines all see `out`, the corpus and the data at the same paths.
        language: language of the pages; None: that of the locale.

    Raises:
        MissingExtra: `engine` is `ray`, and Ray is not installed.
        UsageError: a name is unknown, the budget is too small or cannot be kept on Ray, or the
            settings differ from those of the comparison to resume.
        DataError: files cannot be read.
        FolderError: the corpus or a run is missing or damaged.
        DivergedError: the loss or the gradient of a run is no longer finite.
        Stopped: SIGINT or SIGTERM ended it; everything so far was saved.
        SystemFault: the disk is full, memory ran out, ...
    """
    began = time.monotonic()
    language = language or page_language()
    # 1. Check everything the user gave before anything is written.
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
            write_sealed(out / TIMETABLE, ready.timetable)
        job_folder(out).write(plan)
        write_model_configs(out, ready.model_configs)
        tuned = do_all(plan, list(todo.values()), out, say, language)

    # 3. The numbers and the page. The result is written last and marks the comparison as finished.
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
    with written_in(language):
        write_page(result, out / REPORT)
    write_sealed(out / RESULT, result)
    return result


def _start_notes(ready: _Ready, out: Path) -> Iterator[str]:
    """Lines to print before the comparison starts."""
    plan = ready.plan
    if ready.timetable is not None:
        yield from timetable_lines(ready.timetable, plan, ready.corpus.manifest.tokens("train"))
    trained = sum(one.system.is_trained for one in ready.todo.values())
    tunings = len(plan.systems) * len(plan.tasks) * plan.seeds
    yield f"Plan: {trained} pre-trainings, then {tunings} fine-tunings. Output: {out}."


def foresee(
    plan: Plan, out: Path, *, resume: bool = False, engine: Engine = "local"
) -> tuple[Timetable, list[str]]:
    """Plans a comparison without running it: its timetable, also as text; writes nothing.

    The arguments and errors are those of `compare`.
    """
    ready = _prepare(plan, out, resume=resume, engine=engine, measured=True)
    assert ready.timetable is not None
    lines = timetable_lines(ready.timetable, ready.plan, ready.corpus.manifest.tokens("train"))
    if resume:
        lines.append("Finished runs are skipped; their times are still listed.")
    return ready.timetable, lines


def _prepare(
    plan: Plan, out: Path, *, resume: bool, engine: Engine, measured: bool = False
) -> _Ready:
    """Reads and checks everything; measures speeds if there is no budget yet, or if `measured`."""
    svg.matplotlib("figure")  # Or the page would fail after all the work.
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
        # Refuses a budget that is too small before measuring.
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
        timetable = read_json(out / TIMETABLE, Timetable, sealed=True)
    _warn_of_little(plan, todo)
    return _Ready(
        plan, corpus, parts, model_configs, {one.system.name: one for one in todo}, pairs, timetable
    )


def _with_budget(plan: Plan, out: Path, *, resume: bool) -> Plan:
    """The plan with the budget of the comparison to resume, or with hours to plan one from."""
    if resume and not plan.budget and (out / PLAN).is_file():
        old = job_folder(out).read(Plan)
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
    """Warns if no system reads enough to learn anything."""
    tokens = [one.config.steps * one.mean_tokens(plan.phases) for one in todo if one.config.steps]
    if tokens and max(tokens) < FEWEST_TOKENS:
        say(
            f"Warning: the budget {plan.budget} is only {max(tokens):,.0f} tokens. With fewer than "
            f"{FEWEST_TOKENS:,}, a model learns little more than word frequencies, and differences "
            "between systems mean little. Give more."
        )


# A resume may extend these, because finished runs stay valid; paths may differ.
_GROWING = ("models", "ablations", "tasks", "seeds", "minimal_pairs")
_FREE = frozenset({"corpus", "data", *_GROWING})


def job_folder(out: Path) -> JobFolder:
    """`out` as the folder of a comparison."""
    return JobFolder(out, "a comparison", PLAN)


def _check_folder(out: Path, plan: Plan, *, resume: bool) -> None:
    folder = job_folder(out)
    folder.check(resume=resume)
    if folder.begun:
        old = folder.read(Plan)
        _check_grown(old, plan)
        folder.check_same(plan, free=_FREE if old.minimal_pairs else _FREE | {"limit"})
    elif resume:
        say(f"{out} holds no comparison yet; starting a new one.")


def _check_grown(old: Plan, new: Plan) -> None:
    """Refuses a plan that drops something an earlier call has compared."""
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
            dropped = option(name, tuple(lost) if isinstance(before, tuple) else before)
            raise UsageError(
                f"{option('resume')}: the comparison has {dropped}, but the new settings do not; "
                "keep what it has, or choose another folder."
            )


def _pretrained(systems: list[System]) -> list[System]:
    """The systems to pre-train: each one, or the system whose pre-trained model it uses."""
    known = {system.name: system for rows in ABLATIONS.values() for system in rows}
    needed = [known[system.trained_as] if system.trained_as else system for system in systems]
    return list({system.name: system for system in needed}.values())
