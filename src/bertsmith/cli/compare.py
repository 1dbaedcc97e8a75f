"""`bertsmith compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bertsmith.cli.command import OPTIONAL, Command, Count, Number, Result, with_next
from bertsmith.cli.pretrain import parse_phases
from bertsmith.core.runtime import Engine


@dataclass(kw_only=True)
class Compare(Command):
    """Pre-trains BERT, GPT and ELMo (and BERT's ablations) alike, and scores them on tasks."""

    corpus: Path
    """Folder of the corpus, from `bertsmith prepare`."""
    tasks: Annotated[str, arg(metavar="TASK,...")]
    """Tasks to fine-tune on, e.g. mrpc,rte,sst-2."""
    data: Path
    """Folder with the tasks' official files."""
    out: Path
    """Folder for all runs and the result."""
    models: Annotated[str, arg(metavar="NAME,...")] = "bert,gpt,elmo"
    """Systems to compare."""
    ablations: Annotated[str, arg(metavar="NAME,...", help_behavior_hint=OPTIONAL)] = ""
    """untrained, paper-weights, no-nsp, sop, left-to-right, left-to-right+bilstm, masking (five
    pre-trainings)."""
    hours: Annotated[float | None, arg(metavar="H", help_behavior_hint="(default: 2)")] = None
    """Hours for everything: speeds are measured first, then every pre-training gets as many tokens
    as fit."""
    budget: Annotated[str, arg(metavar="UNIT=X", help_behavior_hint=OPTIONAL)] = ""
    """Instead of --hours, what each pre-training gets: tokens=5e6, flops=1e14 or hours=0.1;
    fine-tunings come on top."""
    plan: bool = False
    """Measure speeds and print what would be done and how long it takes; write nothing."""
    minimal_pairs: Annotated[str | None, arg(metavar="PATH", help_behavior_hint=OPTIONAL)] = None
    """Pairs of a grammatical and an ungrammatical sentence (BLiMP's .jsonl, or a folder of them) to
    score the pre-trained models on."""
    sample: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """Of the minimal pairs: the first N of each paradigm."""
    seeds: Annotated[int, arg(metavar="N")] = 3
    """Fine-tunings of each system on each task."""
    size: Annotated[str, arg(metavar="NAME")] = "mini"
    """tiny, mini, small, medium, base or large: the BERT's, which the others are matched to."""
    batch_size: Count = None
    """Sequences of a pre-training step."""
    phases: Annotated[str, arg(metavar="L:S,...")] = "128:1"
    """Sequence lengths and their shares of a pre-training."""
    learning_rate: Number = None
    """Highest learning rate of the pre-trainings."""
    epochs: Annotated[int, arg(metavar="N")] = 3
    """Of the fine-tunings."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the pre-trainings, and the first of the fine-tunings."""
    engine: Engine = "local"
    """local: one run after the other, here; ray: side by side, on this machine's cores or the
    cluster of RAY_ADDRESS, whose machines all have bertsmith and see --corpus, --data and --out."""
    resume: bool = False
    """Continue in --out, perhaps with more systems, tasks or seeds; what is done stays done."""

    def run(self) -> Result:
        """Compares."""
        from bertsmith.comparison.job import compare, foresee
        from bertsmith.comparison.plan import Plan

        plan = Plan(
            corpus=str(self.corpus),
            tasks=_names(self.tasks),
            data=str(self.data),
            models=_names(self.models),
            ablations=_names(self.ablations),
            hours=self.hours,
            budget=self.budget,
            minimal_pairs=self.minimal_pairs,
            sample=self.sample,
            seeds=self.seeds,
            size=self.size,
            batch_size=self.batch_size,
            phases=parse_phases(self.phases),
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            seed=self.seed,
        )
        if self.plan:
            table, lines = foresee(plan, self.out, resume=self.resume, engine=self.engine)
            return Result(table, "\n".join(lines))
        done = compare(plan, self.out, resume=self.resume, engine=self.engine)
        text = [*done.summary(), "", f"The page is {done.report}."]
        return Result(done, with_next(text, ["info", str(self.out)]))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
