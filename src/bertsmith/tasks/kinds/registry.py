"""Every kind of task by its name."""

from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import FolderError, nearest
from bertsmith.core.storage import parse_json, read_json
from bertsmith.models.head_config import HeadConfig
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


def kind_named(name: str) -> TaskKind:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in KINDS:
        raise ValueError(f"'{name}' is no kind of task{nearest(name, KINDS)}")
    return KINDS[name]


def read_task_config(path: Path) -> TaskConfig:
    """The `task.json` of a model folder, also of older versions.

    Raises:
        FolderError: it is missing or damaged.
    """
    value = read_json(path, dict[str, Any])
    if "threshold" in value:
        old = value.pop("threshold")
        value["thresholds"] = [] if old is None else [old]
    found = parse_json(msgspec.json.encode(value), TaskConfig, str(path))
    if found.kind not in KINDS:
        raise FolderError(
            f"{path}: 'kind' is '{found.kind}'{nearest(found.kind, KINDS)}, expected one of "
            f"{', '.join(KINDS)}; correct it."
        )
    return found


def kind_of(head: HeadConfig) -> TaskKind:
    """The kind that an output layer is for."""
    [kind] = [one for one in KINDS.values() if (one.level, one.loss) == (head.level, head.loss)]
    return kind
