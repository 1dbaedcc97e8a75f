"""The top of `compare.html`: whether BERT wins, by how much, and what the models have learned."""

from bertsmith.comparison.result import Compared, task_name
from bertsmith.comparison.systems import REFERENCE
from bertsmith.comparison.verdict import Verdict
from bertsmith.reports.language import listed, t
from bertsmith.reports.page import Fact, Report


def write_verdict(page: Report, result: Compared) -> None:
    """Writes a fact for each task, then BERT against each other system; nothing without BERT."""
    for warning in result.warnings:
        page.text(t("Warning: {warning}", warning=warning))
    if not result.verdicts:
        return
    titles = {system.name: t(system.title) for system in result.systems}
    rivals = listed([titles[name] for name in result.verdicts[0].rivals])
    page.section(
        t("Does BERT win here?"),
        t(
            "Compared with {rivals}. Yes: BERT scores significantly higher than each of them. No: "
            "one of them scores significantly higher. The noise of examples and fine-tuning seeds "
            "is taken into account.",
            rivals=rivals,
        ),
    )
    page.facts(
        [
            Fact(
                t(one.answer),
                task_name(one.task),
                result.reasons(one) or t("no difference is significant"),
            )
            for one in result.verdicts
        ]
    )
    others = [system for system in result.systems if system.name != REFERENCE]
    page.table(
        [t("Is BERT better than"), *(task_name(one.task) for one in result.verdicts)],
        [
            [
                titles[other.name],
                *(_cell(result, one, other.name) for one in result.verdicts),
            ]
            for other in others
        ],
        caption=t("In brackets: BERT's score minus the other's, in points"),
    )
    page.text(
        t(
            "A task can only profit from what pre-training has taught; the next table shows how "
            "far that went. BERT predicts only some of the words it reads, with others hidden, so "
            "after little text the other models can be ahead. What is trained for the task matters "
            "as much: ELMo's task network compares the two texts of a pair word by word, which "
            "BERT and GPT have to learn. The paper's BERT read 3.3 billion words forty times "
            "(appendix C.1 finds masked words slower at first and better soon after)."
        )
    )
    page.table(
        [t("system"), t("predicted words"), t("gain over the unigram baseline")],
        [
            [
                titles[system.name],
                round(system.predictions_per_token * system.tokens),
                t("{gain:+.2f} nats per word", gain=system.gain),
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
    return t("{answer} ({points:+.1f})", answer=t(verdict.against[other]), points=100 * value)
