"""`compare.html`: the scores of the systems, their differences, their cost, and a look inside."""

from pathlib import Path

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.budget import Budget
from bertsmith.comparison.page_pairs import write_pairs
from bertsmith.comparison.page_probing import write_insight
from bertsmith.comparison.page_verdict import write_verdict
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.published import TABLE_5, TABLE_8
from bertsmith.comparison.result import ONE_PRETRAINING, Compared, SystemResult, task_name, word
from bertsmith.comparison.systems import MODELS, REFERENCE
from bertsmith.comparison.timetable import Timetable
from bertsmith.reports.charts import Dots, Mark, Series, dots_chart, line_chart
from bertsmith.reports.language import listed, spent, t
from bertsmith.reports.page import Fact, Report
from bertsmith.tasks.metrics import METRICS


def write_page(result: Compared, path: Path) -> None:
    """Writes the page in the current language.

    Raises:
        SystemFault: the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    plan = result.plan
    page = Report(
        t("BERT, GPT and ELMo under one budget"),
        t(
            "{systems} systems, pre-trained on the same {documents:,} documents ({tokens:,} "
            "tokens) with the same vocabulary of {pieces:,} pieces for {budget} each, and "
            "fine-tuned on the same examples with {seeds} seeds each.",
            systems=len(result.systems),
            documents=result.corpus_documents,
            tokens=result.corpus_tokens,
            pieces=result.vocab_size,
            budget=Budget.parse(plan.budget).description,
            seeds=plan.seeds,
        ),
    )
    write_verdict(page, result)
    page.facts(
        [
            Fact(
                f"{100 * _mean_score(result, system):.1f}",
                t(system.title),
                t(
                    "mean of {count} tasks; {tokens:,} tokens in {time}",
                    count=len(result.tasks),
                    tokens=system.tokens,
                    time=spent(system.seconds),
                ),
            )
            for system in result.systems
            if system.name in MODELS
        ]
    )
    _scores(page, result)
    _differences(page, result)
    if result.pairs:
        write_pairs(page, result)
    _systems(page, result)
    _objectives(page, result)
    _published(page, result)
    write_insight(page, result)
    page.section(t("Method"), _method(result))
    page.write(path)


def _method(result: Compared) -> str:
    sentences = [
        t(
            "All systems are pre-trained by the same loop with the same optimizer, schedule, batch "
            "size and sequence lengths, at {rate}. The pre-trained models have the same number of "
            "parameters within 5%; each is fine-tuned in its own way (see “The systems”). The "
            "score of a fine-tuning is that of its best epoch on dev. The intervals are over dev "
            "examples (paired bootstrap) and fine-tuning seeds (Student's t). One interval in "
            "twenty excludes 0 by chance. Operations are those of matrix products only.",
            rate=_rate(result.plan),
        ),
        t(ONE_PRETRAINING),
    ]
    if result.engine == "ray":
        sentences.append(
            t(
                "Runs shared machines, so times are less reliable than counts of tokens and "
                "operations."
            )
        )
    return t(" ").join(sentences)


def _rate(plan: Plan) -> str:
    if plan.learning_rate is None:
        return t("the recipe's learning rate for its width and initial weights")
    return t(
        "a learning rate of {rate:g}, which may not be the best for each", rate=plan.learning_rate
    )


def _mean_score(result: Compared, system: SystemResult) -> float:
    return sum(system.scores[task.name].mean for task in result.tasks) / len(result.tasks)


def _scores(page: Report, result: Compared) -> None:
    page.section(
        t("Scores"),
        t(
            "Mean and standard deviation over seeds, in percent. The score of a task is the mean "
            "of its metrics."
        ),
    )
    page.table(
        [t("system"), *(task.name for task in result.tasks), t("mean")],
        [
            [
                t(system.title),
                *(
                    system.scores[task.name].percent + "*" * bool(system.degenerate[task.name])
                    for task in result.tasks
                ),
                f"{100 * _mean_score(result, system):.1f}",
            ]
            for system in result.systems
        ],
        caption=t("* some runs are no better than the majority baseline"),
    )
    for task in result.tasks:
        marks = []
        if task.baseline is not None:
            marks.append(Mark(t("majority baseline"), task.baseline))
        metrics = listed([t(METRICS[name].title) for name in task.metrics])
        page.picture(
            dots_chart(
                [Dots(t(system.title), system.runs[task.name]) for system in result.systems],
                title=t("Scores on {task}", task=task.title),
                x_label=t("{score} on {split}", score=metrics, split="dev"),
                marks=marks,
                percent=True,
            ),
            t(
                "{task}: {train:,} training examples, {dev:,} dev examples; one dot per seed.",
                task=task.title,
                train=task.train_examples,
                dev=task.dev_examples,
            ),
        )


def _differences(page: Report, result: Compared) -> None:
    titles = {system.name: t(system.title) for system in result.systems}
    page.section(
        t("Significant differences"),
        t(
            "Score of the first system minus that of the second in points, with a 95% interval "
            "over dev examples and fine-tuning seeds (for minimal pairs, over the pairs). A "
            "difference is significant if its interval excludes 0."
        )
        + t(" ")
        + t(ONE_PRETRAINING),
    )
    page.table(
        [t("first"), t("second"), t("task"), t("points"), t("95% interval"), t("significant")],
        [
            [
                titles[found.first],
                titles[found.second],
                task_name(found.task),
                f"{100 * found.value:+.1f}",
                _interval(found),
                t("yes") if found.is_sure else "",
            ]
            for found in result.differences
            if found.first == REFERENCE or {found.first, found.second} <= MODELS.keys()
        ],
    )


def _interval(found: Difference) -> str | None:
    """None for single runs, whose noise is unknown."""
    if found.interval is None:
        return None
    low, high = found.interval
    return t("{low:+.1f} to {high:+.1f}", low=100 * low, high=100 * high)


def _systems(page: Report, result: Compared) -> None:
    page.section(t("The systems"), t("What they are, and what their pre-training cost."))
    page.table(
        [t("system"), t("a word is predicted from"), t("objective"), t("fine-tuned")],
        [
            [t(system.title), t(system.direction), t(system.objective), t(system.tuned_as)]
            for system in result.systems
        ],
    )
    costs = "parameters", "steps", "tokens", "10^12 operations", "time", "seconds per fine-tuning"
    page.table(
        [t("system"), *map(t, costs)],
        [
            [
                t(system.title),
                system.parameters,
                system.steps,
                system.tokens,
                f"{system.flops / 1e12:.1f}",
                spent(system.seconds),
                listed([f"{task} {took:.0f}" for task, took in system.tuning_seconds.items()]),
            ]
            for system in result.systems
        ],
        caption=t("Cost of pre-training, and of one fine-tuning on each task"),
    )
    if result.timetable is not None:
        _planned_times(page, result, result.timetable)


def _planned_times(page: Report, result: Compared, table: Timetable) -> None:
    """Planned and actual times."""
    plan = t("the comparison measured the speed of this machine and planned its times.")
    if table.hours:
        plan = t(
            "the comparison measured the speed of this machine and planned {hours:g} hours.",
            hours=table.hours,
        )
    page.text(
        t(
            "Before it started, {plan} Other work on the machine makes actual times longer.",
            plan=plan,
        )
    )
    headings = (
        "pre-training, planned",
        "pre-training, actual",
        "fine-tuning, planned",
        "fine-tuning, actual",
    )
    page.table(
        [t("system"), *map(t, headings)],
        [
            [
                t(system.title),
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
        caption=t("Planned and actual times; fine-tuning on all tasks with all seeds"),
    )


def _span(seconds: float | None) -> str | None:
    return spent(seconds) if seconds else None


def _objectives(page: Report, result: Compared) -> None:
    trained = [system for system in result.systems if system.curve.loss]
    page.section(
        t("The price of the objective"),
        t(
            "A masked language model predicts only a few of the words it reads, a one-way model "
            "all of them (ELMo all of them twice). It learns from fewer predictions per token, but "
            "sees both sides for each. Losses of different objectives are not comparable: compare "
            "a curve with its own start, not with another curve."
        ),
    )
    columns = "predictions per token", "held-out loss, nats", "unigram baseline", "accuracy"
    page.table(
        [t("system"), *map(t, columns)],
        [
            [
                t(system.title),
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
    for what, title, x_label in (
        ("tokens", "Held-out loss by tokens", "millions of tokens read"),
        ("seconds", "Held-out loss by time", "seconds of training"),
    ):
        scale = 1e6 if what == "tokens" else 1.0
        page.picture(
            line_chart(
                [
                    Series(
                        t(system.title),
                        [value / scale for value in getattr(system.curve, what)],
                        system.curve.loss,
                    )
                    for system in trained
                    if system.pretrained == system.name
                ],
                title=t(title),
                x_label=t(x_label),
                y_label=t("nats per predicted word"),
            ),
            t("Mean of the word objectives on held-out text."),
        )


def _published(page: Report, result: Compared) -> None:
    ours = {system.name: system for system in result.systems}
    tasks = [task.name for task in result.tasks]
    here = [t("{task}, here", task=task) for task in tasks]
    if ours.keys() & TABLE_5.keys() - {REFERENCE}:
        shared = sorted({task for row in TABLE_5.values() for task in row} & set(tasks))
        page.section(
            t("Table 5 of the paper at this scale"),
            t(
                "The effect of next sentence prediction and of the right-hand context. The paper's "
                "numbers are accuracies (SQuAD: F1) of BERT base after 3.3 billion words; scores "
                "here are those of the tasks. Compare the sign and the order of the differences."
            ),
        )
        paper = [t("{task} accuracy, paper", task=task) for task in shared]
        page.table(
            [t("system"), *here, *paper],
            [
                [
                    t(ours[name].title),
                    *(f"{100 * ours[name].scores[task].mean:.1f}" for task in tasks),
                    *(f"{row[task]:.1f}" for task in shared),
                ]
                for name, row in TABLE_5.items()
                if name in ours
            ],
        )
    if ours.keys() & TABLE_8.keys() - {REFERENCE}:
        page.section(
            t("Table 8 of the paper at this scale"),
            t("What replaces a predicted word in pre-training."),
        )
        columns = "MNLI, paper", "NER, paper", "NER from features, paper"
        page.table(
            [t("system"), *here, *map(t, columns)],
            [
                [
                    t(ours[name].title)
                    if name != REFERENCE
                    else t("BERT, 80% [MASK], 10% kept, 10% random"),
                    *(f"{100 * ours[name].scores[task].mean:.1f}" for task in tasks),
                    *(f"{value:.1f}" for value in row),
                ]
                for name, row in TABLE_8.items()
                if name in ours
            ],
        )
