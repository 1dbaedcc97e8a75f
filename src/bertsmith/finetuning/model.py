"""The model that a fine-tuning trains: an encoder under the fresh output layer of its task."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from bertsmith.checkpoints.folder import load_task
from bertsmith.core.runtime import derive_seed
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import TaskData
from bertsmith.finetuning.origin import Origin
from bertsmith.models.family import TaskModel, build_for_task
from bertsmith.models.head_config import FeatureBased, HeadConfig
from bertsmith.models.modules.embedding import WordEmbedding
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.place import Place


def build_model(
    config: FinetuneConfig,
    data: TaskData,
    origin: Origin,
    checkpoint_folder: Path | None = None,
) -> tuple[TaskModel, list[str]]:
    """The encoder of `origin` under a fresh output layer, or the model of a checkpoint, to train.

    Drawn weights are a function of the seed alone. Also the parts that `origin` lacks.
    """
    tokenizer = origin.tokenizer
    model_config = origin.model_config.with_dropout(config.dropout)
    # Special tokens that the vocabulary lacked are behind it.
    pieces = max(model_config.vocab_size, len(tokenizer))
    model_config = msgspec.structs.replace(model_config, vocab_size=pieces)
    torch.manual_seed(derive_seed(config.seed, "weights"))
    model = build_for_task(
        model_config,
        head_of(config, data.task, data.labels, tokenizer, paired=data.train.paired),
        pieces=tokenizer.vocab,
    )
    lacking: list[str] = []
    if checkpoint_folder is None:
        lacking = origin.fill(model, examples=data.train, seed=config.seed)
    else:
        model.load_state_dict(load_task(checkpoint_folder).state_dict())
    specials = [tokenizer.cls_id, tokenizer.sep_id]
    pieces_U = torch.from_numpy(np.union1d(data.train.pieces_T, specials))
    for part in model.modules():
        if isinstance(part, WordEmbedding) and part.weight.requires_grad:
            part.train_only(pieces_U)
    return model, lacking


def head_of(
    config: FinetuneConfig,
    task: Task,
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    paired: bool,
) -> HeadConfig:
    """The output layer of the model that a run trains."""
    return HeadConfig(
        level=task.kind.level,
        loss=task.kind.loss,
        labels=tuple(labels),
        extract_id=tokenizer.mask_id,
        paired=paired,
        both_orders=task.symmetric,
        frozen=config.frozen,
        features=FeatureBased(config.features, config.combine) if config.features else None,
        bilstm=config.bilstm,
    )


def class_weights(config: FinetuneConfig, data: TaskData, place: Place) -> torch.Tensor | None:
    """By which rare classes count as much as frequent ones in the loss; None: they do not."""
    if config.class_weights == "none":
        return None
    weights = data.task.kind.class_weights(data.train, data.labels)
    return torch.tensor(weights, dtype=torch.float32, device=place.device)
