"""`bertsmith compare`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.command import Command, Result, with_next
from bertsmith.cli.options import flag, page_language_flag
from bertsmith.cli.pretrain import parse_phases
from bertsmith.core.runtime import Engine, PageLanguage
from bertsmith.models.config_files import CONFIGS


@dataclass(kw_only=True)
class Compare(Command):
    """Pre-train BERT, GPT and ELMo under one budget, fine-tune each, and compare their scores."""

    examples = (
        "compare --corpus my-corpus --data glue --tasks mrpc,rte --out my-comparison --dry-run",
    )

    corpus: Path = flag("Corpus folder, from `bertsmith prepare`.", group="Data", metavar="DIR")
    tasks: tuple[str, ...] = flag(
        "Tasks to fine-tune on, e.g. mrpc,rte,sst-2.", group="Data", metavar="TASK,..."
    )
    data: Path = flag("Folder of the tasks' official files.", group="Data", metavar="DIR")
    minimal_pairs: str | None = flag(
        "Pairs of a grammatical and an ungrammatical sentence to score the pre-trained models on: "
        "a .jsonl file or a folder of them, as in BLiMP.",
        group="Data",
        default=None,
        metavar="PATH",
    )
    limit: int | None = flag(
        "Of minimal pairs: only the first N of each paradigm.",
        group="Data",
        default=None,
        shown="all",
    )
    models: tuple[str, ...] = flag(
        "Models to compare.", group="Model", default=tuple(CONFIGS), metavar="NAME,..."
    )
    ablations: tuple[str, ...] = flag(
        "Also untrained, paper-weights, no-nsp, sop, left-to-right, left-to-right+bilstm, masking "
        "(five pre-trainings).",
        group="Model",
        default=(),
        metavar="NAME,...",
    )
    size: str = flag(
        "Size of the BERT; the others are matched to it.",
        group="Model",
        default="mini",
        metavar="SIZE",
    )
    hours: float | None = flag(
        "Hours for everything: speeds are measured first, then every pre-training gets as many "
        "tokens as fit.",
        group="Length",
        default=None,
        metavar="H",
        shown="2",
    )
    budget: str = flag(
        "Budget of each pre-training instead of --hours: tokens=5e6, flops=1e14 or hours=0.1; "
        "fine-tuning comes on top.",
        group="Length",
        default="",
        metavar="UNIT=X",
    )
    epochs: int = flag("Epochs of each fine-tuning.", group="Length", default=3)
    phases: str = flag(
        "Sequence lengths and their shares of a pre-training.",
        group="Length",
        default="128:1",
        metavar="L:S,...",
    )
    batch_size: int | None = flag(
        "Sequences per pre-training step.", group="Training", default=None, shown="the recipe's"
    )
    learning_rate: float | None = flag(
        "Peak learning rate of the pre-trainings.",
        group="Training",
        default=None,
        shown="the recipe's",
    )
    seeds: int = flag("Fine-tunings of each model on each task.", group="Runs", default=3)
    seed: int = flag("Random seed.", group="Runs", default=0)
    engine: Engine = flag(
        "local: one run after the other; ray: side by side, on this machine's cores or the "
        "cluster of RAY_ADDRESS, whose machines all have bertsmith and see --corpus, --data and "
        "--out.",
        group="Runs",
        default="local",
    )
    out: Path = flag("Folder for all runs and the result.", group="Output", metavar="DIR")
    language: PageLanguage | None = page_language_flag()
    dry_run: bool = flag(
        "Measure speeds, print the plan with its times, and stop.", group="Output", default=False
    )
    resume: bool = flag(
        "Continue in --out, also with more models, tasks or seeds.", group="Output", default=False
    )

    def run(self) -> Result:
        """Compares."""
        from bertsmith.comparison.job import compare, foresee
        from bertsmith.comparison.plan import Plan

        plan = Plan(
            corpus=str(self.corpus),
            tasks=self.tasks,
            data=str(self.data),
            models=self.models,
            ablations=self.ablations,
            hours=self.hours,
            budget=self.budget,
            minimal_pairs=self.minimal_pairs,
            limit=self.limit,
            seeds=self.seeds,
            size=self.size,
            batch_size=self.batch_size,
            phases=parse_phases(self.phases),
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            seed=self.seed,
        )
        if self.dry_run:
            table, lines = foresee(plan, self.out, resume=self.resume, engine=self.engine)
            return Result(table, "\n".join(lines))
        done = compare(
            plan, self.out, resume=self.resume, engine=self.engine, language=self.language
        )
        text = [*done.summary(), "", f"The page is {done.report}."]
        return Result(done, with_next(text, ["info", str(self.out)]))
