"""What labelled data holds, and what is wrong with it, before anything is trained on it."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence

from bertsmith.core.errors import DataError, nearest
from bertsmith.tasks.examples import Example
from bertsmith.tasks.inspection import Inspection, Numbers
from bertsmith.tasks.kind import TaskKind

_PLACES = 5


def inspect(kind: TaskKind, train: Sequence[Example], dev: Sequence[Example]) -> Inspection:
    """Counts and compares two labelled parts.

    Raises:
        DataError: a part is empty, train has nothing to learn from, or dev has a class that
            train does not.
    """
    parts = {"train": train, "dev": dev}
    for part, examples in parts.items():
        if not examples:
            raise DataError(f"The {part} split is empty; give a file with examples.")
    counts = {part: _count(examples) for part, examples in parts.items()}
    kind.check_learnable(train)
    if kind.has_labels:
        _check_known(kind, train, dev)
    first: dict[Hashable, Example] = {}
    duplicates = 0
    contradicting: list[str] = []
    for example in train:
        before = first.setdefault(example.content, example)
        if before is not example:
            duplicates += 1
            if before.answer != example.answer:
                contradicting.append(f"{example.where} = {before.where}")
    leaked = [
        f"{example.where} = {first[example.content].where}"
        for example in dev
        if example.content in first
    ]
    is_number = kind.is_number
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


def unknown_label(examples: Iterable[Example], known: Collection[str]) -> tuple[str, str] | None:
    """The first class in `examples` that is not `known`, after its place; None if there is none."""
    for example in examples:
        for position, name in enumerate(example.labels):
            if name not in known:
                return example.where_is(position), name
    return None


def _count(examples: Sequence[Example]) -> dict[str, int]:
    """How often each label occurs, the most frequent first."""
    counter = Counter(name for example in examples for name in example.counted)
    return dict(counter.most_common())


def _check_known(kind: TaskKind, train: Sequence[Example], dev: Sequence[Example]) -> None:
    known = kind.classes(train)
    found = unknown_label(dev, known)
    if found is not None:
        where, name = found
        listed = ", ".join(f"'{one[:40]}'" for one in known[:20])
        raise DataError(
            f"{where}: the label '{name}' of dev does not occur in train{nearest(name, known)}, "
            f"whose labels are {listed}; correct it, or add training examples with it."
        )


def _numbers(counts: dict[str, int]) -> Numbers:
    values = {float(value): count for value, count in counts.items()}
    total = math.fsum(value * count for value, count in values.items())
    return Numbers(min(values), total / sum(values.values()), max(values))
