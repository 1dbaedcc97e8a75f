"""Predicted tags, and the scores of tags and of the entities they spell."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.metric import Floats, Metric, Row, f1, mean, row, share


class TaggedSpan(msgspec.Struct, frozen=True):
    """An entity: characters `start` to `end` (exclusive) of the text.

    A list of words counts as the text that joins them with spaces.
    """

    type: str
    start: int
    end: int
    text: str
    word_start: int
    """Index of the first word."""
    word_end: int
    """Index of the word after the last."""


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
    """Correct words and all words of each sentence [N, 2]."""
    pairs = zip(gold, predicted, strict=True)
    return np.array(
        [
            (sum(one == other for one, other in zip(right, guess, strict=True)), len(right))
            for right, guess in pairs
        ],
        np.float64,
    )


def _entity_counts(gold: Any, predicted: Any) -> Floats:
    """Hits, true and predicted entities of each sentence [N, 3]; a hit has type, start and end."""
    rows = []
    for right, guess in zip(gold, predicted, strict=True):
        found, guessed = set(entities(right)), set(entities(guess))
        rows.append((len(found & guessed), len(found), len(guessed)))
    return np.array(rows, np.float64)


TAG_METRICS = {
    "tag_accuracy": Metric(
        "tag accuracy",
        _agree_by_word,
        mean,
        meaning="Tag accuracy is the share of words with the correct tag.",
    ),
    "entity_precision": Metric(
        "precision",
        _entity_counts,
        lambda sums: share(sums[0], sums[2]),
        meaning="Precision is the share of predicted entities that are correct in type, first and "
        "last word.",
    ),
    "entity_recall": Metric(
        "recall",
        _entity_counts,
        lambda sums: share(sums[0], sums[1]),
        meaning="Recall is the share of true entities that are found.",
    ),
    "entity_f1": Metric(
        "F1",
        _entity_counts,
        lambda sums: f1(*sums),
        meaning="F1 is the harmonic mean of precision and recall.",
    ),
}
"""Entity metrics count all types together; a division by 0 gives 0, as in conlleval."""


def per_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[Row]:
    """A row for each entity type among the true or predicted tags, by name."""
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
    """How many true entities were found, confused or missed, and how many were made up."""
    counts = dict.fromkeys(("correct", "wrong type", "wrong boundary", "missed", "spurious"), 0)
    for tags, guesses in zip(true, guessed, strict=True):
        there, here = entities(tags), entities(guesses)
        for one in there:
            met = [other for other in here if _overlap(one, other)]
            if one in met:
                counts["correct"] += 1
            elif any((other.start, other.end) == (one.start, one.end) for other in met):
                counts["wrong type"] += 1
            else:
                counts["wrong boundary" if met else "missed"] += 1
        counts["spurious"] += sum(not any(_overlap(one, other) for one in there) for other in here)
    return counts


def _overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end
