"""A model as a graph in ONNX Runtime or OpenVINO: padded batches of near-equal lengths."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.core.runtime import World
from bertsmith.inference.backends.session import Arrays, Open, Session
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import ModelConfig, Objective
from bertsmith.models.head_config import HeadConfig
from bertsmith.models.modules.graph import INPUTS
from bertsmith.models.modules.packed import Packed
from bertsmith.training.parallel.place import Place

_STEP = 8
"""Lengths are padded to whole steps, so that a runtime meets few shapes."""
_MOST, _LEAST = 2048, 256
"""Tokens of a batch: at most, and enough to end it where a shorter input would be padded."""

Layers = tuple[int, ...]
Graphs = Callable[[Layers | None], bytes | Path]
"""Gives the graph of the model's heads (None), or of the states of some layers."""


@dataclass(frozen=True)
class GraphBackend:
    """A model that a runtime computes from its graph."""

    name: Literal["onnx", "openvino"]
    config: ModelConfig
    head: HeadConfig | None
    objective: Objective | None
    judges_pairs: bool
    state_layers: Layers | None
    graphs: Graphs
    open: Open
    most_calls: int
    """That the runtime computes at once."""
    workers: int = 1
    _sessions: dict[Layers | None, Session] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def place(self) -> Place:
        """The CPU, of this process alone."""
        return Place(World(), torch.device("cpu"), "fp32")

    def for_many(self) -> Self:
        """With a core for each batch, where the runtime computes several at once."""
        return self if self.most_calls == 1 else self._for_many

    @cached_property
    def _for_many(self) -> Self:
        return replace(self, workers=self.most_calls, _sessions={}, _lock=Lock())

    def cut(self, lengths: NDArray[np.int64]) -> list[slice]:
        """Near-equal lengths together, so that little is padded."""
        runs: list[slice] = []
        start = 0
        for place in range(1, len(lengths)):
            padded = _whole(int(lengths[start]))
            full = (place - start + 1) * padded > _MOST
            shorter = _whole(int(lengths[place])) < padded
            if full or (shorter and (place - start) * padded >= _LEAST):
                runs.append(slice(start, place))
                start = place
        return [*runs, slice(start, len(lengths))]

    def task_scores(self, batch: TaskBatch) -> Tensor:
        """As `Backend.task_scores`."""
        assert self.head is not None
        inputs = padded_inputs(batch.packed, self.config.max_position_embeddings)
        if self.head.level == "span":
            found = self._run(None, inputs, "start_logits", "end_logits")
            return _tokens(torch.stack(found, -1), inputs)
        [logits] = self._run(None, inputs, "logits")
        if self.head.level == "token":
            assert batch.words_P is not None
            return _tokens(logits, inputs)[batch.words_P]
        return logits

    def states(self, packed: Packed, layers: Layers) -> Tensor:
        """As `Backend.states`."""
        inputs = padded_inputs(packed, self.config.max_position_embeddings)
        [hidden_BLD] = self._run(layers, inputs, "last_hidden_state")
        return _tokens(hidden_BLD, inputs)

    def word_log_probabilities(self, packed: Packed, places_P: Tensor) -> Tensor:
        """As `Backend.word_log_probabilities`."""
        inputs = padded_inputs(packed, self.config.max_position_embeddings)
        name = "prediction_logits" if self.judges_pairs else "logits"
        [logits_BLV] = self._run(None, inputs, name)
        predicts_P = places_P - 1 if self.objective == "forward" else places_P
        return _tokens(logits_BLV, inputs)[predicts_P].log_softmax(-1)

    def pair_scores(self, packed: Packed) -> Tensor:
        """As `Backend.pair_scores`."""
        inputs = padded_inputs(packed, self.config.max_position_embeddings)
        name = "logits" if self.objective is None else "seq_relationship_logits"
        [scores_BC] = self._run(None, inputs, name)
        return scores_BC

    def _run(self, layers: Layers | None, inputs: Arrays, *outputs: str) -> list[Tensor]:
        with self._lock:
            if layers not in self._sessions:
                self._sessions[layers] = self.open(self.graphs(layers), self.workers)
        found = self._sessions[layers].run(inputs, outputs)
        return [torch.from_numpy(array) for array in found]


def _whole(length: int) -> int:
    """`length`, up to the next whole step."""
    return -(-length // _STEP) * _STEP


def padded_inputs(packed: Packed, longest: int) -> Arrays:
    """The inputs of a graph, int64 [B, L] each, `longest` at most."""
    shape = (packed.sequences, min(_whole(packed.longest), longest))
    lengths_B = packed.starts.diff().numpy()
    real_BL = np.arange(shape[1]) < lengths_B[:, None]
    ids, mask, segments = INPUTS
    inputs = {name: np.zeros(shape, dtype=np.int64) for name in INPUTS}
    inputs[mask][real_BL] = 1
    inputs[ids][real_BL] = packed.ids_T.numpy()
    inputs[segments][real_BL] = packed.segments_T.numpy()
    return inputs


def _tokens(padded: Tensor, inputs: Arrays) -> Tensor:
    """[B, L, ...] -> [T, ...]."""
    real_BL = torch.from_numpy(inputs["attention_mask"] != 0)
    return padded[real_BL]
