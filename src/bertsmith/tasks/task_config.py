"""What a fine-tuned model needs to know beside its weights: `task.json` in its folder."""

from typing import Literal

import msgspec

from bertsmith.models.head_config import Kind
from bertsmith.tasks.datasets.custom import Columns
from bertsmith.tasks.task import Limits

TAUGHT = "task.json"


class Taught(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model was taught to be asked, and how to read its answers."""

    version: Literal[1] = 1
    task: str
    """A row of the table of tasks, or the kind of the user's own files."""
    kind: Kind
    labels: tuple[str, ...]
    """Classes or tags in the order of the outputs."""
    limits: Limits
    threshold: float | None = None
    """`answer`: see `decode`; None: there always is an answer."""
    columns: Columns | None = None
    """What the columns of the user's own files are called."""
    scale: float = 1.0
    offset: float = 0.0
    """`regress`: a number is `offset + scale * output`. In a finished model the output layer has
    them, and here is what it cannot hold: what fp32 rounds, and the mean where it has no bias."""
    bounds: tuple[float, float] | None = None
    """Least and greatest number that a regression may say."""
