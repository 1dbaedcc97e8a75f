"""The job: what this machine does in a second, in training and inference, and what follows.

Training steps run in the real loop, inference through the real backends, both on random inputs.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import numpy as np
import torch

from bertsmith.checkpoints.sources import resolve
from bertsmith.comparison.speed import time_steps
from bertsmith.core.errors import UsageError, nearest, option
from bertsmith.core.runtime import World, core_count
from bertsmith.inference.backends.backend import Backend, BackendName
from bertsmith.inference.backends.opening import TITLES, installed, open_model
from bertsmith.inference.backends.selection import (
    processor_name,
    seconds_per_text,
    texts_per_second,
)
from bertsmith.inference.folders import open_folder, variants
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import SIZES
from bertsmith.models.family import build, build_encoder
from bertsmith.models.modules.packed import PretrainBatch, packed_from_flat
from bertsmith.models.operations import Step
from bertsmith.training.parallel.matrix_rate import matrix_rate
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import has_native_bf16

DEFAULT_SIZES = ("tiny", "mini", "small", "base")
_VOCABULARY, _LENGTH, _MASKED = 30_000, 128, 19
_BATCHES = (8, 32)
"""Sequences of a training step."""
_LONGEST_STEP = 6.0
"""Seconds that a training step may take to be measured."""
_NOTICED = 1.1
"""How much faster something must be to be advised."""
_WIDTH = 768
"""Of the product that is the ceiling: `base`'s feed-forward layer."""

Say = Callable[[str], object]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the products of matrices reach here."""

    processor: str
    cores: int
    threads: int
    """That torch computes with."""
    load: float
    """Of the system, when the measuring began."""
    gflops: dict[str, float]
    """By precision."""
    gflops_by_threads: dict[int, float]
    """In fp32."""


class TrainingRate(msgspec.Struct, frozen=True, kw_only=True):
    """Pre-training with sequences of 128 tokens."""

    size: str
    sequences: int
    """Of a step."""
    precision: str
    tokens_per_second: float
    share: float
    """Of the rate that the products reach alone."""


class InferenceRate(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of 5 to 128 tokens, most of them short; and one of 32 tokens alone."""

    model: str
    backend: BackendName
    precision: str
    texts_per_second: float
    milliseconds: float
    """Of the one text."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    machine: Machine
    training: list[TrainingRate]
    inference: list[InferenceRate]
    skipped: list[str]
    """What would have taken too long, a sentence each."""
    advice: list[str]

    def lines(self) -> list[str]:
        """The same in words."""
        machine = self.machine
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in machine.gflops.items())
        lines = [
            f"{machine.processor}: {machine.cores} cores, {machine.threads} threads",
            f"Matrix products, GFLOP/s: {rates}",
            "",
            f"{'training':<10} {'batch':>6} {'':<5} {'tokens/s':>10} {'of the products':>16}",
        ]
        lines += [
            f"{one.size:<10} {one.sequences:>6} {one.precision:<5} {one.tokens_per_second:>10,.0f} "
            f"{one.share:>16.0%}"
            for one in self.training
        ]
        width = max([9, *(len(one.model) for one in self.inference)])
        lines += ["", f"{'inference':<{width}} {'':<18} {'texts/s':>9} {'ms a text':>10}"]
        lines += [
            f"{one.model:<{width}} {f'{TITLES[one.backend]} {one.precision}':<18} "
            f"{one.texts_per_second:>9,.0f} {one.milliseconds:>10.2f}"
            for one in self.inference
        ]
        return [*lines, *self.skipped, "", *self.advice]


def bench(
    model: str | None = None, *, sizes: Sequence[str] = DEFAULT_SIZES, say: Say = lambda line: None
) -> Bench:
    """Measures this machine's CPU.

    Args:
        model: a folder or a name: its inference alone is measured; None: presets.
        sizes: presets of BERT.
        say: gets a line before each measurement.

    Raises:
        UsageError: there is no such preset or model.
        FolderError: the model is damaged.
    """
    for size in sizes:
        if size not in SIZES:
            raise UsageError(
                f"{option('sizes')}: unknown size '{size}'{nearest(size, SIZES)}; expected "
                f"{', '.join(SIZES)}."
            )
    machine = _machine(say)
    training: list[TrainingRate] = []
    inference: list[InferenceRate] = []
    skipped: list[str] = []
    if model is not None:
        inference = _of_folder(model, say)
    else:
        for size in sizes:
            training += _training(size, machine, skipped, say)
            inference += _of_preset(size, say)
    return Bench(
        machine=machine,
        training=training,
        inference=inference,
        skipped=skipped,
        advice=_advice(machine, training, inference),
    )


def _machine(say: Say) -> Machine:
    say("measuring products of matrices")
    load, threads = os.getloadavg()[0], torch.get_num_threads()
    precisions = {"fp32": torch.float32}
    if has_native_bf16(_CPU.device):
        precisions["bf16"] = torch.bfloat16
    by_threads = {}
    for count in sorted({1, max(1, threads // 2), threads}):
        with _threads(count):
            by_threads[count] = _gflops(torch.float32)
    return Machine(
        processor=processor_name(),
        cores=core_count(),
        threads=threads,
        load=round(load, 2),
        gflops={name: _gflops(dtype) for name, dtype in precisions.items()},
        gflops_by_threads=by_threads,
    )


_CPU = Place(World(), torch.device("cpu"), "fp32")


def _gflops(dtype: torch.dtype) -> float:
    return matrix_rate(_CPU.device, dtype, width=_WIDTH, inner=4 * _WIDTH, rows=1024) / 1e9


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RandomBatches:
    """Steps of pre-training on random words, each of one micro-batch."""

    sequences: int

    def at(self, step: int, rank: int = 0, world: int = 1) -> list[PretrainBatch]:
        """The step's micro-batch."""
        draw = np.random.default_rng(step)
        lengths = np.full(self.sequences, _LENGTH)
        ids_T = draw.integers(5, _VOCABULARY, self.sequences * _LENGTH)
        chosen = draw.choice(_LENGTH, _MASKED, replace=False)
        places = np.arange(self.sequences)[:, None] * _LENGTH + chosen
        masked_P = torch.from_numpy(np.sort(places.ravel()))
        return [
            PretrainBatch(
                packed_from_flat(ids_T, np.zeros_like(ids_T), lengths),
                masked_P=masked_P,
                labels_P=torch.from_numpy(ids_T)[masked_P],
                next_B=torch.zeros(self.sequences, dtype=torch.int64),
            )
        ]


def _training(size: str, machine: Machine, skipped: list[str], say: Say) -> list[TrainingRate]:
    config = BertConfig.preset(size, vocab_size=_VOCABULARY)
    precision = max(machine.gflops, key=lambda name: machine.gflops[name])
    place = replace(_CPU, precision="bf16" if precision == "bf16" else "fp32")
    found = []
    for sequences in _BATCHES:
        step = Step(
            tokens=sequences * _LENGTH,
            sequences=sequences,
            word_predictions=sequences * _MASKED,
            squares=sequences * _LENGTH**2,
            distinct=0,
        )
        operations = 3 * config.forward_operations(step)
        ceiling = 1e9 * machine.gflops[precision]
        if operations / ceiling > _LONGEST_STEP:
            skipped.append(
                f"{size}: a training step of {sequences} sequences would take more than "
                f"{operations / ceiling:.0f} seconds and was not measured."
            )
            break
        say(f"training {size} with {sequences} sequences a step")
        torch.manual_seed(0)
        with Parallel(build(config, pieces=(), pair_task=True), place) as parallel:
            seconds = time_steps(parallel, _RandomBatches(sequences))
        found.append(
            TrainingRate(
                size=size,
                sequences=sequences,
                precision=precision,
                tokens_per_second=step.tokens / seconds,
                share=operations / seconds / ceiling,
            )
        )
    return found


# --- inference ----------------------------------------------------------------------------------


def _of_preset(size: str, say: Say) -> list[InferenceRate]:
    torch.manual_seed(0)
    encoder = build_encoder(BertConfig.preset(size, vocab_size=_VOCABULARY), pieces=()).eval()
    return [
        _rate(size, open_model(name, encoder, replace(_CPU, precision=precision)), precision, say)
        for name, precision in installed(tuple(TITLES), writes_graph=True)
    ]


def _of_folder(model: str, say: Say) -> list[InferenceRate]:
    folder = resolve(model)
    opened = open_folder(folder, "cpu", "fp32", None)
    return [
        _rate(model, open_folder(folder, "cpu", precision, name).backend, precision, say)
        for name, precision in variants(folder, opened.network, opened.export)
    ]


def _rate(model: str, backend: Backend, precision: str, say: Say) -> InferenceRate:
    say(f"answering with {model} in {TITLES[backend.name]}, {precision}")
    return InferenceRate(
        model=model,
        backend=backend.name,
        precision=precision,
        texts_per_second=texts_per_second(backend),
        milliseconds=1000 * seconds_per_text(backend),
    )


# --- advice -------------------------------------------------------------------------------------


def _advice(
    machine: Machine, training: Sequence[TrainingRate], inference: Sequence[InferenceRate]
) -> list[str]:
    advice = []
    if machine.load > machine.cores + 1:
        advice.append(
            f"Other work is running (load {machine.load:.0f} on {machine.cores} cores): measure "
            "again when it is done."
        )
    by_threads = machine.gflops_by_threads
    best = min(n for n in by_threads if by_threads[n] * _NOTICED >= max(by_threads.values()))
    if best < machine.threads:
        advice.append(
            f"Threads: {best} multiply as fast as {machine.threads}; OMP_NUM_THREADS={best} leaves "
            "the other cores to something else."
        )
    if "bf16" in machine.gflops:
        gain = machine.gflops["bf16"] / machine.gflops["fp32"]
        verb = "pays" if gain > _NOTICED else "does not pay"
        advice.append(f"Precision: bf16 multiplies {gain:.1f} times as fast as fp32, so it {verb}.")
    for small, large in pairwise(training):
        gain = large.tokens_per_second / small.tokens_per_second
        if small.size == large.size and gain > _NOTICED:
            advice.append(
                f"Batch: {large.size} trains {gain:.1f} times as many tokens a second with "
                f"{large.sequences} sequences a step as with {small.sequences}."
            )
    for model in dict.fromkeys(one.model for one in inference):
        rows = [one for one in inference if one.model == model]
        many = max(rows, key=lambda one: one.texts_per_second)
        one = min(rows, key=lambda one: one.milliseconds)
        advice.append(
            f"Backend for {model}: {TITLES[many.backend]} {many.precision} for many texts, "
            f"{TITLES[one.backend]} {one.precision} for one at a time."
        )
    there = {name for name, _ in installed(tuple(TITLES), writes_graph=True)}
    missing = [name for name in TITLES if name not in there]
    if missing:
        advice.append(
            f"Not measured: {', '.join(TITLES[name] for name in missing)} "
            f"(`pip install 'bertsmith[{','.join(missing)}]'`)."
        )
    return advice
