"""What pre-training bought: one small task, fine-tuned from the trained and from fresh weights.

Both models have one shape and one tokenizer; they are fine-tuned with the same settings on the same
examples in the same order, for as many steps, under the same first output layer. What is left is
what their encoders were at the beginning. In the quickstart's folder::

    task/train.csv dev.csv    the examples
    untrained/                a model of the pre-trained one's shape with fresh weights
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

import torch

from bertsmith.errors import Stopped
from bertsmith.files import write_bytes
from bertsmith.models.architectures import build
from bertsmith.models.folder import load_config, save_model
from bertsmith.runtime import derive_seed
from bertsmith.tasks.own import Columns
from bertsmith.text.sample_tasks import SampleTask
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.tuning.data import Source
from bertsmith.tuning.job import Job, finetune

# Folder of the model and folder of its fine-tuning.
PRETRAINED = ("model", "tuned")
UNTRAINED = ("untrained", "tuned-untrained")
_CARD = """\
# A BERT that was not trained

Fresh weights in the shape of the model beside it, to compare with: what pre-training changed.
"""


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
    examples: int,
    hours: Callable[[str, float], float],
) -> None:
    """Writes the examples and does both fine-tunings; continues where an earlier call was stopped.

    Args:
        plan: of the task.
        task: its examples.
        out: the quickstart's folder, which holds a pre-trained `model`.
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
    _write_untrained(out / "untrained", like=out / "model")
    steps, overhead = 0, 0.0
    for model, tuned in (PRETRAINED, UNTRAINED):
        began, limit = time.monotonic(), hours(tuned, overhead)
        job = Job(
            source=Source(
                task="classify",
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
        try:
            done = finetune(job, out / tuned, resume=True, show=show).best_run
        except Stopped as stop:
            raise Stopped(stop.number, stop.where, again="") from stop
        steps = done.steps
        overhead = time.monotonic() - began - min(done.seconds, 3600 * limit)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    write_bytes(path, text.getvalue().encode())


def _write_untrained(folder: Path, *, like: Path) -> None:
    torch.manual_seed(derive_seed(0, "weights"))
    model = build(load_config(like), pieces=(), pair_task=True)
    save_model(folder, model, Tokenizer.load(like), card=_CARD)
