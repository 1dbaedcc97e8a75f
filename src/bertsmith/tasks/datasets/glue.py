"""GLUE's tab-separated files (Wang et al. 2018), each task of the benchmark told by a `Layout`.

A line is a row, a tab ends a column, and a quote is a character like any other: these files are no
CSV. Columns are found by the names in the header, because their order differs between the parts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bertsmith.core.errors import DataError, explain_os_error
from bertsmith.tasks.examples import Example, TextExample
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.kinds.regression import REGRESSION
from bertsmith.tasks.task import Task
from bertsmith.text import rows, streams

# In QQP's official train file some questions hold a line break, so that their row is spread over
# lines far from each other. As everybody does (the counts 363,846 and 40,430 are without them),
# lines with too few columns are left out; more of them than this is another kind of damage.
_BROKEN = 100

# What Microsoft calls its own file of MRPC's training data.
_WHOLE_MRPC = "msr_paraphrase_train.txt"

_FILES = {part: (f"{part}.tsv",) for part in ("train", "dev", "test")}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the columns of a task's files are called and what they may hold."""

    a: str
    b: str | None = None
    label: str = "label"
    labels: tuple[str, ...] = ()
    """As spelled in the files, in the order of Google's `run_classifier.py`."""
    bounds: tuple[float, float] | None = None
    """Least and greatest value, where the label is a number instead of a class."""
    symmetric: bool = False
    """Whether it means nothing which text of a pair comes first."""
    header: tuple[str, ...] = ()
    """The columns of train and dev, where these have no header (CoLA)."""
    has_broken: bool = False
    """Whether official files have broken rows and empty texts (QQP)."""


def task(
    name: str,
    title: str,
    layout: Layout,
    *,
    metrics: tuple[str, ...],
    deciding: tuple[str, ...] = (),
    files: Mapping[str, tuple[str, ...]] = _FILES,
) -> Task:
    """A row of the table for files of this layout."""
    return Task(
        name=name,
        title=title,
        kind=REGRESSION if layout.bounds else CLASSIFICATION,
        metrics=metrics,
        deciding=deciding,
        files=files,
        read=partial(read, layout),
        labels=layout.labels,
        pair=layout.b is not None,
        symmetric=layout.symmetric,
        bounds=layout.bounds,
    )


def read(layout: Layout, path: Path, part: str) -> list[Example]:
    """The examples of one file, in order; only a test file may be without labels.

    Raises:
        DataError: a ragged row, a missing column, an empty text or a label that the task does not
            have, by file and line.
        SystemFault: the file cannot be read.
    """
    is_test = part.startswith("test")
    table = _rows(path, () if is_test else layout.header, has_broken=layout.has_broken)
    if path.name.startswith(_WHOLE_MRPC):
        table = _of_part(table, path, part)
    try:
        return [_example(layout, row, number, is_test=is_test) for number, row in enumerate(table)]
    except OSError as error:
        raise explain_os_error(error, "read", path) from error


def _rows(path: Path, header: tuple[str, ...], *, has_broken: bool) -> Iterator[rows.Row]:
    names, broken, named = list(header), 0, ""
    for number, line in enumerate(streams.decoded_lines(str(path), longest=rows.LONGEST_ROW), 1):
        fields = line.removesuffix("\n").removesuffix("\r").split("\t")
        if not names:
            names, named = fields, f"{path}:{number}"
        elif len(fields) == len(names):
            yield rows.Row(dict(zip(names, fields, strict=True)), f"{path}:{number}", named)
        elif has_broken and len(fields) < len(names) and broken < _BROKEN:
            broken += 1
        elif fields != [""]:
            raise DataError(
                f"{path}:{number}: found {len(fields)} {'columns' if len(fields) > 1 else 'column'}"
                f", expected {len(names)} separated by tabs ({', '.join(names)}); remove tabs and "
                "line breaks from the texts."
            )


def _of_part(table: Iterable[rows.Row], path: Path, part: str) -> Iterator[rows.Row]:
    """Microsoft's file holds train and dev; GLUE's list of pairs says which row belongs to which.

    Without the list, a dev.tsv that is there says so; without both, all rows are for training.
    """
    ids, whole_dev = path.with_name("dev_ids.tsv"), path.with_name("dev.tsv")
    dev: set[tuple[str, ...]] = set()
    if ids.exists():
        dev = {
            tuple(streams.decode_line(str(ids), line, number, offset).split())
            for line, number, offset in streams.lines(str(ids))
        }
    elif part == "dev":
        raise DataError(
            f"{ids} is missing; expected GLUE's list of the rows of {path.name} that are the dev "
            "part: download it, or put a dev.tsv there."
        )
    elif whole_dev.exists():
        dev = {_pair(row) for row in _rows(whole_dev, (), has_broken=False)}
    for row in table:
        if (_pair(row) in dev) == (part == "dev"):
            yield row


def _pair(row: rows.Row) -> tuple[str, ...]:
    """What Microsoft numbers a pair of sentences by."""
    return tuple(_column(row, name) for name in ("#1 ID", "#2 ID"))


def _example(layout: Layout, row: rows.Row, number: int, *, is_test: bool) -> TextExample:
    a = _text(row, layout.a, layout)
    b = None if layout.b is None else _text(row, layout.b, layout)
    label: str | float | None = None
    if not is_test or row.values.get(layout.label):
        label = _label(_column(row, layout.label), row.where, layout)
    key = row.values.get("index") or row.values.get("id") or str(number)
    return TextExample(row.where, key, a, b, label)


def _column(row: rows.Row, name: str) -> str:
    value: str = rows.column(row, name, advice="check that this is the right file, with its header")
    return value


def _text(row: rows.Row, name: str, layout: Layout) -> str:
    text = _column(row, name)
    if not text.strip() and not layout.has_broken:
        raise DataError(f"{row.where}: the text in column '{name}' is empty; remove the row.")
    return text


def _label(label: str, where: str, layout: Layout) -> str | float:
    if layout.bounds is None:
        if label not in layout.labels:
            known = ", ".join(f"'{name}'" for name in layout.labels)
            raise DataError(f"{where}: the label '{label}' is not one of {known}; correct the row.")
        return label
    least, greatest = layout.bounds
    try:
        value = float(label)
    except ValueError:
        value = float("nan")
    if not least <= value <= greatest:
        raise DataError(
            f"{where}: the label '{label}' is not a number from {least:g} to {greatest:g}; correct "
            "the row."
        )
    return value


MNLI = Layout(
    a="sentence1",
    b="sentence2",
    label="gold_label",
    labels=("contradiction", "entailment", "neutral"),
)

AX = task(
    "ax",
    "GLUE's diagnostic set, answered by a model for MNLI",
    MNLI,
    metrics=("matthews",),
    files={"test": ("AX.tsv", "diagnostic.tsv", "diagnostic/diagnostic.tsv")},
)
"""Only for submissions: its labels are secret and there is nothing to train on."""
