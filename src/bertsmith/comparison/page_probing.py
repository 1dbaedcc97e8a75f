"""The sections of `compare.html` that look inside the models."""

import math

from bertsmith.comparison.probing import WordUse
from bertsmith.comparison.result import Compared
from bertsmith.inference.likelihood import SentenceScore
from bertsmith.reports.heatmap import heat_chart
from bertsmith.reports.page import Report

_SIDES = {"masked": "from both sides", "forward": "from the left", "backward": "from the right"}

_ENDS = ("[CLS]", "[SEP]")


def write_insight(page: Report, result: Compared) -> None:
    """Writes them."""
    titles = {system.name: system.title for system in result.systems}
    found = result.insight
    page.section(
        "What each can see",
        "The probability of every word of a sentence, given what the model may look at. A model "
        "that sees both sides is asked for each word in turn, with that word hidden.",
    )
    for number in range(len(next(iter(found.sentences.values()), []))):
        _sentence(page, {titles[name]: row[number] for name, row in found.sentences.items()})
    if any(found.uses.values()):
        page.section(
            "One word, two meanings",
            "A word in two sentences, and the sentences of the corpus in which the model's state "
            "for it is most alike (cosine). A model that tells the meanings apart finds other "
            "sentences for one than for the other.",
        )
        for name, uses in found.uses.items():
            _uses(page, titles[name], uses)
    page.section(
        "Where they look",
        "Attention of the last layer, the mean over its heads: how much each word (row) takes from "
        "each other (column). A model that reads from the left has nothing above the diagonal. "
        "ELMo has no attention: for it, how much a word's probability changes with each other "
        "word's vector (the size of the gradient).",
    )
    for name, look in found.looks.items():
        page.picture(
            heat_chart(
                look.weights,
                look.tokens,
                look.tokens,
                title=f"Where {titles[name]} looks",
                row_label="word",
                column_label="looks at",
            ),
            f"{titles[name]}: {look.kind}.",
        )
    if found.independence:
        _independence(page, result)


def _sentence(page: Report, scores: dict[str, SentenceScore]) -> None:
    columns: list[tuple[str, str]] = [
        (title, side)
        for title, scored in scores.items()
        for side in _SIDES
        if side in scored.totals
    ]
    # Two systems may leave out different ends; the words themselves are everywhere.
    words = next(iter(scores.values())).tokens
    names = [token.token for token in words if token.token not in _ENDS]
    cells = {}
    for title, side in columns:
        tokens = [token for token in scores[title].tokens if token.token not in _ENDS]
        cells[title, side] = [token.nats.get(side) for token in tokens]
    page.table(
        ["word", *(f"{title}, {_SIDES[side]}" for title, side in columns)],
        [
            [name, *(_chance(cells[column][row]) for column in columns)]
            for row, name in enumerate(names)
        ]
        + [
            [
                "all, log-probability in nats",
                *(f"{scores[title].totals[side]:.1f}" for title, side in columns),
            ]
        ],
        caption=next(iter(scores.values())).text,
    )


def _chance(nats: float | None) -> str | None:
    if nats is None:
        return None
    chance = math.exp(nats)
    return f"{chance:.1%}" if chance >= 0.001 else f"{100 * chance:.1g}%"


def _uses(page: Report, title: str, uses: list[WordUse]) -> None:
    if uses:
        page.table(
            ["word", "in", "nearest in the corpus", "cosine"],
            [
                [use.word, use.text, near.text, round(near.similarity, 3)]
                for use in uses
                for near in use.nearest
            ],
            caption=title,
        )


def _independence(page: Report, result: Compared) -> None:
    titles = {system.name: system.title for system in result.systems}
    page.section(
        "What independence costs",
        "Masked words are predicted as if they were independent of each other. Here two and three "
        "words side by side are hidden in held-out sentences: their log-probability with each word "
        "on its own, and one after the other, each seeing those before it (the chain rule). The "
        "difference is what the assumption loses; a one-way model does not make it.",
    )
    page.table(
        ["system", "words", "places", "independent, nats", "joint, nats", "gap, nats"],
        [
            [
                titles[name],
                row.words,
                row.blanks,
                round(row.independent, 2),
                round(row.joint, 2),
                f"{row.gap:+.2f} ± {row.gap_error:.2f}",
            ]
            for name, rows in result.insight.independence.items()
            for row in rows
        ],
        caption="Means over the places; ± the standard error of the gap",
    )
