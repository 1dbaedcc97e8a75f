"""Report sections and error cards for tags and entities."""

from collections.abc import Sequence

import numpy as np

from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Passage, Report, Stretch
from bertsmith.tasks.entities import Entity, entities
from bertsmith.tasks.examples import TagExample
from bertsmith.tasks.kinds import sections
from bertsmith.tasks.kinds.entity_scores import TagAnswer, entity_mistakes, per_type
from bertsmith.tasks.metric import Floats


def write_answers(
    page: Report, true: Sequence[Sequence[str]], answers: Sequence[TagAnswer]
) -> None:
    """Writes scores by entity type, errors by their cause, and calibration."""
    guessed = [answer.tags for answer in answers]
    by_type = per_type(true, guessed)
    if by_type:
        page.section(t("Scores by entity type"), t(sections.PRECISION))
        sections.write_rows(page, by_type, "entity type")
        page.table(
            [t("result"), t("entities")],
            [[t(name), count] for name, count in entity_mistakes(true, guessed).items()],
            caption=t("Entities by result"),
        )
    words = [
        (sure, right == guess)
        for answer, tags in zip(answers, true, strict=True)
        for sure, right, guess in zip(answer.probabilities, tags, answer.tags, strict=True)
        if guess != "O"
    ]
    if words:
        sure, right = zip(*words, strict=True)
        sections.write_calibration(page, sure, right, "words with a predicted tag other than O")


def badness(examples: Sequence[TagExample], answers: Sequence[TagAnswer]) -> Floats:
    """Confidence in the most confident wrong tag."""
    wrong = [wrong_words(*pair) for pair in zip(examples, answers, strict=True)]
    sure = [
        max((answer.probabilities[word] for word in words), default=0.0)
        for words, answer in zip(wrong, answers, strict=True)
    ]
    return sections.where([bool(words) for words in wrong], sure)


def card(example: TagExample, answer: TagAnswer) -> Card:
    """The sentence twice, with the true and the predicted entities."""
    assert example.tags is not None
    wrong = wrong_words(example, answer)
    worst = max(wrong, key=lambda place: answer.probabilities[place])
    true, guessed = entities(example.tags), entities(answer.tags)
    title = sections.verdict(example.tags[worst], answer.tags[worst], answer.probabilities[worst])
    return Card(
        t("“{word}”, {verdict}", word=example.words[worst], verdict=title),
        [
            _marked(example.words, true, guessed, f"{example.where} · {t('true')}"),
            _marked(example.words, guessed, true, t("predicted")),
        ],
    )


def wrong_words(example: TagExample, answer: TagAnswer) -> list[int]:
    """Indices of the words with a wrong tag; none if both spell the same entities."""
    assert example.tags is not None
    found = entities(answer.tags)
    if found and found == entities(example.tags):
        return []
    pairs = zip(example.tags, answer.tags, strict=True)
    return [place for place, (true, guess) in enumerate(pairs) if true != guess]


def _marked(
    words: Sequence[str], found: Sequence[Entity], others: Sequence[Entity], name: str
) -> Passage:
    """A sentence with its entities: green if the other side has them too, otherwise orange."""
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
