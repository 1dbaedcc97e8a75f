"""The output layer of each kind of task, for tests of models."""

from typing import Any

import msgspec

from bertsmith.models.head_config import HeadConfig, head_from_keys


def head_of(kind: str, **settings: Any) -> HeadConfig:
    """The head of a kind with some settings, `labels` among them."""
    settings["labels"] = tuple(settings.get("labels", ()))
    return msgspec.structs.replace(head_from_keys({"kind": kind}), **settings)
