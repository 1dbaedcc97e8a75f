"""`bench`: what is measured, what is left out, and what follows."""

import json
import math

import pytest
import torch

from bertsmith.cli.main import main
from bertsmith.comparison import machine
from bertsmith.core.errors import UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.family import build

TEXTS = {("torch", "fp32"): 100.0, ("onnx", "fp32"): 150.0, ("openvino", "fp32"): 140.0}
SECONDS = {"torch": 0.002, "onnx": 0.004, "openvino": 0.001}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """A machine of 100 GFLOP/s whose measurements take no time."""
    threads = [4]
    monkeypatch.setattr(machine, "has_native_bf16", lambda device: False)
    monkeypatch.setattr(
        machine,
        "installed",
        lambda names, writes_graph: [pair for pair in TEXTS if pair[0] in names],
    )
    monkeypatch.setattr(machine, "variants", lambda folder, network, export: list(TEXTS))
    monkeypatch.setattr(machine, "matrix_rate", lambda *size, **shape: 1e11 * min(threads[-1], 2))
    monkeypatch.setattr(
        machine, "time_steps", lambda parallel, batches: 0.01 + batches.sequences / 1e3
    )
    monkeypatch.setattr(
        machine, "texts_per_second", lambda backend: TEXTS[backend.name, backend.place.precision]
    )
    monkeypatch.setattr(machine, "seconds_per_text", lambda backend: SECONDS[backend.name])
    monkeypatch.setattr(machine.torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(machine.torch, "set_num_threads", threads.append)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.1, 0.1, 0.1))


def test_presets_are_measured_in_training_and_inference():
    found = machine.bench(sizes=("tiny", "mini"))
    assert [(one.size, one.sequences) for one in found.training] == [
        (size, sequences) for size in ("tiny", "mini") for sequences in (8, 32)
    ]
    assert found.training[0].tokens_per_second == pytest.approx(8 * 128 / 0.018)
    assert found.training[1].tokens_per_second == pytest.approx(32 * 128 / 0.042)
    assert 0 < found.training[0].share < 10
    assert "Threads: 2 multiply as fast as 4" in "\n".join(found.advice)
    assert [one.texts_per_second for one in found.inference] == [100, 150, 140] * 2
    assert found.inference[0].milliseconds == 2
    assert found.machine.gflops == {"fp32": 200.0}
    advice = "\n".join(found.advice)
    assert "ONNX Runtime fp32 for many texts, OpenVINO fp32 for one" in advice
    assert "tiny trains 1.7 times as many" in advice
    assert "bf16" not in advice


def test_a_model_alone(small_model, tmp_path, capsys):
    assert main(["bench", str(small_model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["training"] == []
    assert {one["model"] for one in found["inference"]} == {str(small_model)}
    assert [one["backend"] for one in found["inference"]] == ["torch", "onnx", "openvino"]
    assert main(["bench", str(small_model)]) == 0
    assert "texts/s" in capsys.readouterr().out


def test_steps_that_would_take_too_long_are_skipped(monkeypatch):
    monkeypatch.setattr(machine, "matrix_rate", lambda *size, **shape: 1e8)
    found = machine.bench(sizes=("tiny",))
    assert found.training == []
    assert found.skipped[0].startswith("tiny: a training step of 8 sequences")


def test_threads_that_gain_nothing_and_other_work_are_reported(monkeypatch):
    monkeypatch.setattr(machine, "matrix_rate", lambda *size, **shape: 1e11)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    advice = "\n".join(machine.bench(sizes=()).advice)
    assert "OMP_NUM_THREADS=1" in advice
    assert "load 99" in advice


def test_unknown_sizes_and_two_wishes_are_refused(capsys):
    with pytest.raises(UsageError, match=r"'minni'.*'mini'"):
        machine.bench(sizes=("minni",))
    assert main(["bench", "tiny-en", "--sizes", "tiny"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_random_steps_are_steps_of_pretraining():
    config = BertConfig.preset("tiny", vocab_size=30_000)
    [batch] = machine._RandomBatches(4).at(0)
    with torch.no_grad():
        losses = build(config, pieces=(), pair_task=True).losses(batch)
    assert batch.counts == {"mlm": 4 * 19, "nsp": 4}
    assert float(losses["mlm"]) / (4 * 19) == pytest.approx(math.log(30_000), abs=0.5)
    assert float(losses["nsp"]) / 4 == pytest.approx(math.log(2), abs=0.3)
