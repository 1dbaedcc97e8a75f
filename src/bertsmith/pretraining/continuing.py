"""Finds the model to start pre-training from, and the properties that settings depend on."""

from pathlib import Path
from typing import Any

from bertsmith.checkpoints.headers import read_headers
from bertsmith.checkpoints.sources import resolve
from bertsmith.core.storage import read_json
from bertsmith.models.config_files import config_from_keys
from bertsmith.pretraining.config import SETTINGS, Start, read_settings


def start_from(model: str | Path) -> Start:
    """The model to start from, for `pretrain_config`.

    Args:
        model: a folder or a name, see `checkpoints.sources.resolve`.

    Raises:
        UsageError: there is no such model, or its architecture is not supported.
        FolderError: its config, weights or tokenizer are missing or damaged.
        MissingExtra: the package that has it is not installed.
        SystemFault: the hub cannot be reached.
    """
    folder = resolve(model)
    config = folder / "config.json"
    model_config = config_from_keys(read_json(config, dict[str, Any]), str(config))
    return Start(
        name=str(model),
        config=config,
        width=model_config.hidden_size,
        pair_head=any("seq_relationship" in name for name in read_headers(folder)),
        seed=_next_seed(folder.resolve()),
    )


def _next_seed(folder: Path) -> int:
    """The seed after that of a model's own run; checkpoints are two levels below their run."""
    for place in (folder, folder.parent.parent):
        if (place / SETTINGS).is_file():
            return read_settings(place).seed + 1
    return 0
