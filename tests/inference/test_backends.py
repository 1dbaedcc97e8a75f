"""Backends of a model folder: the same answers, the fastest one, work in threads."""

import json
import shutil
import threading
import time

import numpy as np
import pytest

import bertsmith
from bertsmith.cli.main import main
from bertsmith.core.errors import UsageError
from bertsmith.inference.backends import selection
from bertsmith.inference.backends.graph_backend import GraphBackend
from bertsmith.inference.backends.selection import Rate, cache_file
from bertsmith.inference.in_order import in_order, one_ahead

WORDS = "red green blue old new big small warm cold kind".split()
TEXTS = [" ".join(WORDS[(3 * n + k * k) % 10] for k in range(1 + n % 60)) for n in range(300)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test sees what another or the user has measured."""
    monkeypatch.setattr(selection, "cache_file", lambda: tmp_path / "cache" / "backends.json")
    monkeypatch.setattr(selection, "SECONDS", 0.01)
    return tmp_path / "cache" / "backends.json"


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_model_folder_gives_the_same_vectors_in_order(backend, small_model):
    expected = bertsmith.load(small_model).embed(TEXTS)
    model = bertsmith.load(small_model, backend=backend)
    np.testing.assert_allclose(model.embed(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(model.embed(TEXTS[7:9]), expected[7:9], atol=1e-5)


def test_near_equal_lengths_are_computed_together(small_model):
    backend = bertsmith.load(small_model, backend="onnx").backend
    assert isinstance(backend, GraphBackend)
    lengths = np.sort(np.random.default_rng(0).geometric(0.05, 3000).clip(3, 64))[::-1]
    runs = backend.cut(lengths)
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == len(lengths)
    padded = sum(-(-lengths[run.start] // 8) * 8 * (run.stop - run.start) for run in runs)
    assert padded < 1.25 * lengths.sum()
    assert max(int(lengths[run.start]) * (run.stop - run.start) for run in runs) <= 2048
    assert len(runs) < 60


def test_auto_measures_chooses_and_remembers(small_model, cache, monkeypatch, capsys):
    seen = []

    def rate(backend, seconds=0.0):
        seen.append((backend.name, backend.place.precision))
        return {"torch": 10.0, "onnx": 30.0, "openvino": 20.0}[backend.name]

    monkeypatch.setattr(selection, "texts_per_second", rate)
    model = bertsmith.load(small_model, backend="auto", precision="fp32")
    assert seen == [("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32")]
    assert model.backend.name == "onnx"
    assert not model.choice.remembered
    assert model.choice.rates[-1] == Rate("torch", "fp32", 10.0)
    assert len(json.loads(cache.read_text())) == 1
    again = bertsmith.load(small_model, backend="auto", precision="fp32")
    assert (len(seen), again.choice.remembered, again.backend.name) == (3, True, "onnx")
    cache.write_text("{damaged")
    bertsmith.load(small_model, backend="auto", precision="fp32")
    assert len(seen) == 6
    assert main(["embed", str(small_model), "red green", "--backend", "auto"]) == 0
    output = capsys.readouterr()
    assert "Backend: ONNX Runtime, fp32" in output.err
    assert len(output.out.split()) == 32


def test_auto_really_measures(small_model, cache):
    model = bertsmith.load(small_model, backend="auto", precision="fp32")
    names = {rate.backend for rate in model.choice.rates}
    assert names == {"torch", "onnx", "openvino"}
    assert all(rate.texts_per_second > 0 for rate in model.choice.rates)
    assert model.backend.name == model.choice.rates[0].backend


def test_auto_of_an_export_takes_what_can_run_it(small_model, tmp_path):
    for to, names in (("onnx", {"onnx", "openvino"}), ("openvino", {"openvino"})):
        bertsmith.export(small_model, tmp_path / "words", to=to)
        words = bertsmith.load(tmp_path / "words", backend="auto", precision="fp32")
        assert words.fill_mask("red [MASK]").blanks
        shutil.rmtree(tmp_path / "words")
        bertsmith.export(small_model, tmp_path / to, to=to, head="embedding")
        model = bertsmith.load(tmp_path / to, backend="auto", precision="fp32")
        assert {rate.backend for rate in model.choice.rates} == names
        assert model.embed(["red"]).shape == (1, 32)


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_file() == tmp_path / "bertsmith" / "backends.json"


def test_a_backend_without_the_precision_or_device_is_refused(small_model, monkeypatch):
    monkeypatch.setattr(
        "bertsmith.training.parallel.precision.has_native_bf16", lambda device: True
    )
    with pytest.raises(UsageError, match="ONNX Runtime has no bf16"):
        bertsmith.load(small_model, backend="onnx", precision="bf16")


def test_work_in_threads_comes_in_order_and_few_results_wait():
    running, most, begun = 0, 0, []
    lock = threading.Lock()

    def work(number):
        nonlocal running, most
        with lock:
            begun.append(number)
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (number % 3))
        with lock:
            running -= 1
        return number * number

    found = in_order(work, range(40), workers=3)
    assert [next(found), next(found)] == [0, 1]
    assert len(begun) < 15
    assert list(found) == [number * number for number in range(2, 40)]
    assert 1 < most <= 3
    assert list(in_order(work, range(3), workers=1)) == [0, 1, 4]


def test_an_error_in_a_thread_is_raised_and_the_rest_is_not_computed():
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise UsageError("five")
        return number

    with pytest.raises(UsageError, match="five"):
        list(in_order(work, range(1000), workers=2))
    assert len(begun) < 30


def test_one_item_is_made_ahead_of_its_reader():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number
        raise UsageError("after the last")

    found = one_ahead(items())
    assert next(found) == 0
    for _ in range(200):
        if made == [0, 1]:
            break
        time.sleep(0.01)
    assert made == [0, 1]
    assert [next(found), next(found), next(found)] == [1, 2, 3]
    with pytest.raises(UsageError, match="after the last"):
        next(found)
