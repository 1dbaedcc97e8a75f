"""The section of `compare.html` on minimal pairs."""

from bertsmith.comparison.result import Compared
from bertsmith.inference.pair_scores import MeanScore
from bertsmith.reports.page import Report


def write_pairs(page: Report, result: Compared) -> None:
    """By phenomenon, one column a system."""
    titles = {system.name: system.title for system in result.systems}
    first = next(iter(result.pairs.values()))
    what = f"the first {first.limit:,} pairs of each paradigm" if first.limit else "all pairs"
    page.section(
        "Minimal pairs",
        "How often a pre-trained model, without fine-tuning, finds the grammatical sentence of a "
        f"pair likelier than the ungrammatical one, in percent: {what}, {first.overall.pairs:,} in "
        f"all; means over paradigms, chance is {100 * first.chance:.0f}. Ties are wrong. "
        "A BERT that sees both sides predicts each piece with the rest of its word hidden too, the "
        "other models predict it from their side: between kinds of models the way of scoring "
        "differs too.",
    )
    found = list(result.pairs.values())
    # All were asked the same pairs, in the same order.
    rows = [list(row) for row in zip(*(one.phenomena for one in found), strict=True)]
    rows.append([one.agreement for one in found if one.agreement is not None])
    page.table(
        ["phenomenon", "pairs", *(titles[name] for name in result.pairs)],
        [
            [
                row[0].name.replace("_", " "),
                row[0].pairs,
                *(f"{100 * one.score:.1f}" for one in row),
            ]
            for row in rows
            if row
        ]
        + [["all", first.overall.pairs, *(_with_interval(one.overall) for one in found)]],
        caption="In the last row with a 95% interval over the draw of the pairs",
    )


def _with_interval(one: MeanScore) -> str:
    low, high = one.interval
    return f"{100 * one.score:.1f} ({100 * low:.1f} to {100 * high:.1f})"
