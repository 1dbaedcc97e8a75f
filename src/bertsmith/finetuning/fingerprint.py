"""What makes a fine-tuning the same job, so that `--resume` may go on with it: no path does."""

from collections.abc import Sequence

import msgspec

from bertsmith.core.errors import FolderError
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.storage import changed_fields, read_json
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.origin import Origin
from bertsmith.models.config import SIZES
from bertsmith.tasks.task_config import Columns

IDENTITY = "identity.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job computes, wherever its files lie (`identity.json`).

    The number of seeds is no part of it, because more may be asked for later.
    """

    columns: Columns
    """What the columns of the user's own files are called."""
    sweep: bool
    """Whether a grid of settings is tried first."""
    fixed: tuple[str, ...]
    """Settings that were given, and that the sweep therefore leaves as they are."""
    settings: FinetuneConfig
    """Of the first run, without the model's place and the tokens computed at once."""
    data: str
    """Fingerprint of the examples."""
    weights: str
    """SHA-256 of the model's weights."""
    tokenizer: str
    """Fingerprint of the model's tokenizer."""


_ORIGINS = {
    "data": "The examples are",
    "weights": "The model's weights are",
    "tokenizer": "The model's tokenizer is",
}


def identity_of(
    config: FinetuneConfig,
    *,
    columns: Columns,
    fixed: Sequence[str] | None,
    data: str,
    origin: Origin,
) -> Identity:
    """The identity of a job.

    Args:
        config: of the first run.
        columns: of the user's own files.
        fixed: settings that a sweep leaves as they are; None: there is no sweep.
        data: fingerprint of the examples.
        origin: of the model.

    Raises:
        FolderError: the model has no weights.
        SystemFault: they cannot be read.
    """
    preset = origin.initial_weights is not None and config.model in SIZES
    return Identity(
        columns=columns,
        sweep=fixed is not None,
        fixed=tuple(fixed or ()),
        settings=msgspec.structs.replace(
            config, model=config.model if preset else "", micro_tokens=0, shard=False
        ),
        data=data,
        weights=origin.fingerprint,
        tokenizer=origin.tokenizer.fingerprint,
    )


def check_same_job(folder: JobFolder, identity: Identity) -> None:
    """Refuses to continue with another job than the one that lives in `folder`, if any does.

    Raises:
        UsageError: settings differ; every one is named.
        FolderError: the examples or the model differ, or `identity.json` is missing or damaged.
    """
    if not folder.begun:
        return
    old = read_json(folder.path / IDENTITY, Identity, sealed=True)
    changes = changed_fields(old.settings, identity.settings) + [
        change
        for change in changed_fields(old, identity)
        if change.partition(":")[0] in ("columns", "sweep", "fixed")
    ]
    folder.refuse(changes)
    for name, what in _ORIGINS.items():
        if getattr(old, name) != getattr(identity, name):
            raise FolderError(
                f"{what} not what {folder.path} was begun with; restore what was changed, or "
                "fine-tune in another folder."
            )
