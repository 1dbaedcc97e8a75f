"""What labelled data holds, and what is wrong with it, before anything is trained on it."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence

import msgspec

from bertsmith.core.errors import DataError, nearest
from bertsmith.models.head_config import Kind
from bertsmith.tasks.entities import is_entity_tag
from bertsmith.tasks.task import (
    AnswerExample,
    ChoiceExample,
    Example,
    TagExample,
    Task,
    TextExample,
)

_PLACES = 5


class Numbers(msgspec.Struct, frozen=True):
    """The labels of a regression."""

    least: float
    mean: float
    greatest: float


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the parts `train` and `dev`."""

    examples: dict[str, int]
    """Part -> how many."""
    classes: dict[str, dict[str, int]]
    """Part -> class -> how many examples, the most frequent first; for `tag` words with a tag, for
    `choose` the right choice's number, for `answer` whether there is one. Empty for `regress`."""
    numbers: dict[str, Numbers]
    """Part -> its labels, for `regress`; else empty."""
    duplicates: int
    """Examples of train whose input was there before."""
    contradictions: int
    """Those of them whose label is another than the first one's."""
    contradicting_places: list[str] = []
    """The first few of them, as `train.csv:9 = train.csv:4` (none in results of older versions)."""
    leaked: int
    """Examples of dev whose input is in train too."""
    leaked_places: list[str]
    """The first few of them, as `dev.csv:3 = train.csv:8`."""
    seen_once: list[str]
    """Classes with a single example in train."""


def inspect(task: Task, train: Sequence[Example], dev: Sequence[Example]) -> Inspection:
    """Counts and compares two labelled parts.

    Raises:
        DataError: a part is empty, train has one class only (for `regress`: one number), or dev has
            a class that train does not.
    """
    parts = {"train": train, "dev": dev}
    for part, examples in parts.items():
        if not examples:
            raise DataError(f"The {part} part is empty; give a file with examples.")
    counts = {part: _count(examples) for part, examples in parts.items()}
    check_several(task.kind, train)
    if task.kind in ("classify", "tag"):
        _check_known(train, dev)
    first: dict[Hashable, Example] = {}
    duplicates = 0
    contradicting: list[str] = []
    for example in train:
        before = first.setdefault(content(example), example)
        if before is not example:
            duplicates += 1
            if _said(before) != _said(example):
                contradicting.append(f"{example.where} = {before.where}")
    leaked = [
        f"{example.where} = {first[content(example)].where}"
        for example in dev
        if content(example) in first
    ]
    is_number = task.kind == "regress"
    return Inspection(
        examples={part: len(examples) for part, examples in parts.items()},
        classes={} if is_number else counts,
        numbers={part: _numbers(count) for part, count in counts.items()} if is_number else {},
        duplicates=duplicates,
        contradictions=len(contradicting),
        contradicting_places=contradicting[:_PLACES],
        leaked=len(leaked),
        leaked_places=leaked[:_PLACES],
        seen_once=[name for name, count in counts["train"].items() if count == 1 and not is_number],
    )


def classes(examples: Sequence[Example]) -> tuple[str, ...]:
    """The classes that occur, sorted, whole numbers by value; none for other kinds of label.

    Tags of entities are completed: if one type has an `I-`, every type has. That no long name of a
    type happens to be in a file does not make it impossible.
    """
    names = {name for example in examples for name in labels_of(example)}
    if any(isinstance(example, TagExample) for example in examples):
        tags = names - {"O"}
        if all(map(is_entity_tag, tags)):
            pairs = [tag.partition("-") for tag in tags]
            names |= {f"{mark}-{kind}" for mark, _, _ in pairs for _, _, kind in pairs}
    return tuple(sorted(names, key=_rank))


def _rank(name: str) -> tuple[bool, int, str]:
    is_number = name.isdecimal()
    return not is_number, int(name) if is_number else 0, name


def labels_of(example: Example) -> tuple[str, ...]:
    """The classes in an example's label: one, one for each word, or none."""
    match example:
        case TextExample(label=str(name)):
            return (name,)
        case TagExample(tags=tuple(names)):
            return names
        case _:
            return ()


def unknown_label(examples: Iterable[Example], known: Collection[str]) -> tuple[str, str] | None:
    """The first class in `examples` that is not `known`, after its place; None if there is none."""
    for example in examples:
        for position, name in enumerate(labels_of(example)):
            if name not in known:
                if isinstance(example, TagExample):
                    return example.where_is(position), name
                return example.where, name
    return None


def content(example: Example) -> tuple[object, ...]:
    """What a model is shown of an example; equal for duplicates."""
    match example:
        case TextExample():
            return example.a, example.b
        case ChoiceExample():
            return example.a, example.choices
        case TagExample():
            return example.words
        case AnswerExample():
            return example.question, example.context


def _said(example: Example) -> object:
    match example:
        case TextExample() | ChoiceExample():
            return example.label
        case TagExample():
            return example.tags
        case AnswerExample():
            return example.answers


def _count(examples: Sequence[Example]) -> dict[str, int]:
    """How often each label occurs, the most frequent first."""
    counter: Counter[str] = Counter()
    for example in examples:
        match example:
            case TagExample():
                counter.update(example.tags or ())
            case AnswerExample():
                counter["answered" if example.answers else "no answer"] += 1
            case _:
                counter[str(example.label)] += 1
    return dict(counter.most_common())


def check_several(kind: Kind, train: Sequence[Example]) -> None:
    """Refuses examples from which nothing can be learned: all have one class or number.

    Raises:
        DataError: so it is.
    """
    counts = _count(train)
    if kind == "answer" and "answered" not in counts:
        raise DataError(
            f"{train[0].where}: this and every other question of the train part has no answer; "
            "give answers to learn from, or check that the right column is read."
        )
    if kind not in ("classify", "regress", "tag"):
        return
    if len(counts) < 2:
        what = "word" if kind == "tag" else "example"
        raise DataError(
            f"{train[0].where}: this and every other {what} of the train part has the label "
            f"'{next(iter(counts))}'; expected at least two different ones: add examples of "
            "another, or check that the right column is read."
        )


def _check_known(train: Sequence[Example], dev: Sequence[Example]) -> None:
    known = classes(train)
    found = unknown_label(dev, known)
    if found is not None:
        where, name = found
        listed = ", ".join(f"'{one[:40]}'" for one in known[:20])
        raise DataError(
            f"{where}: the label '{name}' of the dev part does not occur in the train "
            f"part{nearest(name, known)}, whose labels are {listed}; correct it, or give training "
            "examples of it."
        )


def _numbers(counts: dict[str, int]) -> Numbers:
    values = {float(value): count for value, count in counts.items()}
    total = math.fsum(value * count for value, count in values.items())
    return Numbers(min(values), total / sum(values.values()), max(values))
