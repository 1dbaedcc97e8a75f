"""A file through a model: the same rows, in order, with answers or vectors beside their columns.

Rows stream through: memory holds a block of them at a time, however long the file is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bertsmith.errors import DataError, UsageError
from bertsmith.prediction.embedding import Pooling
from bertsmith.prediction.predictor import Predictor
from bertsmith.tasks import conll, own, squad, table
from bertsmith.tasks.decode import (
    ChoiceAnswer,
    ClassAnswer,
    NumberAnswer,
    Prediction,
    SpanAnswer,
    TagAnswer,
)
from bertsmith.tasks.own import Columns
from bertsmith.tasks.task import ChoiceExample, Example, TagExample, Task
from bertsmith.tasks.taught import Taught
from bertsmith.text import rows, streams
from bertsmith.text.writers import open_vectors, open_writer

_BLOCK = 512
"""Rows."""
_CONLL = (".conll", ".iob", ".bio", ".iob2", ".bioes")

Item = TypeVar("Item")

Progress = Callable[[int], object]
"""Told how many rows are done."""

Asked = Iterator[tuple[dict[str, Any], Example]]
"""The columns of a row, and what the model is asked about it."""


class Done(msgspec.Struct, frozen=True):
    """What came out."""

    out: str
    rows: int


def predict_file(
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    columns: Columns,
    progress: Progress = lambda done: None,
) -> Done:
    """Writes what a fine-tuned model says of each row of a file.

    Args:
        predictor: of a fine-tuned model.
        source: .txt (a text a line), .csv, .tsv, .jsonl, .parquet or .arrow; also the official
            files of the model's own task, CoNLL's columns and SQuAD's .json.
        out: .jsonl, .csv, .tsv or .parquet; the same columns, then the answer's.
        columns: what the columns of `source` are called.
        progress: told how many rows are done.

    Raises:
        DataError: a row that cannot be asked about, by file and line.
        UsageError: the model is not fine-tuned, an ending is not supported, or a column of the file
            has the name of one of the answer's.
        SystemFault: the disk is full, ...
    """
    taught = predictor.taught
    _check_apart(source, out)
    count = 0
    with open_writer(out) as write:
        for block in _blocks(_read(taught, source, columns), alike=_same_document):
            _check_equal_choices([example for _, example in block])
            answers = predictor.predict([example for _, example in block])
            for (values, example), answer in zip(block, answers, strict=True):
                told = columns_of(answer)
                _check_free(values, told, example.where)
                write(values | told)
            count += len(block)
            progress(count)
    return Done(str(out), count)


def embed_file(
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    text: str,
    pooling: Pooling,
    layers: Sequence[int],
    progress: Progress = lambda done: None,
) -> Done:
    """Writes a vector for each row of a file.

    Args:
        predictor: of any model.
        source: .txt (a text a line), .csv, .tsv, .jsonl, .parquet or .arrow.
        out: .npy (float32 [N, D], in order) or .parquet (the same columns, then `embedding`).
        text: the column of the text.
        pooling: see `embedding.embed`.
        layers: see `embedding.embed`.
        progress: told how many rows are done.

    Raises:
        DataError: a row without a text, by file and line.
        UsageError: the ending is not supported, or the model has no such layer.
        SystemFault: the disk is full, ...
    """
    _check_apart(source, out)
    count = 0
    with open_vectors(out) as write:
        for block in _blocks(rows.read(source), alike=lambda one, other: False):
            texts = [own.text_of(row, text, "--text") for row in block]
            vectors = predictor.embed(texts, pooling=pooling, layers=layers)
            for row in block:
                _check_free(row.values, {"embedding": None}, row.where)
            write([row.values for row in block], vectors)
            count += len(block)
            progress(count)
    return Done(str(out), count)


def columns_of(answer: Prediction) -> dict[str, Any]:
    """An answer as columns."""
    match answer:
        case ClassAnswer():
            return {
                "predicted": answer.label,
                "probability": answer.probabilities[answer.label],
                "probabilities": answer.probabilities,
            }
        case NumberAnswer():
            return {"predicted": answer.value}
        case ChoiceAnswer():
            return {
                "predicted": answer.choice,
                "predicted_text": answer.text,
                "probability": answer.probabilities[answer.choice],
                "probabilities": answer.probabilities,
            }
        case TagAnswer():
            return {
                "predicted_words": answer.words,
                "predicted_tags": answer.tags,
                "probabilities": answer.probabilities,
                "entities": msgspec.to_builtins(answer.entities),
            }
        case SpanAnswer():
            return {
                "predicted": answer.text,
                "predicted_start": answer.start,
                "probability": answer.probability,
            }


def _read(taught: Taught, source: Path, columns: Columns) -> Asked:
    """Rows of the formats that have them; official files and CoNLL's columns by their readers."""
    ending = streams.endings(str(source))[0]
    official = _official_part(taught.task, source)
    examples: Iterable[Example]
    if official is not None:
        examples = table.read(source, *official)
    elif taught.kind == "tag" and ending in _CONLL:
        examples = conll.read(source, labelled=None)
    elif taught.kind == "answer" and ending == ".json":
        examples = squad.read(source, may_be_impossible=True, labelled=False)
    else:
        for number, row in enumerate(rows.read(source)):
            yield row.values, own.asked(taught.kind, row, str(number), columns=columns)
        return
    for example in examples:
        yield {"id": example.key}, example


def _official_part(task: str, source: Path) -> tuple[Task, str] | None:
    """The task and the part whose official file is called so; None for users' own files."""
    if task in table.TASKS:
        for part, names in table.TASKS[task].files.items():
            if source.name.removesuffix(streams.endings(str(source))[1]) in names:
                return table.TASKS[task], part
    return None


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


def _same_document(one: tuple[Any, Example], other: tuple[Any, Example]) -> bool:
    """Whether the sentences are context for one another."""
    match one[1], other[1]:
        case TagExample(document=first), TagExample(document=second):
            return first == second
    return False


def _check_equal_choices(examples: Sequence[Example]) -> None:
    counts = [len(one.choices) for one in examples if isinstance(one, ChoiceExample)]
    for example, count in zip(examples, counts, strict=False):
        if count != counts[0]:
            raise DataError(
                f"{example.where}: found {count} choices, expected {counts[0]} as in the rows "
                "before; give every row the same number of choices, none empty."
            )


def _check_apart(source: Path, out: Path) -> None:
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"--out {out} is the input itself; choose another name.")


def _check_free(values: dict[str, Any], told: dict[str, Any], where: str) -> None:
    taken = sorted(values.keys() & told.keys())
    if taken:
        raise UsageError(
            f"{where}: the file has a column '{taken[0]}' already, which is the name of one of the "
            "answer's; rename it."
        )
