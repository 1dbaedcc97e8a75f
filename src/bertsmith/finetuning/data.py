"""Labelled examples for a fine-tuning: read, checked, told about, and made into model inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from bertsmith.core.errors import DataError, UsageError, option
from bertsmith.core.mirror import fetched
from bertsmith.finetuning.standardize import AS_IS, Standard
from bertsmith.tasks import checks, spellings, split
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import reading, registry
from bertsmith.tasks.examples import PLACE, Example, Limits
from bertsmith.tasks.features import Features
from bertsmith.tasks.inspection import Inspection
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.scoring import Scores, baseline
from bertsmith.tasks.task import Task, own_task
from bertsmith.tasks.task_config import Columns
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN, Tokenizer

DEV_SHARE = 0.1
FEW = 30
"""Fewer examples of dev say little."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the examples of a fine-tuning are."""

    task: str
    """A row of the table of tasks, or the kind of the user's own files."""
    data: str | None = None
    """Folder of the official files."""
    train: str | None = None
    """The user's own training file."""
    dev: str | None = None
    """The user's own dev file; None: a tenth of the training file is put aside."""
    columns: Columns = Columns()
    skip_bad: bool = False
    """Leave out rows that cannot be used, instead of refusing the file."""
    merge_labels: bool = False
    """Make one label of those that differ in their spelling only (see `spellings`)."""
    strict_tags: bool = False
    """Refuse tags of entities that their scheme does not allow where they are."""


@dataclass(frozen=True)
class Parts:
    """A task with its labelled examples."""

    task: Task
    labels: tuple[str, ...]
    train: list[Example]
    evaluated: dict[str, list[Example]]
    """The first part decides."""
    dev_numbers: list[int] | None
    """Which examples of the user's training file were put aside as dev, from 0."""
    skipped: list[str]
    """What is wrong with rows that were left out, a line for each kind of fault."""
    notes: Sequence[str] = ()
    """What was decided by a rule while the files were read, a line each."""
    source: str = ""
    """Of the user's own data: the training file and the column of the labels."""

    @property
    def paired(self) -> bool:
        """Whether inputs have a second segment."""
        return self.task.pair or self.task.kind.is_paired


class Lengths(msgspec.Struct, frozen=True):
    """What the inputs are to the model: how many tokens, what is too long, what is unknown."""

    max_length: int
    median: int
    """Of the training inputs, before anything is cut, as are the others."""
    longest: int
    truncated: dict[str, int]
    """Part -> examples that lose their end."""
    windowed: dict[str, int]
    """Part -> examples or documents that are read in several windows."""
    counts: dict[int, int]
    """Length -> how many training inputs or documents have it."""
    unknown: float = 0.0
    """Share of the training part's pieces that are `[UNK]`."""


def read(source: Source, *, seed: int) -> Parts:
    """Reads every part that is trained or evaluated on.

    Raises:
        UsageError: unknown task, or flags of another sort of task.
        DataError: a file is missing or damaged, by file and line.
    """
    bad, notes = BadRows(skip=source.skip_bad), Notes()
    task = reading.official(source.task, bad=bad, notes=notes)
    kind = own_kind(source.task) if task is None else task.kind
    _check_parameters(source, kind, official=task is not None)
    numbers = None
    if task is not None:
        folder = fetched(source.data or "")
        train = registry.load(folder, task, "train")
        evaluated = reading.dev_parts(folder, task)
    else:

        def load(path: str) -> list[Example]:
            columns = source.columns
            return list(kind.read(path, columns, bad=bad, notes=notes))

        train = load(source.train or "")
        evaluated = {} if source.dev is None else {"dev": load(source.dev)}
    if not train:
        what = f": all of its rows are left out ({'. '.join(bad.lines())})" if bad.count else ""
        raise DataError(f"The training split is empty{what}; give a file with examples.")
    if task is None:
        train, evaluated = _respelled(train, evaluated, join=source.merge_labels, notes=notes)
    train, evaluated = kind.unified(train, evaluated, strict=source.strict_tags, notes=notes)
    if task is None:
        task = own_task(kind, columns=source.columns, train=train)
    if not evaluated:
        # Before the split, or what is said of all would be said of a part.
        kind.check_learnable(train)
        halves = split.stratified(train, share=DEV_SHARE, seed=seed)
        train, numbers, evaluated = halves.train, halves.dev_numbers, {"dev": halves.dev}
    labels = task.labels or kind.classes(train)
    return Parts(
        task, labels, train, evaluated, numbers, bad.lines(), notes.lines(), _source(source, kind)
    )


def _source(source: Source, kind: TaskKind) -> str:
    """What a page is about: `reviews.csv, stars`; empty for official files."""
    if source.train is None:
        return ""
    column = next(field for field in ("label", "tags", "answer") if field in kind.columns)
    return f"{Path(source.train).name}, {getattr(source.columns, column)}"


def own_kind(name: str) -> TaskKind:
    """The kind of that name.

    Raises:
        UsageError: it is neither a kind nor an official task.
    """
    if name in KINDS:
        return KINDS[name]
    return registry.get(name).kind


def _check_parameters(source: Source, kind: TaskKind, *, official: bool) -> None:
    """Refuses parameters of the other sort of task, and such as would not be looked at."""
    if official and (source.data is None or source.train is not None or source.dev is not None):
        raise UsageError(
            f"Task '{source.task}' reads its official files: give their folder with "
            f"{option('data')}, and no {option('train')} or {option('dev')}."
        )
    if not official and (source.train is None or source.data is not None):
        raise UsageError(
            f"'{kind.name}' is for files of your own: give the training file with "
            f"{option('train')}, and no {option('data')}."
        )
    for name, path in (("train", source.train), ("dev", source.dev)):
        if path is not None and Path(path).is_dir():
            raise UsageError(
                f"{option(name, path)} is a folder; give the one file with the examples."
            )
    usual = Columns()
    given = [
        field.name
        for field in fields(usual)
        if getattr(source.columns, field.name) != getattr(usual, field.name)
    ]
    reading.refuse_columns(kind, given, official=official, labelled=True)
    if source.skip_bad:
        reading.refuse_skipping(registry.TASKS.get(source.task))
    if source.merge_labels and (official or "merge_labels" not in kind.settings):
        raise UsageError(
            f"{option('merge_labels')} is for class names and tags of your own files; remove it."
        )
    if source.strict_tags and "strict_tags" not in kind.settings:
        raise UsageError(f"{option('strict_tags')} is for tags of entities; remove it.")


def _respelled(
    train: list[Example], evaluated: dict[str, list[Example]], *, join: bool, notes: Notes
) -> tuple[list[Example], dict[str, list[Example]]]:
    """All parts, labels that are alike told and, if asked for, joined."""
    everything = [*train, *(example for examples in evaluated.values() for example in examples)]
    found = spellings.groups(everything)
    if found:
        notes.say(spellings.told(found, are_joined=join))
    if not (found and join):
        return train, evaluated
    names = spellings.joining(found)
    return spellings.joined(train, names), {
        part: spellings.joined(examples, names) for part, examples in evaluated.items()
    }


def inspect(parts: Parts) -> Inspection:
    """Counts, balance, duplicates and leaks of the training and the deciding part.

    Raises:
        DataError: data that nothing can be learned from or scored on.
    """
    return checks.inspect(parts.task.kind, parts.train, next(iter(parts.evaluated.values())))


@dataclass(frozen=True)
class TaskData:
    """A task's examples as inputs, made once for all runs that share the limits."""

    task: Task
    labels: tuple[str, ...]
    columns: Columns | None
    """Of the user's own files."""
    train: Features
    train_examples: int
    """Of which `train` has the inputs: one each, or windows."""
    evaluated: Mapping[str, tuple[Sequence[Example], Features]]
    """Part -> labelled examples; the first part decides which epoch and which run is best."""
    baseline: Scores
    """Scores on the deciding part of always giving its most frequent answer."""
    fingerprint: str
    """SHA-256 of everything that is trained and evaluated on."""
    standard: Standard = AS_IS
    """Of a regression's training labels, which `train` has standardised."""

    @property
    def deciding(self) -> str:
        """The part that decides."""
        return next(iter(self.evaluated))


def featured(parts: Parts, tokenizer: Tokenizer, limits: Limits, columns: Columns) -> TaskData:
    """The examples as model inputs."""
    task = parts.task

    def made(examples: Sequence[Example]) -> Features:
        return task.kind.encode(examples, tokenizer, limits, parts.labels)

    deciding = next(iter(parts.evaluated.values()))
    train, standard = made(parts.train), AS_IS
    if task.kind.is_number:
        labels = task.kind.references(parts.train, ())
        standard = Standard.of(labels)
        targets = standard.standardised(labels)[train.rows["example"]]
        train = replace(train, targets=targets)
    return TaskData(
        task=task,
        labels=parts.labels,
        columns=columns if task.name in KINDS else None,
        train=train,
        train_examples=len(parts.train),
        evaluated={part: (rows, made(rows)) for part, rows in parts.evaluated.items()},
        baseline=baseline(
            task.kind,
            task.metrics,
            task.kind.references(deciding, parts.labels),
        ),
        fingerprint=_fingerprint(parts),
        standard=standard,
    )


def lengths(data: TaskData, tokenizer: Tokenizer, limits: Limits) -> Lengths:
    """What the vocabulary and the limits mean for this data."""
    whole, pieces_T = data.train.whole, data.train.pieces_T
    found, counts = np.unique(whole, return_counts=True)
    features = {"train": data.train} | {part: made for part, (_, made) in data.evaluated.items()}
    return Lengths(
        max_length=limits.max_length,
        median=int(np.median(whole)),
        longest=int(whole.max()),
        truncated={part: made.truncated for part, made in features.items()},
        windowed={part: made.windowed for part, made in features.items()},
        counts=dict(zip(found.tolist(), counts.tolist(), strict=True)),
        unknown=int((pieces_T == tokenizer.unk_id).sum()) / max(len(pieces_T), 1),
    )


def notes_on(parts: Parts, inspection: Inspection, found: Lengths) -> list[str]:
    """Notes on the data to read before training, one per line."""
    lines = []
    for part, count in inspection.examples.items():
        classes = inspection.classes.get(part, {})
        shown = [f"{name} {number / sum(classes.values()):.1%}" for name, number in classes.items()]
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        balance = f": {', '.join(shown[:8])}{more}" if shown else ""
        lines.append(f"{part}: {count:,} examples{balance}")
    kind = parts.task.kind
    lines += kind.notes_on(parts.labels, official=parts.task.name not in KINDS)
    for part, numbers in inspection.numbers.items():
        lines.append(
            f"{part}: labels from {numbers.least:g} to {numbers.greatest:g}, mean "
            f"{numbers.mean:.3g}"
        )
    few = len(next(iter(parts.evaluated.values())))
    if few < FEW:
        lines.append(f"dev: {few} examples are too few for a reliable score; give more")
    lines.append(
        f"{kind.inputs}: median {found.median:,} tokens, maximum {found.longest:,} (limit "
        f"{found.max_length:,})"
    )
    if found.unknown >= MANY_UNKNOWN:
        lines.append(
            f"train: {found.unknown:.1%} of the tokens are unknown to the model's vocabulary "
            "([UNK]), so it cannot tell these words apart; use a model of their language"
        )
    for part, count in found.truncated.items():
        if count:
            lines.append(f"{part}: {count:,} {kind.cut_inputs} are too long and are truncated")
    for part, count in found.windowed.items():
        if count:
            lines.append(f"{part}: {count:,} {kind.inputs} are read in several windows")
    if inspection.duplicates:
        places = inspection.contradicting_places
        lines.append(
            f"train: {inspection.duplicates:,} examples repeat an earlier one, "
            f"{inspection.contradictions:,} of them with another label"
            + (f", e.g. {places[0]}" if places else "")
        )
    if inspection.leaked:
        lines.append(
            f"dev: {inspection.leaked:,} examples are in train too, e.g. "
            f"{inspection.leaked_places[0]}; their scores say little about new examples"
        )
    if inspection.seen_once:
        names = ", ".join(inspection.seen_once[:8])
        lines.append(f"train: labels that occur only once: {names}")
    lines += parts.notes
    lines += [f"left out: {line}" for line in parts.skipped]
    return lines


def _fingerprint(parts: Parts) -> str:
    """Of everything that is trained or evaluated on; not of where it lies."""
    found = sha256(msgspec.json.encode([parts.task.name, parts.labels]))
    for part, examples in {"train": parts.train, **parts.evaluated}.items():
        found.update(part.encode())
        for example in examples:
            values = msgspec.to_builtins(example)
            said = {name: value for name, value in values.items() if name not in PLACE}
            found.update(msgspec.json.encode(said))
    return found.hexdigest()
