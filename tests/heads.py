"""The output layer of each kind of task, for tests of models."""

from typing import Any

from bertsmith.models.head_config import HeadConfig
from bertsmith.tasks.kinds.registry import kind_named


def head_of(name: str, **settings: Any) -> HeadConfig:
    """The head of a kind with some settings, `labels` among them."""
    settings["labels"] = tuple(settings.get("labels", ()))
    kind = kind_named(name)
    return HeadConfig(level=kind.level, loss=kind.loss, **settings)
