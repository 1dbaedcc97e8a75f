"""A file through a model: the same rows, in order, with answers or vectors beside their columns.

Rows stream through: memory holds a block of them at a time, however long the file is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bertsmith.core.errors import UsageError, option
from bertsmith.core.job_folder import check_new_file
from bertsmith.inference.in_order import one_ahead
from bertsmith.inference.likelihood import summary
from bertsmith.inference.predictor import Model
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import reading
from bertsmith.tasks.datasets.fields import text_of
from bertsmith.tasks.examples import Example
from bertsmith.tasks.features import Features
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.formats.registry import read_rows
from bertsmith.text.writers import open_vectors, open_writer

_BLOCK = 512
"""Rows."""

Item = TypeVar("Item")

AnsweredBlock = tuple[list[tuple[dict[str, Any], dict[str, Any]]], int]

Progress = Callable[[int], object]
"""Told how many rows are done."""


class Done(msgspec.Struct, frozen=True):
    """What came out."""

    out: str
    rows: int
    truncated: int = 0
    """Rows whose text lost its end, because the model was taught on shorter inputs."""

    @property
    def counted(self) -> str:
        """How many rows, in words."""
        return f"{self.rows:,} row{'s' * (self.rows != 1)}"

    @property
    def told(self) -> str:
        """What was cut, in words; empty if nothing was."""
        if not self.truncated:
            return ""
        return (
            f"Texts truncated to the model's maximum length: {self.truncated:,}. To use them "
            f"whole, fine-tune with {option('long_texts', 'windows')} or a larger "
            f"{option('max_length')}."
        )


class Predicted(Done, frozen=True, kw_only=True):
    """What came out, and what was left out."""

    skipped: list[str] = []
    """What is wrong with rows that were left out, a line for each kind of fault."""


class Embedded(Done, frozen=True, kw_only=True):
    """What came out, and how."""

    embedding: str
    """How the vectors were made, in words."""


def predict_file(
    predictor: Model,
    source: Path | str,
    out: Path,
    *,
    columns: Columns,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done: None,
) -> Predicted:
    """Writes what a fine-tuned model says of each row of a file.

    Args:
        predictor: of a fine-tuned model.
        source: .txt (one text per line), .csv, .tsv, .jsonl, .parquet or .arrow; also the official
            files of the model's own task, CoNLL's columns and SQuAD's .json.
        out: .jsonl, .csv, .tsv or .parquet; the same columns, then the answer's.
        columns: what the columns of `source` are called.
        skip_bad: leave out rows that cannot be asked about, instead of refusing the file.
        overwrite: whether `out` may be there already.
        progress: told how many rows are done.

    Raises:
        DataError: rows that cannot be asked about; all are named before the first is answered.
        UsageError: the model is not fine-tuned, `out` is there already, an ending is not supported,
            or a column of the file has the name of one of the answer's.
        SystemFault: the disk is full, ...
    """
    count = cut = 0
    check_new_file(out, source, overwrite=overwrite)
    answers, bad = predicted_rows(predictor, source, columns=columns, skip_bad=skip_bad)
    with open_writer(out) as write:
        for block, lost in answers:
            for values, answer in block:
                write(values | answer)
            count += len(block)
            cut += lost
            progress(count)
    return Predicted(str(out), count, cut, skipped=bad.lines())


def predicted_rows(
    predictor: Model, source: Path | str, *, columns: Columns, skip_bad: bool = False
) -> tuple[Iterator[AnsweredBlock], BadRows]:
    """The rows of a file in blocks, each row's own columns and the answer's; see `predict_file`.

    With each block comes how many of its rows lost the end of their text.

    Returns:
        The blocks, and the rows that are left out, which are all known before the first block.

    Raises:
        DataError, UsageError, SystemFault: as `predict_file`; the model and the rows are checked at
            once.
    """
    task_config, bad = predictor.task_config, BadRows(skip=skip_bad)
    for _ in reading.asked(task_config, source, columns=columns, bad=bad):
        pass  # Reading is quick beside answering, and no answer is lost to a row far below.
    again = reading.asked(task_config, source, columns=columns, bad=BadRows(skip=skip_bad))
    return _predicted(predictor, task_config, again), bad


def _predicted(
    predictor: Model, task_config: TaskConfig, asked: reading.Asked
) -> Iterator[AnsweredBlock]:
    kind = kind_named(task_config.kind)

    def encoded() -> Iterator[tuple[list[tuple[dict[str, Any], Example]], Features]]:
        for block in _blocks(asked, alike=lambda one, other: kind.goes_on(one[1], other[1])):
            examples = [example for _, example in block]
            kind.check_block(examples)
            yield block, predictor.scorer.features(examples, task_config)

    for block, features in one_ahead(encoded()):
        examples = [example for _, example in block]
        predictions = predictor.scorer.predict(examples, task_config, features)
        answers = [prediction.columns for prediction in predictions]
        for (values, example), answer in zip(block, answers, strict=True):
            _check_free(values, answer, example.where)
        rows = [(values, answer) for (values, _), answer in zip(block, answers, strict=True)]
        yield rows, features.truncated


def embed_file(
    predictor: Model,
    source: Path | str,
    out: Path,
    *,
    text: str,
    overwrite: bool = False,
    progress: Progress = lambda done: None,
    **how: Any,
) -> Embedded:
    """Writes a vector for each row of a file.

    Args:
        predictor: of any model.
        source: .txt (one text per line), .csv, .tsv, .jsonl, .parquet or .arrow.
        out: .npy (float32 [N, D], in order) or .parquet (the same columns, then `embedding`).
        text: the column of the text.
        overwrite: whether `out` may be there already.
        progress: told how many rows are done.
        how: settings of `Model.embed`.

    Raises:
        DataError: a row without a text, by file and line.
        UsageError: `out` is there already, the ending is not supported, or a setting does not fit.
        FolderError: a module of a folder of sentence-transformers is damaged.
        SystemFault: the disk is full, ...
    """
    chosen = {name: how[name] for name in how.keys() & {"pooling", "layers", "prompt"}}
    embedding = str(predictor.embedding(**chosen))
    check_new_file(out, source, overwrite=overwrite)
    count = 0
    with open_vectors(out) as write:
        for block in one_ahead(_blocks(read_rows(source), alike=lambda one, other: False)):
            texts = [text_of(row, text, "text") for row in block]
            vectors = predictor.embed(texts, **how)
            for row in block:
                _check_free(row.values, {"embedding": None}, row.where)
            write([row.values for row in block], vectors)
            count += len(block)
            progress(count)
    return Embedded(str(out), count, embedding=embedding)


def score_file(
    predictor: Model,
    source: Path | str,
    out: Path,
    *,
    text: str,
    overwrite: bool = False,
    progress: Progress = lambda done: None,
) -> Done:
    """Writes the log-likelihood of each row of a file by a pre-trained model.

    Args:
        predictor: of a pre-trained model.
        source: .txt (one text per line), .csv, .tsv, .jsonl, .parquet or .arrow.
        out: .jsonl, .csv, .tsv or .parquet; the same columns, then those of `likelihood.summary`.
        text: the column of the text.
        overwrite: whether `out` may be there already.
        progress: told how many rows are done.

    Raises:
        DataError: a row without a text, by file and line.
        UsageError: `out` is there already, the ending is not supported, the model is not
            pre-trained, or a text is too long.
        SystemFault: the disk is full, ...
    """
    check_new_file(out, source, overwrite=overwrite)
    count = 0
    with open_writer(out) as write:
        for block in _blocks(read_rows(source), alike=lambda one, other: False):
            scores = predictor.log_likelihood([text_of(row, text, "text") for row in block])
            for row, found in zip(block, scores, strict=True):
                score = summary(found)
                _check_free(row.values, score, row.where)
                write(row.values | score)
            count += len(block)
            progress(count)
    return Done(str(out), count)


def _blocks(items: Iterator[Item], *, alike: Callable[[Item, Item], bool]) -> Iterator[list[Item]]:
    """Items in blocks; what is `alike` with the one before stays in its block."""
    block: list[Item] = []
    for item in items:
        if len(block) >= _BLOCK and not alike(block[-1], item):
            yield block
            block = []
        block.append(item)
    if block:
        yield block


def _check_free(values: dict[str, Any], told: dict[str, Any], where: str) -> None:
    taken = sorted(values.keys() & told.keys())
    if taken:
        raise UsageError(
            f"{where}: the file has a column '{taken[0]}' already, which is the name of one of the "
            "answer's; rename it."
        )
