"""The job: fine-tuned models to the zip that GLUE's server takes, checked before it is written.

A file for each test part, `index<TAB>prediction` (https://gluebenchmark.com/faq).
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.core.storage import atomic_path, read_json
from bertsmith.finetuning.job import JOB, Job
from bertsmith.inference.predictor import Model
from bertsmith.tasks.datasets import glue, registry
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.classification import ClassAnswer
from bertsmith.tasks.kinds.regression import NumberAnswer
from bertsmith.tasks.task import Task


@dataclass(frozen=True)
class Sheet:
    """One file of the zip."""

    name: str
    task: str
    """Whose model answers."""
    part: str
    rows: int
    """Of the official test file (Wang et al. 2018, and the files themselves)."""


SHEETS = (
    Sheet("CoLA", "cola", "test", 1_063),
    Sheet("SST-2", "sst-2", "test", 1_821),
    Sheet("MRPC", "mrpc", "test", 1_725),
    Sheet("STS-B", "sts-b", "test", 1_379),
    Sheet("QQP", "qqp", "test", 390_965),
    Sheet("MNLI-m", "mnli", "test", 9_796),
    Sheet("MNLI-mm", "mnli", "test-mismatched", 9_847),
    Sheet("QNLI", "qnli", "test", 5_463),
    Sheet("RTE", "rte", "test", 3_000),
    Sheet("WNLI", "wnli", "test", 146),
    Sheet("AX", "mnli", "ax", 1_104),
)


class Submission(msgspec.Struct, frozen=True):
    """What was written."""

    out: str
    rows: dict[str, int]
    """File of the zip -> rows."""
    missing: list[str]
    """Files that the server also wants and that no run could answer."""


def glue_submit(
    runs: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    partial: bool = False,
    show: Callable[[str], object] = lambda line: None,
) -> Submission:
    """Answers the unlabelled test parts and writes the zip.

    Args:
        runs: folders of `bertsmith finetune`, one for each task.
        out: the zip.
        data: folder of the official files; None: each run's own.
        partial: write it although files are missing (the server wants all).
        show: told what is being answered.

    Raises:
        UsageError: a run of no GLUE task, two of one task, or tasks missing.
        DataError: a test file is missing or does not have the official number of rows.
    """
    if out.suffix != ".zip":
        raise UsageError(
            f"{option('out', out)}: the submission is a zip; give a name that ends in .zip."
        )
    if not runs:
        raise UsageError("No run is given; name folders that `bertsmith finetune` wrote.")
    models = _by_task(runs)
    folders = {
        task: data or Path(read_json(run / JOB, Job).source.data or "")
        for task, run in models.items()
    }
    missing = [f"{sheet.name}.tsv" for sheet in SHEETS if not _can_answer(sheet, folders)]
    if missing and not partial:
        raise UsageError(
            f"The submission lacks {', '.join(missing)}, and the server wants every file; give "
            "runs of those tasks too (AX.tsv: the diagnostic file beside MNLI's), or "
            f"{option('partial', True)} to write it without them."
        )
    sheets: dict[str, str] = {}
    for sheet in SHEETS:
        if _can_answer(sheet, folders):
            show(f"{sheet.name}: {models[sheet.task]}")
            sheets[f"{sheet.name}.tsv"] = _answer(
                sheet, models[sheet.task], folders[sheet.task], *_test_part(sheet), show
            )
    with (
        atomic_path(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in sheets.items():
            archive.writestr(name, text)
    return Submission(
        str(out), {name: text.count("\n") - 1 for name, text in sheets.items()}, missing
    )


def _test_part(sheet: Sheet) -> tuple[Task, str]:
    """What is read: the diagnostic set is a task of its own, whose labels are MNLI's."""
    return (glue.AX, "test") if sheet.part == "ax" else (registry.get(sheet.task), sheet.part)


def _can_answer(sheet: Sheet, folders: Mapping[str, Path]) -> bool:
    """Whether there is a model; for the diagnostic set, whether its file is there too."""
    folder = folders.get(sheet.task)
    return folder is not None and (
        sheet.part != "ax" or registry.find(folder, *_test_part(sheet)) is not None
    )


def _by_task(runs: Sequence[Path]) -> dict[str, Path]:
    known = {sheet.task for sheet in SHEETS}
    models: dict[str, Path] = {}
    for run in runs:
        if not (run / JOB).is_file():
            raise UsageError(f"{run} holds no {JOB}; give folders that `bertsmith finetune` wrote.")
        task = read_json(run / JOB, Job).source.task
        if task not in known:
            raise UsageError(f"{run} is a run of '{task}', which is not a GLUE task; remove it.")
        if task in models:
            raise UsageError(f"{models[task]} and {run} are both runs of '{task}'; give one.")
        models[task] = run
    return models


def _answer(
    sheet: Sheet,
    run: Path,
    folder: Path,
    task: Task,
    part: str,
    show: Callable[[str], object],
) -> str:
    examples = registry.load(folder, task, part)
    if len(examples) != sheet.rows:
        raise DataError(
            f"{registry.find(folder, task, part)}: found {len(examples):,} rows, expected the "
            f"{sheet.rows:,} of the official test file of {sheet.name}; download it again."
        )
    predictor = Model(run)
    features = predictor.scorer.features(examples, predictor.task_config)
    if features.truncated:
        show(f"{sheet.name}: {features.truncated:,} of the inputs are truncated")
    answers = predictor.scorer.predict(examples, predictor.task_config, features)
    lines = [f"{number}\t{_spelled(task, answer)}" for number, answer in enumerate(answers)]
    return "\n".join(["index\tprediction", *lines]) + "\n"


def _spelled(task: Task, answer: Prediction) -> str:
    """As the server spells it: the labels of the files, or a number with three decimals."""
    if isinstance(answer, NumberAnswer):
        assert task.bounds is not None
        low, high = task.bounds
        return f"{min(max(answer.value, low), high):.3f}"
    assert isinstance(answer, ClassAnswer)
    if answer.label not in task.labels:
        raise DataError(
            f"A model of {task.name} says '{answer.label}', which GLUE does not know; expected one "
            f"of {', '.join(task.labels)}: fine-tune it on the official files."
        )
    return answer.label
