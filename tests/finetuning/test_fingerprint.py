"""What makes a job the same: its settings, its data and its model, and no path."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.storage import write_sealed
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.fingerprint import IDENTITY, Identity, check_same_job, identity_of
from bertsmith.finetuning.job import job_folder
from bertsmith.finetuning.origin import PretrainedModel
from bertsmith.tasks.task_config import Columns

CONFIG = FinetuneConfig(
    task="classification",
    kind="classification",
    model="a/model",
    batch_size=4,
    learning_rate=1e-4,
    epochs=2,
    max_length=64,
    stride=48,
)


def identity(model: Path, config: FinetuneConfig = CONFIG, **changes: Any) -> Identity:
    values: dict[str, Any] = {"columns": Columns(), "fixed": None, "data": "d"}
    origin = PretrainedModel.open(str(model))
    return identity_of(config, origin=origin, **(values | changes))


def test_neither_the_place_of_the_model_nor_the_tokens_at_once_matter(small_model: Path) -> None:
    config = msgspec.structs.replace(CONFIG, model="b", micro_tokens=512)
    assert identity(small_model, config) == identity(small_model)


def test_what_differs_is_named(small_model: Path, tmp_path: Path) -> None:
    same = identity(small_model)
    folder = job_folder(tmp_path)
    check_same_job(folder, same)
    folder.settings.touch()
    write_sealed(tmp_path / IDENTITY, same)
    check_same_job(folder, same)
    config = msgspec.structs.replace(CONFIG, epochs=3, seed=1)
    other = identity(small_model, config, columns=Columns(label="mark"), fixed=["epochs"])
    with pytest.raises(UsageError) as caught:
        check_same_job(folder, other)
    told = str(caught.value)
    assert f"{tmp_path}' holds a fine-tuning with other settings" in told
    assert "(epochs: 2 -> 3; seed: 0 -> 1; columns: Columns(" in told
    assert "; sweep: False -> True; fixed: () -> ('epochs',)); use the same settings" in told
    for name, what in (
        ("data", "The examples are not what"),
        ("weights", "The model's weights are not what"),
        ("tokenizer", "The model's tokenizer is not what"),
    ):
        with pytest.raises(FolderError) as refused:
            check_same_job(folder, msgspec.structs.replace(same, **{name: "x"}))
        assert str(refused.value) == (
            f"{what} {tmp_path} was begun with; restore what was changed, or fine-tune in another "
            "folder."
        )
    (tmp_path / IDENTITY).unlink()
    with pytest.raises(FolderError, match=r"identity\.json is missing"):
        check_same_job(folder, same)
