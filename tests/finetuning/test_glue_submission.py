"""The zip for GLUE's server: names, headers, row counts, labels and ranges."""

import shutil
import zipfile
from pathlib import Path

import msgspec
import pytest
from official_files import SIZES, WRITERS

from bertsmith.core.errors import DataError, UsageError
from bertsmith.core.storage import read_json, write_json
from bertsmith.finetuning import glue_submission as module
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.glue_submission import SHEETS, glue_submit
from bertsmith.finetuning.job import Job, finetune
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig

# Nine fine-tunings are made first.
pytestmark = pytest.mark.timeout(900)

TASKS = ("mnli", "qqp", "qnli", "sst-2", "cola", "sts-b", "mrpc", "rte", "wnli")


@pytest.fixture(scope="module")
def runs(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("glue")
    settings = {"epochs": 1, "batch_size": 12}
    found = {}
    for task in TASKS:
        WRITERS[task](root / "data" / task)
        source = Source(task=task, data=str(root / "data"))
        found[task] = root / "runs" / task
        finetune(
            Job(source=source, model=str(small_model), settings=settings), found[task], show=list
        )
    return found


@pytest.fixture
def small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official numbers of rows are too many for a test."""
    sizes = {"test": SIZES["test"], "test-mismatched": 4, "ax": 3}
    smaller = tuple(
        module.Sheet(one.name, one.task, one.part, 5 if one.name == "MNLI-m" else sizes[one.part])
        for one in SHEETS
    )
    monkeypatch.setattr(module, "SHEETS", smaller)


def test_the_official_numbers_of_rows() -> None:
    assert sum(sheet.rows for sheet in SHEETS) == 425_309 + 1_000
    assert len({sheet.name for sheet in SHEETS}) == 11


@pytest.mark.usefixtures("small_sheets")
def test_a_whole_submission(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "glue.zip"
    with pytest.raises(UsageError, match=r"lacks AX\.tsv, and the server wants every file"):
        glue_submit(list(runs.values()), out)
    assert not out.exists()
    done = glue_submit(list(runs.values()), out, partial=True)
    assert done.missing == ["AX.tsv"]
    with zipfile.ZipFile(out) as archive:
        files = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert len(files) == 10
    for name, lines in files.items():
        assert lines[0] == "index\tprediction"
        rows = [line.split("\t") for line in lines[1:]]
        assert [row[0] for row in rows] == [str(number) for number in range(done.rows[name])]
        answers = {row[1] for row in rows}
        if name == "STS-B.tsv":
            assert all(0 <= float(answer) <= 5 for answer in answers)
        elif name in ("QNLI.tsv", "RTE.tsv"):
            assert answers <= {"entailment", "not_entailment"}
        elif name.startswith("MNLI"):
            assert answers <= {"entailment", "neutral", "contradiction"}
        else:
            assert answers <= {"0", "1"}


@pytest.mark.usefixtures("small_sheets")
def test_what_loses_its_end_is_told(runs: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs["rte"], tmp_path / "rte")
    task_config = read_json(run / TASK_CONFIG, TaskConfig)
    short = Limits(max_length=8, stride=4)
    write_json(run / TASK_CONFIG, msgspec.structs.replace(task_config, limits=short))
    told: list[str] = []
    glue_submit([run], tmp_path / "glue.zip", partial=True, show=told.append)
    cut = "RTE: 5 of the inputs are truncated"
    assert told == [f"RTE: {run}", cut]


def test_rows_are_counted(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.tsv: found 5 rows, expected the 3,000 of the off"):
        glue_submit([runs["rte"]], tmp_path / "glue.zip", partial=True)


def test_runs_that_do_not_belong(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are both runs of 'rte'; give one"):
        glue_submit([runs["rte"], runs["rte"]], tmp_path / "glue.zip")
    with pytest.raises(UsageError, match=r"give a name that ends in \.zip"):
        glue_submit([runs["rte"]], tmp_path / "glue.tar")
    with pytest.raises(UsageError, match=r"holds no job\.json; give folders that"):
        glue_submit([tmp_path], tmp_path / "glue.zip")
    other = tmp_path / "squad"
    other.mkdir()
    job = Job(source=Source(task="squad", data="x"), model="m")
    (other / "job.json").write_bytes(msgspec.json.encode(job))
    with pytest.raises(UsageError, match="is a run of 'squad', which is not a GLUE task"):
        glue_submit([other], tmp_path / "glue.zip")
