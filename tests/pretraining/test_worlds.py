"""One run in worlds of 1, 2 and 4 processes: whole weights (DDP) and sharded ones (FSDP2)."""

import importlib
import json
import multiprocessing
import shutil
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from bertsmith.core.storage import write_json
from bertsmith.pretraining.config import PretrainConfig, pretrain_config
from bertsmith.training.progress import read_metrics
from bertsmith.training.schedule import Phase

STEPS, SAVED = 50, 20
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
MODEL_FILES = ("config.json", "model.safetensors", "README.md", "tokenizer.json", "vocab.txt")


def settings(corpus: Path, **flags: Any) -> PretrainConfig:
    shape = corpus.parent / "shape of worlds.json"
    write_json(shape, SHAPE)
    usual = {
        "data": str(corpus),
        "size": str(shape),
        "steps": STEPS,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "phases": (Phase(0.5, 32), Phase(0.5, 48)),
        "dropout": 0.0,
        "micro_tokens": 100,
        "precision": "fp32",
        "evaluate_every": 25,
        "evaluate_sequences": 16,
        "save_every": SAVED,
        "save_total_limit": 9,
    }
    return pretrain_config("modern", **(usual | flags))


class Worlds:
    """Starts processes and waits for them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["bertsmith.pretraining.run", "torch.distributed.fsdp", "torch.distributed.checkpoint"]
        )
        self._child = importlib.import_module("pretrain_child")

    def run(self, config: PretrainConfig, out: Path, size: int) -> None:
        """A run in a world of `size` processes, which continues what is in `out`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        ranks = [
            self._context.Process(
                target=self._child.run,
                args=(config, out, address | {"RANK": str(rank), "LOCAL_RANK": str(rank)}),
            )
            for rank in range(size)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(300)
        assert [process.exitcode for process in ranks] == [0] * size


def numbers(out: Path, kind: str, name: str) -> list[float]:
    records = read_metrics(out / "metrics.jsonl")
    return [record[name] for record in records if record["kind"] == kind]


def resumable_copy(out: Path, copy: Path, *, step: int) -> Path:
    """The run as a kill right after the checkpoint of `step` would have left it."""
    shutil.copytree(out, copy)
    for path in (copy / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    for name in ("config.json", "model.safetensors"):
        (copy / name).unlink()
    return copy


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return Worlds()


@pytest.fixture(scope="module")
def alone(worlds: Worlds, toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    worlds.run(settings(toy_corpus), out, 1)
    return out


@pytest.fixture(scope="module")
def sharded(worlds: Worlds, toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with its weights sharded over four processes."""
    out = tmp_path_factory.mktemp("sharded") / "out"
    worlds.run(settings(toy_corpus, shard=True), out, 4)
    return out


def same_run(out: Path, alone: Path) -> None:
    """Same losses within 1e-5, same number of tokens in every step, nearly the same weights."""
    assert len(numbers(out, "train", "loss")) == STEPS
    for kind, name in (("train", "loss"), ("evaluation", "mlm_loss"), ("evaluation", "nsp_loss")):
        expected = numbers(alone, kind, name)
        assert numbers(out, kind, name) == pytest.approx(expected, abs=1e-5), name
    assert numbers(out, "train", "tokens") == numbers(alone, "train", "tokens")
    weights, expected_weights = (load_file(run / "model.safetensors") for run in (out, alone))
    assert weights.keys() == expected_weights.keys()
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("size", "shard"),
    [(4, False), (2, True), pytest.param(2, False, marks=pytest.mark.slow)],
)
def test_every_world_trains_the_same(
    worlds: Worlds, toy_corpus: Path, alone: Path, tmp_path: Path, size: int, shard: bool
) -> None:
    worlds.run(settings(toy_corpus, shard=shard), tmp_path / "out", size)
    same_run(tmp_path / "out", alone)


def test_four_shards_train_the_same_and_every_process_saves_its_own(
    sharded: Path, alone: Path
) -> None:
    same_run(sharded, alone)
    newest = sharded / "checkpoints" / f"step-{STEPS:08d}"
    parts = sorted(path.name for path in (newest / "moments").iterdir())
    assert len(parts) == 4
    state = json.loads((newest / "trainer.json").read_text())
    assert {f"moments/{name}" for name in parts} < state["checksums"].keys()
    # All parts together hold every number once: two moments of each weight, and few step counts.
    sizes = [
        sum(tensor.numel() for tensor in load_file(newest / "moments" / name).values())
        for name in parts
    ]
    weights = sum(tensor.numel() for tensor in load_file(sharded / "model.safetensors").values())
    assert 2 * weights <= sum(sizes) < 2.05 * weights
    assert max(sizes) < 1.3 * sum(sizes) / 4


@pytest.mark.parametrize(
    ("size", "shard"),
    [(2, True), (1, True), pytest.param(2, False, marks=pytest.mark.slow)],
)
def test_what_four_shards_saved_goes_on_in_another_world(
    worlds: Worlds,
    toy_corpus: Path,
    alone: Path,
    sharded: Path,
    tmp_path: Path,
    size: int,
    shard: bool,
) -> None:
    out = resumable_copy(sharded, tmp_path / "out", step=SAVED)
    worlds.run(settings(toy_corpus, shard=shard), out, size)
    same_run(out, alone)
    before, after = (numbers(run, "train", "loss")[:SAVED] for run in (sharded, out))
    assert before == after


@pytest.mark.slow
def test_one_process_s_checkpoint_goes_on_in_shards(
    worlds: Worlds, toy_corpus: Path, alone: Path, tmp_path: Path
) -> None:
    out = resumable_copy(alone, tmp_path / "out", step=SAVED)
    worlds.run(settings(toy_corpus, shard=True), out, 2)
    same_run(out, alone)


@pytest.mark.parametrize("shard", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_world_comes_to_the_same_bytes_resumed_or_not(
    worlds: Worlds, toy_corpus: Path, sharded: Path, tmp_path: Path, shard: bool
) -> None:
    config = settings(toy_corpus, shard=shard)
    whole = sharded
    if not shard:
        whole = tmp_path / "whole"
        worlds.run(config, whole, 4)
    resumed = resumable_copy(whole, tmp_path / "resumed", step=SAVED)
    worlds.run(config, resumed, 4)
    for name in MODEL_FILES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    assert numbers(resumed, "train", "loss") == numbers(whole, "train", "loss")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt", "elmo"])
def test_other_families_are_sharded_too(
    worlds: Worlds, toy_corpus: Path, tmp_path: Path, model: str
) -> None:
    config = pretrain_config(
        "modern",
        **{
            name: value
            for name, value in msgspec.structs.asdict(settings(toy_corpus)).items()
            if name in ("data", "batch_size", "dropout", "precision", "micro_tokens")
        }
        | {"model": model, "size": "tiny", "steps": 4, "phases": (Phase(1.0, 32),)},
    )
    worlds.run(config, tmp_path / "one", 1)
    worlds.run(msgspec.structs.replace(config, shard=True), tmp_path / "two", 2)
    one, two = (numbers(tmp_path / name, "train", "loss") for name in ("one", "two"))
    assert len(one) == 4
    assert two == pytest.approx(one, rel=1e-5)
