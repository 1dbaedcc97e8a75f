"""Tags as answers, and the scores of tags and of the entities that they spell."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.metric import Floats, Metric, Row, f1, mean, row, share


class TaggedSpan(msgspec.Struct, frozen=True):
    """Characters `start` to `end` (exclusive) of the text that name something of a type.

    The text is the one given; of words that came in a list, it is these with a space between.
    """

    type: str
    start: int
    end: int
    text: str
    word_start: int
    """The number of the first word."""
    word_end: int
    """The number of the word behind the last."""


class TagAnswer(Prediction, frozen=True, tag="tags"):
    """A tag for every word with its probability, and the entities that the tags spell."""

    words: list[str]
    tags: list[str]
    probabilities: list[float]
    entities: list[TaggedSpan]

    @property
    def columns(self) -> dict[str, Any]:
        """Words, tags and entities."""
        return {
            "predicted_words": self.words,
            "predicted_tags": self.tags,
            "probabilities": self.probabilities,
            "entities": msgspec.to_builtins(self.entities),
        }


def _agree_by_word(gold: Any, predicted: Any) -> Floats:
    """Right words and words of each sentence [N, 2]."""
    pairs = zip(gold, predicted, strict=True)
    return np.array(
        [
            (sum(one == other for one, other in zip(right, guess, strict=True)), len(right))
            for right, guess in pairs
        ],
        np.float64,
    )


def _entity_counts(gold: Any, predicted: Any) -> Floats:
    """Hits, gold and predicted entities of each sentence [N, 3]; a hit has type, start and end."""
    rows = []
    for right, guess in zip(gold, predicted, strict=True):
        found, guessed = set(entities(right)), set(entities(guess))
        rows.append((len(found & guessed), len(found), len(guessed)))
    return np.array(rows, np.float64)


TAG_METRICS = {
    "tag_accuracy": Metric(
        "accuracy of the tags",
        _agree_by_word,
        mean,
        meaning="Accuracy of the tags is the share of words that got the right one.",
    ),
    "entity_precision": Metric(
        "precision",
        _entity_counts,
        lambda sums: share(sums[0], sums[2]),
        meaning="Precision is the share of entities (names of things) said that are right in type, "
        "first and last word.",
    ),
    "entity_recall": Metric(
        "recall",
        _entity_counts,
        lambda sums: share(sums[0], sums[1]),
        meaning="Recall is the share of true entities that were found.",
    ),
    "entity_f1": Metric(
        "F1",
        _entity_counts,
        lambda sums: f1(*sums),
        meaning="F1 is the harmonic mean of precision and recall, which is low where either is.",
    ),
}
"""Those of entities count all types together and are 0 where there is nothing to divide by, as in
conlleval."""


def per_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[Row]:
    """A row for each type of entity that the gold or the predicted tags have, by name."""
    hits: Counter[str] = Counter()
    found: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    for right, guess in zip(gold, predicted, strict=True):
        there, here = set(entities(right)), set(entities(guess))
        found.update(entity.type for entity in there)
        guessed.update(entity.type for entity in here)
        hits.update(entity.type for entity in there & here)
    types = sorted(found | guessed)
    return [row(kind, hits[kind], found[kind], guessed[kind]) for kind in types]


def entity_mistakes(
    true: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]]
) -> dict[str, int]:
    """What became of the true entities, and how many were made up."""
    counts = dict.fromkeys(
        ("right", "another type", "other first or last word", "missed", "made up"), 0
    )
    for tags, guesses in zip(true, guessed, strict=True):
        there, here = entities(tags), entities(guesses)
        for one in there:
            met = [other for other in here if _overlap(one, other)]
            if one in met:
                counts["right"] += 1
            elif any((other.start, other.end) == (one.start, one.end) for other in met):
                counts["another type"] += 1
            else:
                counts["other first or last word" if met else "missed"] += 1
        counts["made up"] += sum(not any(_overlap(one, other) for one in there) for other in here)
    return counts


def _overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end
