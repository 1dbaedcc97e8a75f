"""Where a run may begin, and what is said where it may not."""

from pathlib import Path

import msgspec
import pytest
import torch

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.runtime import World
from bertsmith.core.storage import write_json
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.training import checkpoint, start
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.parallel.place import Place
from bertsmith.training.schedule import Moment, Phase, write_log
from bertsmith.training.start import enter, note_place

SETTINGS = "pretrain.json"
CONFIG = PretrainConfig(data="corpus", steps=10, phases=(Phase(1.0, 32),))


def change(**fields: object) -> PretrainConfig:
    return msgspec.structs.replace(CONFIG, **fields)


def find_start(
    out: Path, config: PretrainConfig, data: str, *, resume: bool
) -> tuple[TrainerState, Path | None]:
    free = {"save_every", "save_total_limit", "evaluate_every"}
    return start.find_start(folder_of(out), config, data, free=free, moved={"data"}, resume=resume)


def folder_of(out: Path) -> JobFolder:
    return JobFolder(out, "a pre-training run", SETTINGS)


def run_in(out: Path, *, steps: tuple[int, ...] = (3, 6)) -> None:
    with enter(folder_of(out), CONFIG):
        pass
    for step in steps:
        state = TrainerState(step=step, data="abc", config=CONFIG)
        checkpoint.save(out / "checkpoints", state, {}, write_model=lambda folder: None, keep=9)


def test_an_empty_or_absent_folder_starts_anew(tmp_path: Path) -> None:
    (tmp_path / ".pretrain.json.7.partial").touch()
    for out in (tmp_path, tmp_path / "new"):
        for resume in (False, True):
            state, folder = find_start(out, CONFIG, "abc", resume=resume)
            assert (state.step, state.data, folder) == (0, "abc", None)
    assert not (tmp_path / "new").exists()


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run_in(tmp_path)
    with pytest.raises(UsageError, match="already holds a pre-training run; add resume=True"):
        find_start(tmp_path, CONFIG, "abc", resume=False)


def test_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    for resume in (False, True):
        with pytest.raises(UsageError, match="holds other files than a pre-training run"):
            find_start(tmp_path, CONFIG, "abc", resume=resume)
    with pytest.raises(UsageError, match=r"thesis\.txt' is a file; give a folder"):
        find_start(tmp_path / "thesis.txt", CONFIG, "abc", resume=False)


def test_the_newest_checkpoint_is_found(tmp_path: Path) -> None:
    run_in(tmp_path)
    state, folder = find_start(tmp_path, CONFIG, "abc", resume=True)
    assert (state.step, folder) == (6, tmp_path / "checkpoints" / "step-00000006")


def test_a_damaged_newest_checkpoint_is_named_not_skipped(tmp_path: Path) -> None:
    run_in(tmp_path)
    newest = tmp_path / "checkpoints" / "step-00000006"
    (newest / "trainer.safetensors").write_bytes(b"")
    with pytest.raises(FolderError, match=f"delete {newest} to continue from the checkpoint befo"):
        find_start(tmp_path, CONFIG, "abc", resume=True)


def test_every_changed_setting_is_named(tmp_path: Path) -> None:
    run_in(tmp_path)
    other = change(seed=5, learning_rate=0.5, save_every=7, save_total_limit=1, evaluate_every=3)
    with pytest.raises(UsageError) as caught:
        find_start(tmp_path, other, "abc", resume=True)
    assert "learning_rate: 0.0001 -> 0.5; seed: 0 -> 5); use the same settings" in str(caught.value)
    assert "save_every" not in str(caught.value)
    state, _ = find_start(tmp_path, change(save_every=7, save_total_limit=1), "abc", resume=True)
    assert state.config.save_every == 7


def test_the_corpus_may_move_but_not_change(tmp_path: Path) -> None:
    run_in(tmp_path)
    state, _ = find_start(tmp_path, change(data="elsewhere"), "abc", resume=True)
    assert state.step == 6
    with pytest.raises(UsageError, match="data: 'corpus' -> 'elsewhere'"):
        find_start(tmp_path, change(data="elsewhere"), "xyz", resume=True)
    with pytest.raises(FolderError, match="has changed since; restore the data"):
        find_start(tmp_path, CONFIG, "xyz", resume=True)


def test_entering_clears_leftovers_and_takes_the_replayed_schedule(tmp_path: Path) -> None:
    config = change(steps=None, hours=1.0)
    log = tmp_path / "old.jsonl"
    moments = [Moment(step, 0.1 * step, 1e-3, 0, 32, 9.0 * step) for step in range(3)]
    write_log(log, moments)
    out = tmp_path / "out"
    (out / "checkpoints" / ".step-00000003.7.partial").mkdir(parents=True)
    (out / ".metrics.jsonl.7.partial").touch()
    with enter(folder_of(out), config, replay=log, phases=config.phases):
        assert sorted(path.name for path in out.rglob("*")) == [
            ".lock",
            "checkpoints",
            "pretrain.json",
            "schedule.jsonl",
        ]
    assert len((out / "schedule.jsonl").read_bytes().splitlines()) == 4
    with enter(folder_of(out), config, replay=log, phases=config.phases):
        pass
    write_log(log, moments[:2])
    with pytest.raises(UsageError, match="is not the schedule of the run in"):
        enter(folder_of(out), config, replay=log, phases=config.phases).__enter__()
    write_json(log, {})
    with pytest.raises(FolderError):
        enter(folder_of(tmp_path / "fresh"), config, replay=log, phases=config.phases).__enter__()
    assert not (tmp_path / "fresh").exists()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with (
        enter(folder_of(tmp_path), CONFIG),
        pytest.raises(UsageError, match="another process is writing to this folder"),
    ):
        enter(folder_of(tmp_path), CONFIG).__enter__()
    with enter(folder_of(tmp_path), CONFIG):
        pass
    assert not (tmp_path / ".lock").exists()


def test_a_run_that_goes_on_in_another_precision_is_told(tmp_path: Path) -> None:
    state, cpu = TrainerState(step=1200), torch.device("cpu")
    assert note_place(state, Place(World(), cpu, "bf16")) == ""
    assert state.computed == "cpu in bf16"
    assert note_place(state, Place(World(), cpu, "bf16")) == ""
    assert note_place(state, Place(World(), cpu, "fp32")) == (
        "Steps up to 1,200 ran on cpu in bf16; later ones run on cpu in fp32, so results will "
        "differ slightly from an uninterrupted run."
    )
    assert state.computed == "cpu in fp32"
