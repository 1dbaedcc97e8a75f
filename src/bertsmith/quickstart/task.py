"""The effect of pre-training: one small task, fine-tuned with and without it.

Both models have the same tokenizer and the same initial weights before pre-training. They are
fine-tuned with the same settings and initial output layer on the same examples in the same order,
for the same number of steps. Any difference comes from pre-training. In the quickstart's folder::

    task/train.csv dev.csv    the examples
    untrained/                the model before its first pre-training step
    tuned/                    fine-tuning of the pre-trained model
    tuned-untrained/          fine-tuning of the untrained model
"""

import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.checkpoints.folder import CONFIG
from bertsmith.core.runtime import PageLanguage
from bertsmith.core.storage import write_bytes
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.job import Job, finetune
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.pretraining.setup import save_untrained
from bertsmith.quickstart.sample_tasks import SampleTask
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.task_config import Columns

# Folders of a model and of its fine-tuning.
PRETRAINED = ("model", "tuned")
UNTRAINED = ("untrained", "tuned-untrained")


@dataclass(frozen=True)
class TaskPlan:
    """The task of a language and the settings of its fine-tuning."""

    question: str
    """The question that the label answers."""
    about_dev: str
    """A sentence on the origin of the dev examples."""
    columns: Columns
    settings: dict[str, Any]
    """Settings of the fine-tuning; chosen by measurement, see docs/log.md."""
    tokens: int
    """Approximate tokens per input."""


def fine_tune(
    plan: TaskPlan,
    task: SampleTask,
    out: Path,
    *,
    pretrained: PretrainConfig,
    examples: int,
    hours: Callable[[str, float], float],
    language: PageLanguage,
) -> None:
    """Writes the examples and does both fine-tunings; continues an interrupted call.

    Args:
        plan: the task and its settings.
        task: its examples.
        out: folder of the quickstart, with a pre-trained `model`.
        pretrained: settings of the pre-training; its initial weights are the untrained model.
        examples: number of training examples to use, from the start.
        hours: (folder, seconds that the previous one took beyond its limit) -> time limit of a
            fine-tuning; called when it starts.
        language: language of the reports.

    Raises:
        MissingExtra: matplotlib is not installed.
        Stopped: SIGINT or SIGTERM was received; repeat the call to continue.
        SystemFault: the disk is full, ...
    """
    # An even number keeps the alternating labels balanced.
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
            # The second does as many steps as the first had time for.
            settings=plan.settings | {"hours": limit, "steps": steps},
        )
        # The notes on the data are the same for both.
        show = (lambda line: None) if tuned == UNTRAINED[1] else None
        done = finetune(job, out / tuned, resume=True, show=show, language=language).best_run
        steps = done.steps
        overhead = time.monotonic() - began - min(done.seconds, 3600 * limit)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    write_bytes(path, text.getvalue().encode())
