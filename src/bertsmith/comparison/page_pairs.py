"""The section of `compare.html` on minimal pairs."""

from bertsmith.comparison.result import Compared
from bertsmith.inference.pair_scores import MeanScore
from bertsmith.reports.language import t
from bertsmith.reports.page import Report


def write_pairs(page: Report, result: Compared) -> None:
    """Writes accuracy by phenomenon, one column per system."""
    titles = {system.name: t(system.title) for system in result.systems}
    first = next(iter(result.pairs.values()))
    which = t("all pairs")
    if first.limit:
        which = t("the first {count:,} pairs of each paradigm", count=first.limit)
    page.section(
        t("Minimal pairs"),
        t(
            "How often a pre-trained model, without fine-tuning, gives the grammatical sentence of "
            "a pair a higher probability than the ungrammatical one, in percent ({which}, "
            "{count:,} in total). Values are means over paradigms; chance is {chance:.0f}; ties "
            "are wrong. BERT predicts each piece with the rest of its word hidden; the other "
            "models predict it from one side. Scores of different kinds of models therefore differ "
            "in method too.",
            which=which,
            count=first.overall.pairs,
            chance=100 * first.chance,
        ),
    )
    found = list(result.pairs.values())
    # All systems scored the same pairs in the same order.
    rows = [list(row) for row in zip(*(one.phenomena for one in found), strict=True)]
    rows.append([one.agreement for one in found if one.agreement is not None])
    page.table(
        [t("phenomenon"), t("pairs"), *(titles[name] for name in result.pairs)],
        [
            [
                row[0].name.replace("_", " "),
                row[0].pairs,
                *(f"{100 * one.score:.1f}" for one in row),
            ]
            for row in rows
            if row
        ]
        + [[t("all"), first.overall.pairs, *(_with_interval(one.overall) for one in found)]],
        caption=t("Last row: with a 95% interval over the choice of pairs"),
    )


def _with_interval(one: MeanScore) -> str:
    low, high = one.interval
    return t(
        "{score:.1f} ({low:.1f} to {high:.1f})",
        score=100 * one.score,
        low=100 * low,
        high=100 * high,
    )
