"""Every kind of task by its name."""

from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import FolderError, nearest
from bertsmith.core.storage import parse_json, read_json
from bertsmith.models.head_config import OLD_KINDS, HeadConfig, Level, Loss
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.kinds.multi_label import MULTI_LABEL
from bertsmith.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from bertsmith.tasks.kinds.question_answering import QUESTION_ANSWERING
from bertsmith.tasks.kinds.regression import REGRESSION
from bertsmith.tasks.kinds.token_classification import TOKEN_CLASSIFICATION
from bertsmith.tasks.task_config import TaskConfig

KINDS: dict[str, TaskKind] = {
    kind.name: kind
    for kind in (
        CLASSIFICATION,
        MULTI_LABEL,
        REGRESSION,
        MULTIPLE_CHOICE,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
    )
}


_OLD_LIMITS = {
    "longest": "max_length",
    "longest_question": "max_question_length",
    "long": "long_texts",
}
"""What older versions call fields of `Limits`."""


def kind_named(name: str) -> TaskKind:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in KINDS:
        raise ValueError(f"'{name}' is not a kind of task{nearest(name, KINDS)}")
    return KINDS[name]


def read_task_config(path: Path) -> TaskConfig:
    """The `task.json` of a model folder, also of older versions.

    Raises:
        FolderError: it is missing or damaged.
    """
    value = _upgraded(read_json(path, dict[str, Any]))
    found = parse_json(msgspec.json.encode(value), TaskConfig, str(path))
    if found.kind not in KINDS:
        raise FolderError(
            f"{path}: 'kind' is '{found.kind}'{nearest(found.kind, KINDS)}, expected one of "
            f"{', '.join(KINDS)}; correct it."
        )
    return found


def _upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """A `task.json` of any version with today's names."""
    value = dict(value)
    for key in ("kind", "task"):
        # Of the user's own files, `task` is the kind.
        old = OLD_KINDS.get(str(value.get(key)))
        if old:
            value[key] = _kind_for(*old).name
    if "threshold" in value:
        old = value.pop("threshold")
        value["thresholds"] = [] if old is None else [old]
    if isinstance(limits := value.get("limits"), dict) and "longest" in limits:
        value["limits"] = _upgraded_limits(limits)
    return value


def _upgraded_limits(old: dict[str, Any]) -> dict[str, Any]:
    """With today's names, and as `stride` the overlap of windows, where it was their distance."""
    limits = {_OLD_LIMITS.get(name, name): one for name, one in old.items()}
    if limits.get("long_texts") == "cut":
        limits["long_texts"] = "truncate"
    if isinstance(old["longest"], int) and isinstance(step := old.get("stride"), int):
        # `[CLS]` and `[SEP]` left the rest of an input to the window.
        limits["stride"] = max(0, old["longest"] - 2 - step)
    return limits


def kind_of(head: HeadConfig) -> TaskKind:
    """The kind that an output layer is for."""
    return _kind_for(head.level, head.loss)


def _kind_for(level: Level, loss: Loss) -> TaskKind:
    [kind] = [one for one in KINDS.values() if (one.level, one.loss) == (level, loss)]
    return kind
