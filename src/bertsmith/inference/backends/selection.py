"""The fastest backend for a model on this machine: measured once, then remembered.

Each candidate computes the same random inputs of mixed lengths for a moment. What was measured is
kept in the user's cache folder, under the model's size, the threads, the processor and the versions
of the runtimes: weights make no difference.
"""

import contextlib
import hashlib
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Literal

import msgspec
import numpy as np
import torch

from bertsmith.core.errors import BertsmithError
from bertsmith.core.storage import read_json, write_json
from bertsmith.inference.backends.backend import Backend, BackendName
from bertsmith.inference.backends.opening import TITLES
from bertsmith.inference.batches import Integers
from bertsmith.inference.in_order import in_order
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import ModelConfig
from bertsmith.models.modules.packed import packed_from_flat

Precision = Literal["fp32", "bf16"]
SECONDS = 0.7
"""Measured of each candidate, after its first round."""
_TEXTS = 64
_CACHE = "bertsmith"
_PACKAGES = ("bertsmith", "torch", "onnxruntime", "openvino")


class Rate(msgspec.Struct, frozen=True):
    """How fast a candidate is."""

    backend: BackendName
    precision: Precision
    texts_per_second: float

    def __str__(self) -> str:
        """For people: `OpenVINO bf16 412`."""
        return f"{TITLES[self.backend]} {self.precision} {self.texts_per_second:,.0f}"


class Choice(msgspec.Struct, frozen=True):
    """What was measured, the fastest first."""

    rates: list[Rate]
    remembered: bool = False
    """Whether it was measured by an earlier run."""

    @property
    def best(self) -> Rate:
        """The fastest."""
        return self.rates[0]

    def __str__(self) -> str:
        """For people: `Backend: OpenVINO bf16 (texts a second: OpenVINO bf16 412, ...)`."""
        how = "remembered" if self.remembered else "measured"
        rates = ", ".join(map(str, self.rates))
        return (
            f"Backend: {TITLES[self.best.backend]}, {self.best.precision} ({how}, texts a second: "
            f"{rates})."
        )


Candidates = Mapping[tuple[BackendName, Precision], Callable[[], Backend]]


def choose(candidates: Candidates, config: ModelConfig, *, what: str) -> Choice:
    """Which candidate is the fastest.

    Args:
        candidates: opens each.
        config: of the model.
        what: what else the speed depends on: the heads, the format of an exported graph.
    """
    key = _key(candidates, config, what)
    known = _remembered()
    if key in known and {(rate.backend, rate.precision) for rate in known[key]} == set(candidates):
        return Choice(known[key], remembered=True)
    rates = [
        Rate(name, precision, texts_per_second(open()))
        for (name, precision), open in candidates.items()
    ]
    rates.sort(key=lambda rate: -rate.texts_per_second)
    # A home that cannot be written costs a measurement in the next run, no more.
    with contextlib.suppress(BertsmithError):
        write_json(cache_file(), known | {key: rates})
    return Choice(rates)


def texts_per_second(backend: Backend, seconds: float = SECONDS) -> float:
    """How many texts of mixed lengths, 5 to 128 tokens, a backend computes in a second."""
    backend = backend.for_many()
    config = backend.config
    longest = min(128, config.max_position_embeddings)
    # Falling; most are short, as labelled texts are.
    lengths = np.geomspace(longest, min(5, longest), _TEXTS).round().astype(np.int64)
    batches = [_random(config, lengths[run]) for run in backend.cut(lengths)]

    def work(batch: TaskBatch) -> None:
        _compute(backend, batch)

    def round_() -> float:
        began = perf_counter()
        for _ in in_order(work, batches, workers=backend.workers):
            pass
        return perf_counter() - began

    round_()
    spent = [round_()]
    while sum(spent) < seconds:
        spent.append(round_())
    # The fastest round is disturbed least by whatever else the machine does.
    return _TEXTS / min(spent)


def seconds_per_text(backend: Backend, seconds: float = SECONDS) -> float:
    """How long a backend takes for one text of 32 tokens, the median."""
    tokens = min(32, backend.config.max_position_embeddings)
    batch = _random(backend.config, np.array([tokens]))
    spent: list[float] = []
    while len(spent) < 5 or sum(spent) < seconds:
        began = perf_counter()
        _compute(backend, batch)
        spent.append(perf_counter() - began)
    return statistics.median(spent)


def _compute(backend: Backend, batch: TaskBatch) -> None:
    """What the model is most likely for."""
    if backend.head is not None:
        backend.task_scores(batch)
    elif backend.state_layers is not None:
        backend.states(batch.packed, backend.state_layers)
    elif backend.objective is not None:
        backend.word_log_probabilities(batch.packed, batch.packed.lasts_B)
    else:
        backend.pair_scores(batch.packed)


def _random(config: ModelConfig, lengths_B: Integers) -> TaskBatch:
    """Random inputs of these lengths, of whose words the last one is asked for."""
    draw = np.random.default_rng(0)
    ids_T = draw.integers(0, config.vocab_size, int(lengths_B.sum()))
    packed = packed_from_flat(ids_T, np.zeros_like(ids_T), lengths_B)
    return TaskBatch(packed, None, words_P=packed.lasts_B, ends_P=packed.lasts_B)


def cache_file() -> Path:
    """Where measurements are kept: in the folder that the platform has for caches."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Caches"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return folder / _CACHE / "backends.json"


def _remembered() -> dict[str, list[Rate]]:
    """What was measured so far; nothing if the file is damaged, which is then written anew."""
    try:
        return read_json(cache_file(), dict[str, list[Rate]])
    except BertsmithError:
        return {}


def _key(candidates: Candidates, config: ModelConfig, what: str) -> str:
    versions = [f"{package} {_version(package)}" for package in _PACKAGES]
    parts = [str(config), what, processor_name(), str(torch.get_num_threads()), *versions]
    parts += [f"{name} {precision}" for name, precision in candidates]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def processor_name() -> str:
    """The processor's name as the system has it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
