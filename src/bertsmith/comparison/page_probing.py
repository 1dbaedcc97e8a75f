"""The sections of `compare.html` that look inside the models."""

import math

from bertsmith.comparison.probing import WordUse
from bertsmith.comparison.result import LEARNED, Compared
from bertsmith.inference.likelihood import SentenceScore
from bertsmith.reports.heatmap import heat_chart
from bertsmith.reports.language import t
from bertsmith.reports.page import Report

_SIDES = {
    "masked": "{system}, both sides",
    "forward": "{system}, from the left",
    "backward": "{system}, from the right",
}

_ENDS = ("[CLS]", "[SEP]")


def write_insight(page: Report, result: Compared) -> None:
    """Writes what the models predict, distinguish and look at."""
    titles = {system.name: t(system.title) for system in result.systems}
    found = result.insight
    page.section(
        t("What each model sees"),
        t(
            "The probability of every word given the context the model sees. A model that sees "
            "both sides predicts each word in turn, with that word hidden."
        ),
    )
    for number in range(len(next(iter(found.sentences.values()), []))):
        _sentence(page, {titles[name]: row[number] for name, row in found.sentences.items()})
    # A model that has learned little more than frequencies finds neighbours by chance.
    learned = {system.name for system in result.systems if system.gain >= LEARNED}
    shown = {name: uses for name, uses in found.uses.items() if uses and name in learned}
    if shown:
        page.section(
            t("One word, two meanings"),
            t(
                "A word in two sentences, and the corpus sentences in which its contextual "
                "embedding is most similar (cosine). A model that distinguishes the meanings finds "
                "different sentences for each."
            ),
        )
        for name, uses in shown.items():
            _uses(page, titles[name], uses)
    page.section(
        t("Attention"),
        t(
            "Attention of the last layer, averaged over its heads: how much each word (row) takes "
            "from each other word (column). A left-to-right model has nothing above the diagonal. "
            "ELMo has no attention; its map shows saliency, the gradient of a word's "
            "log-probability with respect to each other word's vector."
        ),
    )
    for name, look in found.looks.items():
        page.picture(
            heat_chart(
                look.weights,
                look.tokens,
                look.tokens,
                title=t("Attention of {system}", system=titles[name]),
                row_label=t("word"),
                column_label=t("looks at"),
            ),
            t("{system}: {kind}.", system=titles[name], kind=t(look.kind)),
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
    # Systems may differ in the special tokens they score, but not in the words.
    words = next(iter(scores.values())).tokens
    names = [token.token for token in words if token.token not in _ENDS]
    cells = {}
    for title, side in columns:
        tokens = [token for token in scores[title].tokens if token.token not in _ENDS]
        cells[title, side] = [token.nats.get(side) for token in tokens]
    page.table(
        [t("word"), *(t(_SIDES[side], system=title) for title, side in columns)],
        [
            [name, *(_chance(cells[column][row]) for column in columns)]
            for row, name in enumerate(names)
        ]
        + [
            [
                t("sentence, log-probability in nats"),
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
            [t("word"), t("sentence"), t("nearest in the corpus"), t("cosine")],
            [
                [use.word, use.text, near.text, round(near.similarity, 3)]
                for use in uses
                for near in use.nearest
            ],
            caption=title,
        )


def _independence(page: Report, result: Compared) -> None:
    titles = {system.name: t(system.title) for system in result.systems}
    page.section(
        t("The cost of independent predictions"),
        t(
            "A masked language model predicts hidden words independently of each other. Here two "
            "and three adjacent words of held-out sentences are hidden and scored in two ways: "
            "independently, and one after the other, each given those before it (chain rule). The "
            "gap is the cost of the independence assumption, which one-way models do not make."
        ),
    )
    columns = "words", "samples", "independent, nats", "joint, nats", "gap, nats"
    page.table(
        [t("system"), *map(t, columns)],
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
        caption=t("Means over the samples; ±: standard error of the gap"),
    )
