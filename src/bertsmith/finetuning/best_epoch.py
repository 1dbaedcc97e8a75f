"""The epoch of a run that is best on dev: its model and predictions are kept beside the checkpoint.

They do not belong to the checkpoint, which is older or newer: where an epoch that is done again
comes out otherwise (on a GPU, or with other micro-batches), the weights, their predictions and
their scores are still of one epoch, because `best/` is replaced as a whole::

    best/predictions.jsonl    what the epoch predicts for dev, in the examples' order
    best/best.json            `BestEpoch`, with a checksum of every other file and of its own
    best/config.json ...      the model folder

When the run is over the first moves up, the second goes, and `result.json` has the checksums.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.errors import RESUME
from bertsmith.core.storage import (
    atomic_file,
    atomic_folder,
    atomic_path,
    checksums,
    read_json,
    read_json_lines,
    standing,
    verify,
    write_json,
    write_sealed,
)
from bertsmith.finetuning.config import FinetuneConfig, limits_of
from bertsmith.finetuning.data import TaskData
from bertsmith.finetuning.model_card import task_card
from bertsmith.inference.backends.torch_backend import TorchBackend
from bertsmith.inference.engine import Scorer
from bertsmith.models.family import TaskModel
from bertsmith.tasks.kind import Prediction, TaskKind
from bertsmith.tasks.scoring import Scores, decisive, score
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.parallel.model import Parallel

PREDICTIONS = "predictions.jsonl"
BEST = "best"
BEST_EVALUATION = "best.json"
_OF_THE_RUN = (f"{BEST}/{PREDICTIONS}", f"{BEST}/{BEST_EVALUATION}")


class BestEpoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evaluation whose weights are in `best/`."""

    step: int
    main: float
    """Mean of the deciding metrics."""
    checksums: dict[str, str] = {}
    """SHA-256 of every other file of `best/`."""


class DevEvaluation:
    """Evaluates the model on dev after every epoch and keeps the best epoch in the run's folder."""

    def __init__(
        self,
        config: FinetuneConfig,
        data: TaskData,
        out: Path,
        *,
        parallel: Parallel[TaskModel],
        tokenizer: Tokenizer,
        state: TrainerState,
        best: BestEpoch | None,
    ) -> None:
        """Of a run in `out` that is at `state` and whose best epoch so far is `best`."""
        self._config, self._data, self._out = config, data, out
        self._parallel, self._tokenizer = parallel, tokenizer
        self._state, self._best = state, best
        self._scorer = Scorer(TorchBackend(parallel.model, parallel.place), tokenizer)

    def __call__(self) -> dict[str, float]:
        """The scores of this epoch; called by every process."""
        data = self._data
        examples, features = data.evaluated[data.deciding]
        task_config = task_settings(self._config, data)
        predictions = self._scorer.predict(examples, task_config, features)
        task_config, predictions = data.task.kind.tuned(task_config, examples, predictions)
        scores = score(data.task, examples, predictions, data.labels)
        main = decisive(data.task, scores)
        if self._best is None or main > self._best.main:
            self._best = BestEpoch(self._state.step, main)
            model = self._parallel.whole_model()
            if self._parallel.place.world.first:
                with atomic_folder(self._out / BEST) as folder:
                    self._write_best(folder, model, task_config, scores)
                    write_predictions(folder / PREDICTIONS, predictions)
                    best = msgspec.structs.replace(self._best, checksums=checksums(folder))
                    write_sealed(folder / BEST_EVALUATION, best)
        return {name: value for name, value in scores.items() if value is not None}

    def enough(self, steps_per_epoch: int) -> bool:
        """Whether the last `patience` epochs were no better."""
        if not self._config.patience or self._best is None:
            return False
        epochs = (self._state.evaluated_at - self._best.step) / steps_per_epoch
        return epochs >= self._config.patience

    def write_model(
        self,
        folder: Path,
        model: TaskModel,
        task_config: TaskConfig | None = None,
        scores: Mapping[str, Scores] | None = None,
    ) -> None:
        """Writes the model folder.

        What `task_config` leaves to do with a regression's outputs is not folded in.
        """
        task_config = task_config or task_settings(self._config, self._data)
        card = task_card(
            self._config, self._data.task, model, scores or {}, offset=task_config.offset
        )
        save_model(folder, model, self._tokenizer, card=card)
        write_json(folder / TASK_CONFIG, task_config)

    def _write_best(
        self, folder: Path, model: TaskModel, task_config: TaskConfig, scores: Scores
    ) -> None:
        with self._data.standard.folded(model.number_layer) as left:
            task_config = msgspec.structs.replace(task_config, scale=left.scale, offset=left.offset)
            self.write_model(folder, model, task_config, {self._data.deciding: scores})


def read_best(out: Path) -> BestEpoch:
    """Which epoch of the run in `out` was best so far; every byte of it is compared.

    Raises:
        FolderError: a file is missing or damaged.
    """
    folder = standing(out / BEST)
    best = read_json(folder / BEST_EVALUATION, BestEpoch, sealed=True)
    verify(folder, best.checksums, remedy=remedy(out))
    return best


def keep_best(out: Path) -> dict[str, str]:
    """Copies the predictions out of `best/`; gives the checksums of what a finished run keeps."""
    with atomic_path(out / PREDICTIONS) as copy:
        shutil.copyfile(out / BEST / PREDICTIONS, copy)
    names = [f"{BEST}/{path.name}" for path in sorted((out / BEST).iterdir())]
    return checksums(out, [PREDICTIONS, *(name for name in names if name not in _OF_THE_RUN)])


def leave_model(out: Path) -> None:
    """Leaves nothing but the model in `best/`."""
    for name in _OF_THE_RUN:
        (out / name).unlink(missing_ok=True)


def remedy(out: Path) -> str:
    """What to do where something of the run in `out` is damaged."""
    return f"delete {out} and run the same command with {RESUME} to do that run again"


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """One JSON object a line, in the examples' order."""
    with atomic_file(path) as file:
        file.writelines(msgspec.json.encode(prediction) + b"\n" for prediction in predictions)


def read_predictions(out: Path, kind: TaskKind) -> list[Prediction]:
    """What the best epoch of the run in `out` predicted for dev, in the examples' order.

    Args:
        out: the folder of a finished run, or `best/` of one that goes on.
        kind: of the task.

    Raises:
        FolderError: the file is missing or damaged.
    """
    what = f"a prediction; {remedy(out)}"
    return read_json_lines(out / PREDICTIONS, kind.prediction, what)


def task_settings(config: FinetuneConfig, data: TaskData) -> TaskConfig:
    """What the model folder says of the task, before a threshold is tuned."""
    return TaskConfig(
        task=config.task,
        kind=config.kind,
        labels=data.labels,
        limits=limits_of(config),
        thresholds=data.task.kind.initial_thresholds(
            data.labels, may_be_impossible=data.task.may_be_impossible
        ),
        columns=data.columns,
        scale=data.standard.scale,
        offset=data.standard.offset,
        bounds=data.task.bounds,
    )
