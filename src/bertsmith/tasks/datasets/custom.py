"""Users' own files as examples: their columns are named by flags, their labels are learned.

Rows of CSV, TSV, JSONL, Parquet or Arrow; CoNLL's columns for tags; SQuAD's JSON for answers; to be
asked about, lines of text too.
Labels are read as strings, so that what is trained does not depend on the
format: JSON's 1 and true are the classes `1` and `true`, as they would be in a CSV file.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.models.head_config import Kind
from bertsmith.tasks.checks import classes
from bertsmith.tasks.datasets import conll, question_rows, squad
from bertsmith.tasks.datasets.fields import label_of, list_of, name_of, text_of
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.tagging import name_entities
from bertsmith.tasks.task import (
    AnswerExample,
    ChoiceExample,
    Example,
    TagExample,
    Task,
    TextExample,
)
from bertsmith.text import arrow, rows, segmentation, streams
from bertsmith.text.rows import Row

_METRICS: dict[Kind, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "regress": ("pearson", "spearman", "mae"),
    "choose": ("accuracy",),
    "tag": ("entity_precision", "entity_recall", "entity_f1"),
    "answer": ("exact_match", "answer_f1"),
}
_DECIDING = ("entity_f1", "pearson", "spearman")
"""Those that decide where a kind has one of them; elsewhere all do."""
_NOT_ENTITIES = ("tag_accuracy",)
"""For tags of another kind, such as parts of speech."""

# Formats whose rows can hold lists of words.
_LISTS = (".jsonl", ".json", ".parquet", ".arrow")
# An output layer in single precision has no room for much greater ones.
_GREATEST = 1e30

_USUAL_WORDS, _USUAL_TAGS = "words", "tags"

Layout = Literal["columns", "squad", "rows"]
"""CoNLL's columns, SQuAD's JSON, or rows with named columns."""

_COLUMNS = "give them as columns of a .csv, .tsv, .jsonl or .parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What the user's columns are called; each kind of task reads only its own."""

    text: str = "text"
    """The text, or the first of two, or what the choices continue."""
    text_pair: str | None = None
    label: str = "label"
    choices: tuple[str, ...] = ()
    """A column for each choice, or one column that holds a list of them."""
    words: str = _USUAL_WORDS
    """Of lists, or in a file of columns the name or the number (from 1) of the words' column."""
    tags: str = _USUAL_TAGS
    question: str = "question"
    context: str = "context"
    answer: str = "answer"
    """The answer's text, empty if there is none, or SQuAD's `answers`; see `answers`."""

    @property
    def chosen(self) -> tuple[str | None, str | None]:
        """The columns of words and tags that were chosen, as `conll.read` takes them."""
        words = None if self.words in (_USUAL_WORDS, "") else self.words
        return words, None if self.tags == _USUAL_TAGS else self.tags


def layout(kind: Kind, path: Path | str, *, labelled: bool, labels: Collection[str] = ()) -> Layout:
    """How a file of the user's own is read, by its ending and, to be asked, by its beginning.

    A labelled file for `tag` has columns unless its rows can hold lists. What a model is only asked
    about may also be running text or a table, in a `.txt`, `.csv` or `.tsv`: it has columns if its
    first lines end in tags.

    Args:
        kind: what the task does.
        path: the file.
        labelled: whether it has to have labels.
        labels: tags that the model knows.

    Raises:
        UsageError: the path is a folder.
        DataError: the file is not UTF-8.
        SystemFault: it cannot be read.
    """
    rows.refuse_folder(path)
    ending = streams.endings(str(path))[0]
    if kind == "answer" and ending == ".json":
        return "squad"
    if kind != "tag" or ending in _LISTS:
        return "rows"
    if labelled or ending not in rows.READERS or conll.has_tags(path, labels):
        return "columns"
    return "rows"


def read_own(
    kind: Kind,
    path: Path | str,
    *,
    columns: Columns,
    skipped: list[str] | None = None,
    notes: Notes | None = None,
) -> Iterator[Example]:
    """The labelled examples of one file, in order, one at a time where the format has rows.

    Args:
        kind: what the task does.
        path: the file, possibly packed; its ending tells the format.
        columns: what its columns are called.
        skipped: None makes answers that are not in their context an error; into a list goes, a
            sentence each, what is wrong with them, and they are left out.
        notes: are told what was decided by a rule.

    Raises:
        DataError: a missing column, an empty text, a missing label, or one that is not what the
            kind needs, by file and line; or as the format's reader.
        UsageError: the path is a folder, the ending is not supported or that of mere lines of text,
            or `choose` has no columns of choices.
        SystemFault: the file cannot be read.
    """
    match layout(kind, path, labelled=True):
        case "columns":
            words, tags = columns.chosen
            yield from conll.read(path, words=words, tags=tags, notes=notes)
        case "squad":
            yield from squad.read(path, may_be_impossible=True, skipped=skipped, notes=notes)
        case "rows" if _is_lines(path):
            raise UsageError(f"{path} has one text a line and no labels; {_COLUMNS}.")
        case "rows" if kind == "answer":
            names = columns.question, columns.context, columns.answer
            yield from question_rows.read(path, *names, skipped=skipped, notes=notes)
        case "rows" if kind == "choose":
            yield from _of_equal_number(path, columns)
        case "rows":
            classes_of = arrow.class_names(path).get(columns.tags) if kind == "tag" else None
            for number, row in enumerate(rows.read(path)):
                example = _PARSERS[kind](row, str(number), columns, True)
                yield _named(example, classes_of, columns.tags) if classes_of else example


def columns_in(path: Path | str, kind: Kind, columns: Columns) -> Columns:
    """What the columns of one file are called: a `.txt` has the text alone, by its own name.

    Raises:
        UsageError: a `.txt`, and the model is asked more than one text at a time.
    """
    if not _is_lines(path):
        return columns
    if kind in ("choose", "answer") or columns.text_pair is not None:
        raise UsageError(
            f"{path} has one text a line, but this model is asked several together; {_COLUMNS}."
        )
    # No line holds a list of words.
    return replace(columns, text=rows.TEXT, words="")


def _is_lines(path: Path | str) -> bool:
    return streams.endings(str(path))[0] == ".txt"


def asked(kind: Kind, row: Row, key: str, *, columns: Columns) -> Example:
    """The example in one row, no label looked for: what a model is to be asked.

    For `tag`, a row without a column of words has its text cut into words.

    Raises:
        DataError: a missing column, an empty text, fewer than two choices.
    """
    match kind:
        case "choose":
            choices = _choices(row, columns.choices)
            if len(choices) < 2:
                raise DataError(
                    f"{row.where}: found {len(choices)} choices, expected at least two; name their "
                    f"columns with {option('choices')}."
                )
            return ChoiceExample(row.where, key, text_of(row, columns.text, "text"), choices)
        case "answer":
            return AnswerExample(
                row.where,
                key,
                text_of(row, columns.question, "question"),
                text_of(row, columns.context, "context"),
            )
        case "tag" if columns.words not in row.values:
            text = text_of(row, columns.text, "text")
            found = running_text(row.where, key, text, document=int(key))
            if not found.words:
                raise DataError(
                    f"{row.where}: the text in column '{columns.text}' has no visible character; "
                    "remove the row."
                )
            return found
        case _:
            return _PARSERS[kind](row, key, columns, False)


def running_text(where: str, key: str, text: str, *, document: int) -> TagExample:
    """A text cut into words, which a tagger is asked about; see `segmentation` for the rules.

    Raises:
        DataError: the text holds characters that are not Unicode text (lone surrogates).
    """
    places = segmentation.words(text)
    words = tuple(text[start:end] for start, end in places)
    return TagExample(where, key, words, document=document, text=text, places=tuple(places))


def metrics_of(kind: Kind, labels: Sequence[str]) -> tuple[str, ...]:
    """What the user's own data of a kind is scored by, given its classes or tags."""
    if kind == "tag" and not name_entities(labels):
        return _NOT_ENTITIES
    return _METRICS[kind]


def own_task(kind: Kind, *, columns: Columns, train: Sequence[Example]) -> Task:
    """The row that a table would have for the user's files; labels are learned from `train`."""
    labels = classes(train)
    names = metrics_of(kind, labels)
    return Task(
        name=kind,
        title=f"Own data ({kind})",
        kind=kind,
        metrics=names,
        deciding=tuple(name for name in names if name in _DECIDING),
        files={},
        labels=labels,
        pair=columns.text_pair is not None,
        may_be_impossible=any(
            isinstance(example, AnswerExample) and example.answers == () for example in train
        ),
    )


def _classified(row: Row, key: str, columns: Columns, labelled: bool) -> Example:
    return _texts(row, key, columns, label_of(row, columns.label) if labelled else None)


def _measured(row: Row, key: str, columns: Columns, labelled: bool) -> Example:
    if not labelled:
        return _texts(row, key, columns, None)
    label = label_of(row, columns.label)
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    # Python alone reads 1_000 as a number.
    if not math.isfinite(value) or "_" in label:
        raise DataError(
            f"{row.where}: the label '{label}' in column '{columns.label}' is not a finite number, "
            "written as 1234.5; correct it, or use `classify` for classes."
        )
    if abs(value) > _GREATEST:
        raise DataError(
            f"{row.where}: the label '{label}' in column '{columns.label}' is beyond what can be "
            f"learned, -{_GREATEST:g} to {_GREATEST:g}; correct it, or scale all numbers, for "
            "instance to thousandths of them."
        )
    return _texts(row, key, columns, value)


def _texts(row: Row, key: str, columns: Columns, label: str | float | None) -> Example:
    a = text_of(row, columns.text, "text")
    b = None if columns.text_pair is None else text_of(row, columns.text_pair, "text_pair")
    return TextExample(row.where, key, a, b, label)


def _tagged(row: Row, key: str, columns: Columns, labelled: bool) -> Example:
    words = list_of(row, columns.words, "words")
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise DataError(
                f"{row.where}: the list in column '{columns.words}' holds {word!r}, expected words."
            )
    if not labelled:
        return TagExample(row.where, key, tuple(words), None, int(key))
    tags = list_of(row, columns.tags, "tags")
    if len(tags) != len(words):
        raise DataError(
            f"{row.where}: found {len(words)} words and {len(tags)} tags, expected as many tags as "
            "words; correct the row."
        )
    names = tuple(name_of(tag, row, columns.tags, "tag") for tag in tags)
    return TagExample(row.where, key, tuple(words), names, int(key))


def _named(example: Example, names: Sequence[str], column: str) -> Example:
    """A sentence whose tags are numbers, with the names that the file has for them."""
    assert isinstance(example, TagExample)
    tags = []
    for tag in example.tags or ():
        if not tag.isdecimal() or int(tag) >= len(names):
            raise DataError(
                f"{example.where}: the tag '{tag}' in column '{column}' is no number from 0 to "
                f"{len(names) - 1}, for which the file has names; correct it."
            )
        tags.append(names[int(tag)])
    return replace(example, tags=tuple(tags))


def _of_equal_number(path: Path | str, columns: Columns) -> Iterator[Example]:
    """Rows with choices: as many as there are columns for them, else as many as the first has."""
    if not columns.choices:
        raise UsageError(
            f"`choose` needs the columns of the choices; name them with {option('choices')}."
        )
    expected = len(columns.choices) if len(columns.choices) > 1 else 0
    for number, row in enumerate(rows.read(path)):
        a = text_of(row, columns.text, "text")
        choices = _choices(row, columns.choices)
        expected = expected or max(len(choices), 2)
        if len(choices) != expected:
            raise DataError(
                f"{row.where}: found {len(choices) or 'no'} choice{'s' * (len(choices) != 1)}, "
                f"expected {expected}; give every row the same number of choices, none empty."
            )
        label = _right_choice(row, columns, choices)
        yield ChoiceExample(row.where, str(number), a, choices, label)


def _choices(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    """The texts in the columns, or those of the one list."""
    if len(names) == 1:
        texts = list_of(row, names[0], "choices")
    else:
        advice = f"name others with {option('choices')}"
        texts = [rows.column(row, name, advice=advice) for name in names]
    for number, text in enumerate(texts):
        if not isinstance(text, str) or rows.is_blank(text):
            what = "empty" if isinstance(text, str) else f"a {rows.kind_of(text)}"
            raise DataError(
                f"{row.where}: choice {number} is {what}; give every row the same number of "
                "choices, none empty."
            )
    return tuple(texts)


def _right_choice(row: Row, columns: Columns, choices: tuple[str, ...]) -> int:
    """The choice that the label means: a column's name, else a number from 0 or a choice's text."""
    label = label_of(row, columns.label)
    if label in columns.choices and len(columns.choices) > 1:
        return columns.choices.index(label)
    meant = {number for number, text in enumerate(choices) if text.strip() == label}
    if label in map(str, range(len(choices))):
        meant.add(int(label))
    if len(meant) != 1:
        raise DataError(
            f"{row.where}: the label '{label[:60]}' names {len(meant) or 'none'} of the choices, "
            f"expected a number from 0 to {len(choices) - 1}, the name of a choice's column or the "
            "text of one choice; correct it."
        )
    return meant.pop()


_PARSERS: dict[Kind, Callable[[Row, str, Columns, bool], Example]] = {
    "classify": _classified,
    "regress": _measured,
    "tag": _tagged,
}
