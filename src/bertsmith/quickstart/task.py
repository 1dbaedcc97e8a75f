"""What pre-training bought: one small task, fine-tuned with pre-training and without.

Both models begin with the same initial weights and have one tokenizer; they are fine-tuned with the
same settings on the same examples in the same order, for as many steps, under the same first output
layer. What is left is what pre-training did to their encoders. In the quickstart's folder::

    task/train.csv dev.csv    the examples
    untrained/                the pre-trained model as it was before its first step
    tuned/                    the fine-tuning of the pre-trained model, see `finetune`
    tuned-untrained/          the same of the untrained one
"""

import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.checkpoints.folder import CONFIG
from bertsmith.core.storage import write_bytes
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.job import Job, finetune
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.pretraining.setup import save_untrained
from bertsmith.quickstart.sample_tasks import SampleTask
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.task_config import Columns

# Folder of the model and folder of its fine-tuning.
PRETRAINED = ("model", "tuned")
UNTRAINED = ("untrained", "tuned-untrained")


@dataclass(frozen=True)
class TaskPlan:
    """What is fine-tuned for a language, and how."""

    question: str
    """What is asked of an example."""
    about_dev: str
    """Where the dev examples are from, a sentence."""
    columns: Columns
    settings: dict[str, Any]
    """Settings of the fine-tuning; chosen by measurement, see docs/log.md."""
    tokens: int
    """Of an input, about."""


def fine_tune(
    plan: TaskPlan,
    task: SampleTask,
    out: Path,
    *,
    pretrained: PretrainConfig,
    examples: int,
    hours: Callable[[str, float], float],
) -> None:
    """Writes the examples and does both fine-tunings; continues where an earlier call was stopped.

    Args:
        plan: of the task.
        task: its examples.
        out: the quickstart's folder, which holds a pre-trained `model`.
        pretrained: settings of its pre-training, whose initial weights it is compared with.
        examples: of the training part that are used, from its beginning; or all, if it has fewer.
        hours: the longest time of a fine-tuning, asked when it is to begin, by its folder and by
            the seconds that the one before took beyond its clock.

    Raises:
        MissingExtra: matplotlib is not installed.
        Stopped: SIGINT or SIGTERM came; run it again to continue.
        SystemFault: the disk is full, ...
    """
    # An even number: every other example has one label.
    _write_csv(out / "task" / "train.csv", task.columns, task.train[: examples // 2 * 2])
    _write_csv(out / "task" / "dev.csv", task.columns, task.dev)
    if not (out / "untrained" / CONFIG).is_file():
        save_untrained(pretrained, out / "untrained")
    steps, overhead = 0, 0.0
    for model, tuned in (PRETRAINED, UNTRAINED):
        began, limit = time.monotonic(), hours(tuned, overhead)
        job = Job(
            source=Source(
                task=CLASSIFICATION.name,
                train=str(out / "task" / "train.csv"),
                dev=str(out / "task" / "dev.csv"),
                columns=plan.columns,
            ),
            model=str(out / model),
            # The second does the steps that the first had time for.
            settings=plan.settings | {"hours": limit, "steps": steps},
        )
        # What there is to know of the data is told once.
        show = (lambda line: None) if tuned == UNTRAINED[1] else None
        done = finetune(job, out / tuned, resume=True, show=show).best_run
        steps = done.steps
        overhead = time.monotonic() - began - min(done.seconds, 3600 * limit)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    write_bytes(path, text.getvalue().encode())
