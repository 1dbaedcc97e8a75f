"""The top of `compare.html`: whether BERT wins, by how much, and what the models had learned."""

from bertsmith.comparison.result import Compared
from bertsmith.comparison.systems import REFERENCE
from bertsmith.comparison.verdict import Verdict
from bertsmith.reports.page import Fact, Report


def write_verdict(page: Report, result: Compared) -> None:
    """A card for each task, then BERT against each other system; nothing without BERT."""
    for warning in result.warnings:
        page.text(f"Warning. {warning}")
    if not result.verdicts:
        return
    titles = {system.name: system.title for system in result.systems}
    names = [titles[name] for name in result.verdicts[0].rivals]
    page.section(
        "Does BERT win here?",
        f"Against {', '.join(names)}. Yes: its score is higher than that of each of them, by more "
        "than the noise of examples and fine-tuning seeds; no: that of one of them is higher.",
    )
    page.facts(
        [
            Fact(
                one.answer,
                one.task,
                result.reasons(one) or "every difference is within the noise",
            )
            for one in result.verdicts
        ]
    )
    others = [system for system in result.systems if system.name != REFERENCE]
    page.table(
        ["Is BERT better than", *(one.task for one in result.verdicts)],
        [
            [
                other.title,
                *(_cell(result, one, other.name) for one in result.verdicts),
            ]
            for other in others
        ],
        caption="In brackets BERT's score minus the other's, in points",
    )
    page.text(
        "A model can bring to a task what it has learned before; the next table says how far that "
        "went. BERT is asked for a part of the words that it reads, with others hidden too: where "
        "all have read little the others may be ahead. What is trained for the task matters as "
        "much: ELMo's network compares the texts of a pair word by word, which BERT and GPT must "
        "learn. The paper's BERT, base size and 3.3 billion words forty times over, is far beyond "
        "that (its appendix C.1 finds masked words slower at first and better soon after)."
    )
    page.table(
        ["system", "predicted words", "better than guessing by frequency"],
        [
            [
                system.title,
                round(system.predictions_per_token * system.tokens),
                f"{system.gain:+.2f} nats a word",
            ]
            for system in result.systems
            if system.evaluation and system.pretrained == system.name
        ],
    )


def _cell(result: Compared, verdict: Verdict, other: str) -> str | None:
    if other not in verdict.against:
        return None
    found = next(
        one
        for one in result.differences
        if one.task == verdict.task and {one.first, one.second} == {REFERENCE, other}
    )
    value = found.value if found.first == REFERENCE else -found.value
    return f"{verdict.against[other]} ({100 * value:+.1f})"
