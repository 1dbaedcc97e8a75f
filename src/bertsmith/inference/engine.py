"""Examples through a fine-tuned model: the one way, for evaluation while training and for users."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.runtime import World
from bertsmith.inference.backends.backend import Backend
from bertsmith.inference.batches import Integers, evaluation_batches, make_batch
from bertsmith.inference.in_order import in_order
from bertsmith.models.bert.tasks import TaskBatch
from bertsmith.models.config import fits_vocabulary
from bertsmith.models.family import check_segments
from bertsmith.models.head_config import Level
from bertsmith.tasks.decode import Outputs
from bertsmith.tasks.examples import Example
from bertsmith.tasks.features import Features
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.task_config import TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_MANY = 8
"""Batches from which a backend is set up for many of them."""

Progress = Callable[[int, int], object]
"""Told the items done and their number."""


def check_vocabulary(folder: str, tokenizer: Tokenizer, pieces: int) -> None:
    """Refuses a tokenizer that does not fit the model beside it, which has so many `pieces`.

    Raises:
        FolderError: see `models.config.fits_vocabulary`.
    """
    if fits_vocabulary(pieces, len(tokenizer)):
        return
    more = len(tokenizer) - pieces
    complaint = f"{folder}: the tokenizer has {len(tokenizer)} pieces, config.json says {pieces}"
    tokens = [token.content for token in tokenizer.added if token.id >= pieces]
    if 0 < more == len(tokens):
        raise FolderError(
            f"{complaint}: the model has no embedding for the added token {tokens[0]!r}; give the "
            "tokenizer that the model was trained with, or resize the model's embeddings."
        )
    raise FolderError(f"{complaint}; the two files are from different models.")


def computed(
    backend: Backend,
    features: Features,
    tokenizer: Tokenizer,
    compute: Callable[[Backend, TaskBatch], Tensor],
    *,
    world: World,
    progress: Progress | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[Integers, Tensor]]:
    """What `compute` makes of this process's share of everything: items and tensor of each batch.

    The one loop over inputs that are not trained on. `progress` counts all processes' items.
    `batch_size` is the most items of a batch; None: as many as the device computes well.

    Raises:
        UsageError: `batch_size` is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"{option('batch_size', batch_size)} is below 1; expected 1 or more.")
    batches = evaluation_batches(features, backend.cut, batch_size=batch_size)
    if len(batches) >= _MANY:
        backend = backend.for_many()
    mine = batches[world.rank :: world.size]

    def work(items: Integers) -> tuple[Integers, Tensor]:
        return items, compute(backend, make_batch(features, items, tokenizer))

    ends = np.cumsum([len(items) for items in batches])
    for round_number, (items, found) in enumerate(in_order(work, mine, workers=backend.workers), 1):
        yield items, found
        if progress is not None:
            done = ends[min(round_number * world.size, len(ends)) - 1]
            progress(int(done), features.items)


@dataclass(frozen=True)
class Scorer:
    """A fine-tuned model in a backend, with its tokenizer."""

    backend: Backend
    tokenizer: Tokenizer

    def outputs(
        self,
        features: Features,
        progress: Progress | None = None,
        batch_size: int | None = None,
    ) -> Outputs:
        """The model's scores for every row, word or token of the features (see `tasks.decode`).

        Every process computes its share and gets the whole. `progress` is told the items done and
        their number; `batch_size` is the most of them at once.

        Raises:
            FolderError: a score is not a finite number.
            UsageError: the inputs are pairs, which the model cannot read.
        """
        backend, head = self.backend, self.backend.head
        assert head is not None
        if features.paired:
            check_segments("The model", backend.config)
        place = backend.place
        edges = _edges(features, head.level)
        precision = torch.float64 if head.is_number else torch.float32
        found = torch.zeros(int(edges[-1]), head.outputs, dtype=precision, device=place.device)
        batches = computed(
            backend,
            features,
            self.tokenizer,
            lambda chosen, batch: chosen.task_scores(batch),
            world=place.world,
            progress=progress,
            batch_size=batch_size,
        )
        for items, scores in batches:
            where = np.concatenate([np.arange(edges[item], edges[item + 1]) for item in items])
            found[torch.from_numpy(where)] = scores
        outputs = place.total_tensor(found).cpu().numpy()
        if not np.isfinite(outputs).all():
            raise FolderError(
                "The model's scores are not finite numbers: its weights are damaged or diverged; "
                "restore them from a good copy, or train again with a lower learning rate."
            )
        return outputs

    def features(self, examples: Sequence[Example], task_config: TaskConfig) -> Features:
        """The inputs of examples that are asked, as in fine-tuning."""
        unlabelled = [example.unlabelled() for example in examples]
        kind = kind_named(task_config.kind)
        return kind.encode(unlabelled, self.tokenizer, task_config.limits, task_config.labels)

    def predict(
        self,
        examples: Sequence[Example],
        task_config: TaskConfig,
        features: Features | None = None,
        progress: Progress | None = None,
        batch_size: int | None = None,
    ) -> list[Prediction]:
        """An answer for each example, in order.

        Args:
            examples: what is asked.
            task_config: of the model.
            features: of the examples, where they are at hand.
            progress: told the items done and their number.
            batch_size: most inputs at once; None: as many as the device computes well.
        """
        if not examples:
            return []
        if features is None:
            features = self.features(examples, task_config)
        outputs = self.outputs(features, progress, batch_size)
        return kind_named(task_config.kind).decode(features, outputs, examples, task_config)


def _edges(features: Features, level: Level) -> np.ndarray:
    """Where the outputs of each item begin, [items + 1]."""
    if level == "token":
        return features.word_edges
    if level == "span":
        return np.concatenate([[0], np.cumsum(features.lengths)])
    return np.arange(features.items + 1) * features.group
