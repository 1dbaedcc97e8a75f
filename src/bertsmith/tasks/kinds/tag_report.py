"""The sections and cards of a report on tags and entities."""

from collections.abc import Sequence

import numpy as np

from bertsmith.reports.page import Card, Passage, Report, Stretch
from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.examples import TagExample
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.kinds.entity_scores import TagAnswer, entity_mistakes, per_type
from bertsmith.tasks.metric import Floats


def write_answers(
    page: Report, true: Sequence[Sequence[str]], answers: Sequence[TagAnswer]
) -> None:
    """Writes scores by type, what became of entities, and how sure the model is."""
    guessed = [answer.tags for answer in answers]
    by_type = per_type(true, guessed)
    if by_type:
        page.section("Type by type", sections.PRECISION)
        sections.write_rows(page, by_type, "type of entity")
        page.table(
            ["entity", "number"],
            list(entity_mistakes(true, guessed).items()),
            caption="Entities by what became of them",
        )
    words = [
        (sure, right == guess)
        for answer, tags in zip(answers, true, strict=True)
        for sure, right, guess in zip(answer.probabilities, tags, answer.tags, strict=True)
        if guess != "O"
    ]
    if words:
        sure, right = zip(*words, strict=True)
        of = "words that got a tag other than O"
        sections.write_calibration(page, sure, right, of)


def badness(examples: Sequence[TagExample], answers: Sequence[TagAnswer]) -> Floats:
    """How sure the model was of a wrong tag."""
    wrong = [wrong_words(*pair) for pair in zip(examples, answers, strict=True)]
    sure = [
        max((answer.probabilities[word] for word in words), default=0.0)
        for words, answer in zip(wrong, answers, strict=True)
    ]
    return sections.where([bool(words) for words in wrong], sure)


def card(example: TagExample, answer: TagAnswer) -> Card:
    """The sentence twice, with the true and the said entities."""
    assert example.tags is not None
    wrong = wrong_words(example, answer)
    surest = max(wrong, key=lambda place: answer.probabilities[place])
    true, guessed = entities(example.tags), entities(answer.tags)
    return Card(
        f"“{example.words[surest]}” true: {example.tags[surest]}, said: {answer.tags[surest]} "
        f"({answer.probabilities[surest]:.1%})",
        [
            _marked(example.words, true, guessed, f"{example.where}, true"),
            _marked(example.words, guessed, true, "said"),
        ],
    )


def wrong_words(example: TagExample, answer: TagAnswer) -> list[int]:
    """Places of the words with a wrong tag; none where both spell the same entities."""
    assert example.tags is not None
    found = entities(answer.tags)
    if found and found == entities(example.tags):
        return []
    pairs = zip(example.tags, answer.tags, strict=True)
    return [place for place, (true, guess) in enumerate(pairs) if true != guess]


def _marked(
    words: Sequence[str], found: Sequence[Entity], others: Sequence[Entity], name: str
) -> Passage:
    """A sentence with its entities: green where the other side has them too, else orange."""
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    stretches = [
        Stretch(
            starts[one.start],
            starts[one.end] - 1,
            one.type,
            sections.GREEN if one in others else sections.ORANGE,
        )
        for one in found
    ]
    return Passage(" ".join(words), stretches, name)
