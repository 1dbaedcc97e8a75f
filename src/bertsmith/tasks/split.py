"""A dev part taken from the training file, for who has only one.

What belongs together stays on one side: equal inputs, the questions about a context, the sentences
of a document. Which side that is depends on the seed and on the content alone, not on the place in
the file.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any

from bertsmith.core.errors import DataError, option
from bertsmith.tasks.examples import Example, TagExample

_QUANTILES = 10

_Unit = list[int]
"""Numbers of examples that stay together."""


@dataclass(frozen=True, slots=True)
class Split:
    """Both parts in the order of the file, and which of its examples are dev."""

    train: list[Example]
    dev: list[Example]
    dev_numbers: list[int]
    """From 0, ascending."""


def stratified(examples: Sequence[Example], *, share: float, seed: int) -> Split:
    """Takes about `share` of each class, or of each tenth of a regression's labels, as dev.

    Equal inputs, a context and a document are each on one side. Each class in dev is in train too.

    Args:
        examples: labelled, of one kind.
        share: of the examples, in (0, 1).
        seed: another seed takes others.

    Raises:
        DataError: all examples belong together, or whatever is taken, train lacks one of its
            classes or has one number only.
    """
    units = _units(examples, seed)
    first = examples[0]
    if len(examples) == 1 and isinstance(first, TagExample) and first.word_a_line:
        raise DataError(
            f"{first.where}: found a single sentence, of {len(first.words):,} words; put a blank "
            "line after each sentence, so some can be held out, or give a dev file with "
            f"{option('dev')}."
        )
    if len(units) < 2:
        raise DataError(
            f"{examples[0].where}: all examples from here on share one input, context or document, "
            f"so none can be held out; give a dev file with {option('dev')}."
        )
    taken: list[_Unit] = []
    owed = 0.0
    strata = _strata(examples, units)
    for stratum in strata:
        owed += share * sum(map(len, stratum))
        # One stays: a class that only dev has could not be learned.
        for unit in stratum[:-1]:
            if len(unit) < 2 * owed:
                taken.append(unit)
                owed -= len(unit)
        owed = min(owed, 1.0)
    taken = _known(examples, units, taken)
    if not taken:  # too few for a share
        taken = _spared(examples, units, strata)
    numbers = sorted(number for unit in taken for number in unit)
    chosen = set(numbers)
    train = [example for number, example in enumerate(examples) if number not in chosen]
    if not taken or len(_values(train)) < min(2, len(_values(examples))):
        raise _too_few(examples, units)
    return Split(train, [examples[number] for number in numbers], numbers)


def _units(examples: Sequence[Example], seed: int) -> list[_Unit]:
    """What must stay together, in an order that only the seed and the contents decide."""
    units: defaultdict[object, _Unit] = defaultdict(list)
    for _, found in groupby(enumerate(examples), key=_document):
        document = list(found)
        units[tuple(example.shared for _, example in document)] += [n for n, _ in document]

    def draw(key: object) -> bytes:
        return blake2b(f"{seed} {key!r}".encode()).digest()

    return [units[key] for key in sorted(units, key=draw)]


def _document(numbered: tuple[int, Example]) -> int:
    """Sentences that follow each other may be of one document; any other example is alone."""
    number, example = numbered
    return example.document if isinstance(example, TagExample) else number


def _strata(examples: Sequence[Example], units: list[_Unit]) -> list[list[_Unit]]:
    """Units that are alike in the label of their first example, each group in the order given."""
    labels: list[Any] = [getattr(examples[unit[0]], "label", None) for unit in units]
    if isinstance(labels[0], float):
        for place, index in enumerate(sorted(range(len(units)), key=lambda index: labels[index])):
            labels[index] = place * _QUANTILES // len(units)
    strata: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit, label in zip(units, labels, strict=True):
        strata[str(label)].append(unit)
    return [strata[label] for label in sorted(strata)]


def _known(examples: Sequence[Example], units: list[_Unit], taken: list[_Unit]) -> list[_Unit]:
    """Those of the taken units whose classes all occur in what is left or is not kept."""
    chosen = {unit[0] for unit in taken}
    train = {name for unit in units if unit[0] not in chosen for name in _names(examples, unit)}
    kept = []
    for unit in taken:
        if _names(examples, unit) <= train:
            kept.append(unit)
        else:
            train |= _names(examples, unit)
    return kept


def _spared(
    examples: Sequence[Example], units: list[_Unit], strata: list[list[_Unit]]
) -> list[_Unit]:
    """One unit, of the largest group that has such, whose classes others have too; none if none."""
    held = Counter(name for unit in units for name in _names(examples, unit))
    for stratum in sorted(strata, key=len, reverse=True):
        for unit in stratum:
            if all(held[name] > 1 for name in _names(examples, unit)):
                return [unit]
    return []


def _names(examples: Sequence[Example], unit: _Unit) -> set[str]:
    return {name for number in unit for name in examples[number].labels}


def _values(examples: Sequence[Example]) -> set[object]:
    """The numbers of a regression that occur, or all classes."""
    numbers = {getattr(example, "label", None) for example in examples}
    if any(isinstance(number, float) for number in numbers):
        return numbers
    return {name for example in examples for name in example.labels}


def _too_few(examples: Sequence[Example], units: list[_Unit]) -> DataError:
    labels = _values(examples)
    advice = f"give more examples, or a dev file with {option('dev')}"
    if len(labels) == len(examples) > 2:
        return DataError(
            f"{examples[0].where}: this and each of the {len(examples) - 1} other examples has a "
            "different label, so none can be held out for dev; check that the right column is "
            f"read, {advice}."
        )
    return DataError(
        f"{examples[0].where}: the {len(units)} different inputs from here on, with {len(labels)} "
        "labels, are too few to put some aside as dev and keep enough labels for training; "
        f"{advice}."
    )
