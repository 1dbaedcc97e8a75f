"""`compare.html`: who won, by how much, what it cost, and what each can see."""

from pathlib import Path

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.budget import Budget
from bertsmith.comparison.page_pairs import write_pairs
from bertsmith.comparison.page_probing import write_insight
from bertsmith.comparison.page_verdict import write_verdict
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.published import TABLE_5, TABLE_8
from bertsmith.comparison.result import ONE_PRETRAINING, Compared, SystemResult, word
from bertsmith.comparison.systems import MODELS, REFERENCE
from bertsmith.comparison.timetable import Timetable
from bertsmith.core.terminal import duration
from bertsmith.reports.charts import Dots, Mark, Series, dots_chart, line_chart
from bertsmith.reports.page import Fact, Report
from bertsmith.tasks.metrics import METRICS

_WHEN = ("planned", "actual")

_SIDE_BY_SIDE = (
    "Runs lay side by side, so that times are of machines that other runs shared, and say less "
    "than tokens and operations."
)


def write_page(result: Compared, path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises:
        SystemFault: the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    plan = result.plan
    page = Report(
        "BERT, GPT and ELMo under one budget",
        f"{len(result.systems)} systems, pre-trained on the same {result.corpus_documents:,} "
        f"documents ({result.corpus_tokens:,} tokens) with the same vocabulary of "
        f"{result.vocab_size:,} pieces, {Budget.parse(plan.budget).told} each, and fine-tuned "
        f"on the same examples with {plan.seeds} seeds each.",
    )
    write_verdict(page, result)
    page.facts(
        [
            Fact(
                f"{100 * _mean_score(result, system):.1f}",
                system.title,
                f"mean of {len(result.tasks)} tasks; {system.tokens:,} tokens in "
                f"{duration(system.seconds)}",
            )
            for system in result.systems
            if system.name in MODELS
        ]
    )
    _scores(page, result)
    if result.pairs:
        write_pairs(page, result)
    _systems(page, result)
    _price(page, result)
    _published(page, result)
    write_insight(page, result)
    page.section(
        "How this was measured",
        "Every system is pre-trained by the same loop with the same optimizer, schedule, batch "
        f"size and order of lengths, at {_rate(plan)}. Parameters of the pre-trained models are "
        "matched within 5%; what is trained in fine-tuning is each system's own way and stands in "
        "its row. A fine-tuning's score is that of its best epoch on dev. An interval is of dev "
        "examples (a paired bootstrap) and of fine-tuning seeds (Student's t, because they are "
        f"few). {ONE_PRETRAINING} Of twenty intervals one leaves out 0 by chance. Operations are "
        f"counted in matrix products only. {_SIDE_BY_SIDE if result.engine == 'ray' else ''}",
    )
    page.write(path)


def _mean_score(result: Compared, system: SystemResult) -> float:
    return sum(system.scores[task.name].mean for task in result.tasks) / len(result.tasks)


def _scores(page: Report, result: Compared) -> None:
    page.section(
        "Scores",
        "Mean and standard deviation over the seeds, in percent. A task's score is the mean of its "
        "metrics.",
    )
    page.table(
        ["system", *(task.name for task in result.tasks), "mean"],
        [
            [
                system.title,
                *(
                    system.scores[task.name].told + "*" * bool(system.degenerate[task.name])
                    for task in result.tasks
                ),
                f"{100 * _mean_score(result, system):.1f}",
            ]
            for system in result.systems
        ],
        caption="* some runs came out no better than always giving the most frequent answer",
    )
    for task in result.tasks:
        marks = []
        if task.baseline is not None:
            marks.append(Mark("most frequent answer", task.baseline))
        metrics = " and ".join(METRICS[name].title for name in task.metrics)
        page.picture(
            dots_chart(
                [Dots(system.title, system.runs[task.name]) for system in result.systems],
                title=f"Scores on {task.title}",
                x_label=f"{metrics} on dev",
                marks=marks,
                percent=True,
            ),
            f"{task.title}: {task.train_examples:,} training examples, {task.dev_examples:,} dev "
            "examples, one dot a seed.",
        )
    titles = {system.name: system.title for system in result.systems}
    page.section(
        "Which differences are larger than the noise",
        "The first system's score minus the second's, in points, with a 95% interval over dev "
        "examples and fine-tuning seeds (minimal pairs: over the pairs). Only an interval that "
        "leaves out 0 says that one is better here. "
        f"{ONE_PRETRAINING}",
    )
    page.table(
        ["first", "second", "task", "points", "95% interval", "larger than the noise"],
        [
            [
                titles[found.first],
                titles[found.second],
                found.task,
                f"{100 * found.value:+.1f}",
                _interval(found),
                "yes" if found.is_sure else "",
            ]
            for found in result.differences
            if found.first == REFERENCE or {found.first, found.second} <= MODELS.keys()
        ],
    )


def _interval(found: Difference) -> str | None:
    """None where there is one run, of which nothing is known."""
    if found.interval is None:
        return None
    low, high = found.interval
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def _systems(page: Report, result: Compared) -> None:
    page.section("The systems", "What each is, and what its pre-training cost.")
    page.table(
        ["system", "a word is predicted from", "objective", "trained in fine-tuning"],
        [
            [system.title, system.direction, system.objective, system.tuned_as]
            for system in result.systems
        ],
    )
    page.table(
        ["system", "parameters", "steps", "tokens", "10^12 operations", "time", "tuning, seconds"],
        [
            [
                system.title,
                system.parameters,
                system.steps,
                system.tokens,
                f"{system.flops / 1e12:.1f}",
                duration(system.seconds),
                ", ".join(
                    f"{task} {seconds:.0f}" for task, seconds in system.tuning_seconds.items()
                ),
            ]
            for system in result.systems
        ],
        caption="What it cost: pre-training, and a fine-tuning of each task",
    )
    if result.timetable is not None:
        _foreseen(page, result, result.timetable)


def _foreseen(page: Report, result: Compared, table: Timetable) -> None:
    """What was planned, and what it took."""
    page.text(
        "Before it began, the comparison measured the speed of this machine and planned "
        + (f"{table.hours:g} hours" if table.hours else "its times")
        + ". What other work on the machine did to the times shows in the second column of each."
    )
    page.table(
        [
            "system",
            *(f"{what}, {when}" for what in ("pre-training", "fine-tuning") for when in _WHEN),
        ],
        [
            [
                system.title,
                _span(table.pretraining.get(system.name)),
                _span(system.seconds if system.pretrained == system.name else None),
                _span(sum(row.get(system.name, 0.0) for row in table.tuning.values())),
                _span(
                    sum(
                        seconds * len(system.runs[task])
                        for task, seconds in system.tuning_seconds.items()
                    )
                ),
            ]
            for system in result.systems
        ],
        caption="Planned and actual times; a fine-tuning's are of all tasks and seeds",
    )


def _span(seconds: float | None) -> str | None:
    return duration(seconds) if seconds else None


def _price(page: Report, result: Compared) -> None:
    trained = [system for system in result.systems if system.curve.loss]
    page.section(
        "The objective's price",
        "A model of masked words is asked for few of the words that it reads, a one-way model for "
        "all of them (ELMo for all of them twice). So it learns from fewer predictions a token, "
        "but each is made with both sides in view. Losses of different objectives answer different "
        "questions: compare a curve with its own start, not with another's height.",
    )
    page.table(
        ["system", "predictions per token", "held-out loss, nats", "by frequency", "right"],
        [
            [
                system.title,
                f"{system.predictions_per_token:.2f}",
                *(
                    f"{word(numbers, 'loss'):.2f}"
                    for numbers in (system.evaluation, system.baseline)
                ),
                f"{word(system.evaluation, 'accuracy'):.1%}",
            ]
            for system in trained
            if system.pretrained == system.name
        ],
    )
    for what, x_label in (("tokens", "tokens read, millions"), ("seconds", "seconds of training")):
        scale = 1e6 if what == "tokens" else 1.0
        page.picture(
            line_chart(
                [
                    Series(
                        system.title,
                        [value / scale for value in getattr(system.curve, what)],
                        system.curve.loss,
                    )
                    for system in trained
                    if system.pretrained == system.name
                ],
                title=f"Held-out loss against {what}",
                x_label=x_label,
                y_label="nats a predicted word",
            ),
            "The mean of the word objectives on held-out text.",
        )


def _published(page: Report, result: Compared) -> None:
    ours = {system.name: system for system in result.systems}
    tasks = [task.name for task in result.tasks]
    if ours.keys() & TABLE_5.keys() - {REFERENCE}:
        shared = sorted({task for row in TABLE_5.values() for task in row} & set(tasks))
        page.section(
            "The paper's table 5 at this scale",
            "What next sentence and the right-hand side are worth. The paper's numbers are those "
            "of BERT base after 3.3 billion words, in accuracy (SQuAD: F1); the scores here are "
            "the tasks' own. What can be compared is the sign and order of the differences.",
        )
        page.table(
            [
                "system",
                *(f"{task}, here" for task in tasks),
                *(f"{task} accuracy, paper" for task in shared),
            ],
            [
                [
                    ours[name].title,
                    *(f"{100 * ours[name].scores[task].mean:.1f}" for task in tasks),
                    *(f"{row[task]:.1f}" for task in shared),
                ]
                for name, row in TABLE_5.items()
                if name in ours
            ],
        )
    if ours.keys() & TABLE_8.keys() - {REFERENCE}:
        page.section(
            "The paper's table 8 at this scale",
            "What a predicted word is replaced by in pre-training.",
        )
        page.table(
            [
                "system",
                *(f"{task}, here" for task in tasks),
                "MNLI, paper",
                "NER, paper",
                "NER from features, paper",
            ],
            [
                [
                    ours[name].title
                    if name != REFERENCE
                    else "BERT, 80% [MASK], 10% kept, 10% random",
                    *(f"{100 * ours[name].scores[task].mean:.1f}" for task in tasks),
                    *(f"{value:.1f}" for value in row),
                ]
                for name, row in TABLE_8.items()
                if name in ours
            ],
        )


def _rate(plan: Plan) -> str:
    if plan.learning_rate is None:
        return "the recipe's learning rate for its width and initial weights"
    return f"a learning rate of {plan.learning_rate:g}, which need not be the best of each"
