"""Inputs that an export is tried on: of the user's texts, and random ones of every length."""

from itertools import islice
from pathlib import Path

import numpy as np

from bertsmith.core.errors import DataError
from bertsmith.inference.predictor import Model
from bertsmith.models.config import ModelConfig
from bertsmith.models.modules.packed import Packed, pack, packed_from_flat
from bertsmith.tasks.datasets import reading
from bertsmith.tasks.datasets.fields import text_of
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.features import Features, encode_texts
from bertsmith.tasks.task_config import Columns
from bertsmith.text.formats import registry as formats

SAMPLES = 300
"""Inputs that int8 is calibrated on, as many as NNCF takes by default."""
_ROWS = 3000
"""First rows of a file, of which the samples are drawn."""
_BATCHES = (1, 2, 7, 33)
_TOKENS = 2048
"""Of a random batch, about: a model that predicts words gives a score for each of its words."""


def random_inputs(config: ModelConfig) -> list[Packed]:
    """Batches of 1 to 33 inputs, of one token up to as many as the model reads."""
    draw = np.random.default_rng(0)
    most = config.max_position_embeddings
    found = []
    for batch in _BATCHES:
        longest = min(most, max(2, 2 * _TOKENS // batch))
        lengths = np.linspace(longest, 1, batch).round().astype(int).tolist()
        ids = [draw.integers(0, config.vocab_size, length).tolist() for length in lengths]
        second = int(config.reads_pairs)
        segments = [[0] * (length // 2) + [second] * (length - length // 2) for length in lengths]
        found.append(pack(ids, segments))
    return found


def real_inputs(model: Model, source: Path | str, columns: Columns | None) -> list[Packed]:
    """Inputs of one sequence each, drawn from the rows of a file as the model reads them.

    Args:
        model: fine-tuned or not.
        source: what `predict` takes of a fine-tuned model, what `embed` takes of any other.
        columns: of the file; None: as in fine-tuning.

    Raises:
        DataError: there is no row, or one that the model cannot be asked about.
        UsageError, SystemFault: as `reading.asked`.
    """
    features = _features(model, source, columns)
    chosen = np.arange(len(features.rows))
    if len(chosen) > SAMPLES:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, SAMPLES, replace=False))
    tokenizer = model.tokenizer.with_special()
    return [packed_from_flat(*features.joined(row, tokenizer)) for row in chosen[:, None]]


def _features(model: Model, source: Path | str, columns: Columns | None) -> Features:
    if model.is_tuned:
        task_config = model.task_config
        found = reading.asked(
            task_config, source, columns=columns or task_config.columns or Columns()
        )
        examples = [example for _, example in islice(found, _ROWS)]
        if examples:
            return model.scorer.features(examples, task_config)
    else:
        text = (columns or Columns()).text
        texts = [
            TextExample(row.where, row.where, text_of(row, text, "text"))
            for row in islice(formats.read_rows(source), _ROWS)
        ]
        if texts:
            longest = model.config.max_position_embeddings
            return encode_texts(texts, model.tokenizer, Limits(max_length=longest, stride=longest))
    raise DataError(f"{source} has no rows; give the texts that the model is for.")
