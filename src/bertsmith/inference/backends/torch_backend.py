"""A model in torch: packed, without padding, in fp32 or bf16, on a CPU or a GPU."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.models.bert.heads import BertForNextSentence
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import ModelConfig, Objective
from bertsmith.models.family import (
    Encoder,
    Pretrained,
    TaskModel,
    encoder_of,
    next_sentence_model,
)
from bertsmith.models.head_config import HeadConfig
from bertsmith.models.modules.packed import Packed, micro_batches
from bertsmith.training.parallel.place import Place

Network = Pretrained | BertForNextSentence | TaskModel | Encoder
"""Any model that a folder holds."""
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
"""Of a batch, by device."""


@dataclass(frozen=True)
class TorchBackend:
    """A model on its place."""

    model: Network
    place: Place
    name: Literal["torch"] = "torch"
    workers: int = 1

    @property
    def config(self) -> ModelConfig:
        """As `Backend.config`."""
        return self.model.config

    @property
    def head(self) -> HeadConfig | None:
        """As `Backend.head`."""
        return self.model.head if isinstance(self.model, TaskModel) else None

    @property
    def objective(self) -> Objective | None:
        """As `Backend.objective`."""
        return self.model.objective if isinstance(self.model, Pretrained) else None

    @property
    def judges_pairs(self) -> bool:
        """As `Backend.judges_pairs`."""
        return next_sentence_model(self.model) is not None

    @property
    def state_layers(self) -> tuple[int, ...]:
        """The last one."""
        return (self.config.num_hidden_layers,)

    def for_many(self) -> Self:
        """Itself."""
        return self

    def cut(self, lengths: NDArray[np.int64]) -> list[slice]:
        """By tokens; lengths need not be alike."""
        micro_tokens = TOKENS_AT_ONCE[self.place.device.type]
        [runs] = micro_batches(lengths, 1, micro_tokens=micro_tokens)
        return runs

    @torch.inference_mode()
    def task_scores(self, batch: TaskBatch) -> Tensor:
        """As `Backend.task_scores`; the model is put in evaluation mode."""
        assert isinstance(self.model, TaskModel)
        self.model.eval()
        with self.place.autocast():
            return self.model.outputs(batch.to(self.place.device))

    @torch.inference_mode()
    def states(self, packed: Packed, layers: tuple[int, ...]) -> Tensor:
        """As `Backend.states`."""
        with self.place.autocast():
            states = list(encoder_of(self.model).layers(packed.to(self.place.device)))
            return torch.stack([states[layer] for layer in layers]).float().mean(0)

    @torch.inference_mode()
    def word_log_probabilities(self, packed: Packed, places_P: Tensor) -> Tensor:
        """As `Backend.word_log_probabilities`; a one-way model is asked from each side."""
        model, device = self.model, self.place.device
        assert isinstance(model, Pretrained)
        packed, places_P = packed.to(device), places_P.to(device)
        encoder = encoder_of(model)
        with self.place.autocast():
            match model.objective:
                case "masked":
                    return model.logits(encoder(packed, places_P)).float().log_softmax(-1)
                case "forward":
                    return model.logits(encoder(packed, places_P - 1)).float().log_softmax(-1)
                case "both":
                    before_TP, after_TP = encoder(packed).chunk(2, -1)
                    left = model.logits(before_TP[places_P - 1]).float().log_softmax(-1)
                    right = model.logits(after_TP[places_P + 1]).float().log_softmax(-1)
                    return (left + right).log_softmax(-1)

    @torch.inference_mode()
    def pair_scores(self, packed: Packed) -> Tensor:
        """As `Backend.pair_scores`."""
        model = next_sentence_model(self.model)
        assert model is not None
        packed = packed.to(self.place.device)
        with self.place.autocast():
            return model.pair_logits(model.bert(packed, packed.firsts_B))
