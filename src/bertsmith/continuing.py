"""The model that a pre-training run continues: found by its name, looked at for the settings."""

from pathlib import Path

from bertsmith.config import PretrainConfig, Start
from bertsmith.files import read_json
from bertsmith.info_model import model_info
from bertsmith.models.sources import resolve


def start_from(model: str | Path) -> Start:
    """A model to continue, for `pretrain_config`.

    Args:
        model: a folder or a name, see `models.sources.resolve`.

    Raises:
        UsageError: there is no such model, or its architecture is not computed here.
        FolderError: its config, weights or tokenizer are missing or damaged.
        MissingExtra: the package that has it is not installed.
        SystemFault: the hub cannot be reached.
    """
    folder = resolve(model)
    found = model_info(folder)
    return Start(
        name=str(model),
        config=folder / "config.json",
        width=found.width,
        pair_head="next-sentence head" in found.parts,
        seed=_next_seed(folder.resolve()),
    )


def _next_seed(folder: Path) -> int:
    """The seed after that of the run that made a model, whose checkpoints are two levels below."""
    for place in (folder, folder.parent.parent):
        if (place / "pretrain.json").is_file():
            return read_json(place / "pretrain.json", PretrainConfig).seed + 1
    return 0
