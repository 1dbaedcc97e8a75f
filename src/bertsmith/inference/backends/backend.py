"""The interface of what computes a model: packed inputs in, the outputs of its heads out."""

from collections.abc import Callable
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import ModelConfig, Objective
from bertsmith.models.head_config import HeadConfig
from bertsmith.models.modules.packed import Packed
from bertsmith.training.parallel.place import Place

BackendName = Literal["torch", "onnx", "openvino"]

Cut = Callable[[NDArray[np.int64]], list[slice]]
"""Cuts inputs of falling lengths into batches."""


class Backend(Protocol):
    """A model, ready to compute. Nothing draws a random number or keeps a gradient."""

    @property
    def name(self) -> BackendName:
        """Which runtime it is."""

    @property
    def config(self) -> ModelConfig:
        """Of the model."""

    @property
    def place(self) -> Place:
        """Where the outputs are."""

    @property
    def head(self) -> HeadConfig | None:
        """The output layer of a fine-tuned model; None: it is not fine-tuned."""

    @property
    def objective(self) -> Objective | None:
        """What the model predicts words from; None: it predicts none."""

    @property
    def judges_pairs(self) -> bool:
        """Whether it says if a sentence follows another."""

    @property
    def state_layers(self) -> tuple[int, ...] | None:
        """Layers that `states` is sure to have; None: it has none."""

    @property
    def workers(self) -> int:
        """Batches to compute at once, from so many threads."""

    def for_many(self) -> Self:
        """The same model, set up for many batches instead of the quickest answer to one."""

    def cut(self, lengths: NDArray[np.int64]) -> list[slice]:
        """Batches of inputs of these falling lengths."""

    def task_scores(self, batch: TaskBatch) -> Tensor:
        """Of a fine-tuned model: as `BertForTask.outputs`."""

    def states(self, packed: Packed, layers: tuple[int, ...]) -> Tensor:
        """The mean of some layers for each token, fp32 [T, D].

        Args:
            packed: the inputs.
            layers: 0: the embeddings; 1, 2, ...: the layers.

        Raises:
            UsageError: the model was exported without these states.
        """

    def word_log_probabilities(self, packed: Packed, places_P: Tensor) -> Tensor:
        """Of each word of the vocabulary at the places, indices into T, in nats, fp32 [P, V]."""

    def pair_scores(self, packed: Packed) -> Tensor:
        """Whether B follows A: scores of yes and no, [B, 2]."""
