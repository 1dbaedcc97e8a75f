"""The page of a fine-tuning: its scores, its training, its errors and the next commands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.core.command_line import command
from bertsmith.finetuning.data import FEW
from bertsmith.finetuning.model_card import STARTS
from bertsmith.finetuning.report.scores import (
    baseline_title,
    write_curves,
    write_runs,
    write_scores,
)
from bertsmith.finetuning.result import REMEDY, FinetuneResult
from bertsmith.reports.charts import Mark, histogram_chart
from bertsmith.reports.language import listed, spent, t
from bertsmith.reports.page import Fact, Report
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import Answered, Prediction
from bertsmith.tasks.kinds.sections import MOST_ROWS
from bertsmith.tasks.metric import UNDEFINED, score_text
from bertsmith.tasks.metrics import METRICS
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN

_NAMES = 8
_MOST_ERRORS = 12


def write_report(
    result: FinetuneResult, *, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> None:
    """Writes `report.html`, one self-contained page in the current language.

    Args:
        result: the result of the job.
        examples: the examples of the split that selected the best run.
        predictions: of the best run, in the order of the examples.

    Raises:
        FolderError: `metrics.jsonl` of the best run is damaged.
        MissingExtra: matplotlib is not installed.
        SystemFault: the page cannot be written.
    """
    title = t(result.title)
    about = f"{result.source}{t(': ')}{title}" if result.source else title
    page = Report(about, _about(result, examples[0]))
    page.facts(_facts(result))
    warnings = [*_run_warnings(result), *_data_warnings(result)]
    if warnings:
        page.section(t("Before you trust the score"))
        for warning in warnings:
            page.text(warning)
    write_scores(page, result)
    if len(result.runs) > 1:
        write_runs(page, result)
    write_curves(page, result)
    answered = Answered(
        examples, predictions, result.labels, result.best_run.thresholds, result.inspection
    )
    result.task_kind.write_answers(page, answered)
    _write_errors(page, result, examples, predictions)
    _write_data(page, result)
    _write_next(page, result, examples[0])
    page.write(Path(result.report))


def _about(result: FinetuneResult, example: Example) -> str:
    """The subtitle: what was fine-tuned, and with which settings."""
    config = result.config
    goal = result.task_kind.goal(result.labels, example)
    sentences = [t("{model}, fine-tuned to {goal}.", model=result.model, goal=goal)]
    if config.initial_weights is not None:
        sentences = [
            t(
                "A BERT ({model}) without pre-training, trained to {goal}. All it knows comes from "
                "the training examples; it started from {start}.",
                model=result.model,
                goal=goal,
                start=t(STARTS[config.initial_weights]),
            )
        ]
    passes = t("1 epoch") if config.epochs == 1 else t("{count} epochs", count=config.epochs)
    if config.steps or config.hours:
        passes = t("at most {epochs}", epochs=passes)
    sentences.append(
        t(
            "Trained for {epochs} on {examples:,} examples with batches of {batch}, a peak "
            "learning rate of {rate:g} and inputs of up to {length} tokens.",
            epochs=passes,
            examples=result.inspection.examples["train"],
            batch=config.batch_size,
            rate=config.learning_rate,
            length=config.max_length,
        )
    )
    if config.features:
        layers = listed(list(map(str, config.features)))
        sentences.append(t("The encoder is frozen; its layers {layers} are read.", layers=layers))
    if config.class_weights == "balanced":
        sentences.append(t("Every class has the same weight in the loss."))
    if len(result.runs) > 1:
        sentences.append(t("This is the best of {count} runs.", count=len(result.runs)))
    return t(" ").join(sentences)


def _facts(result: FinetuneResult) -> list[Fact]:
    facts = []
    for name in result.deciding_metrics:
        notes = []
        if name in result.intervals:
            low, high = result.intervals[name]
            notes.append(t("95% interval {low:.4f} to {high:.4f}", low=low, high=high))
        if name in result.baseline:
            notes.append(f"{baseline_title(result)}{t(': ')}{score_text(result.baseline[name])}")
        score = result.best_run.scores[result.deciding][name]
        title = t(METRICS[name].title)
        on = t("{score} on {split}", score=title, split=result.deciding)
        facts.append(Fact(t(score_text(score)), on, t("; ").join(notes)))
        found = result.summary[result.deciding][name]
        if found.runs > 1:
            of = t("{score}, mean of {count} seeds", score=title, count=found.runs)
            note = t("standard deviation {value:.4f}", value=found.deviation)
            facts.append(Fact(f"{found.mean:.4f}", of, note))
    speed = f"{result.best_run.examples_per_second:,.0f}"
    count = len(result.runs)
    of = t("for {count} runs", count=count) if count > 1 else t("for one run")
    return [
        *facts,
        Fact(speed, t("examples per second"), t("in training")),
        Fact(spent(result.seconds), of, t("with evaluations")),
    ]


def _run_warnings(result: FinetuneResult) -> list[str]:
    """Reasons in the runs why the score says less than it seems."""
    found, name = [], t(result.task_kind.baseline_name)
    if result.degenerate:
        failed, runs = len(result.degenerate), len(result.runs)
        if runs == 1:
            found.append(
                t("The run is no better than the baseline ({name}): it learned nothing.", name=name)
            )
        elif failed == runs:
            found.append(
                t(
                    "None of the {count} runs is better than the baseline ({name}): nothing was "
                    "learned.",
                    count=runs,
                    name=name,
                )
            )
        else:
            found.append(
                t(
                    "{failed} of {count} runs are no better than the baseline ({name}) and are "
                    "left out of all means: {runs}.",
                    failed=failed,
                    count=runs,
                    name=name,
                    runs=listed(result.degenerate, most=_NAMES),
                )
            )
        if failed == runs:
            found[-1] += t(" ") + t(REMEDY)
    if any(None in scores.values() for scores in result.best_run.scores.values()):
        found.append(t(UNDEFINED))
    return found


def _data_warnings(result: FinetuneResult) -> list[str]:
    """Faults of the data that distort the score or hold the model back."""
    inspection, found, split = result.inspection, [], result.deciding
    count = inspection.examples["dev"]
    if count < FEW:
        found.append(
            t("{split} has only {count} examples: too few for a reliable score.",
              split=split, count=count)
        )  # fmt: skip
    if result.skipped:
        found.append(t("Rows that were left out: {rows}.", rows=". ".join(result.skipped)))
    if inspection.leaked:
        found.append(
            t(
                "{leaked:,} of {count:,} examples of {split} are in train too, e.g. {places}. "
                "Their scores say little about new examples.",
                leaked=inspection.leaked,
                count=count,
                split=split,
                places=listed(inspection.leaked_places, most=_NAMES),
            )
        )
    if result.lengths.unknown >= MANY_UNKNOWN:
        found.append(
            t(
                "{share:.1%} of the training tokens are unknown to the model's vocabulary ([UNK]), "
                "so it cannot tell these words apart. Use a model trained on their language.",
                share=result.lengths.unknown,
            )
        )
    for part, cut in result.lengths.truncated.items():
        if cut:
            found.append(
                t("{what} of {split} cut because they are too long: {count:,}.",
                  what=t(result.task_kind.cut_inputs.capitalize()), split=part, count=cut)
            )  # fmt: skip
    if inspection.contradictions:
        found.append(
            t(
                "{count:,} training examples repeat an earlier one with another label, e.g. "
                "{places}.",
                count=inspection.contradictions,
                places=listed(inspection.contradicting_places, most=_NAMES),
            )
        )
    if inspection.seen_once:
        found.append(
            t(
                "Labels with a single {unit} in train: {names}. That is too few to learn from.",
                unit=t(result.task_kind.unit),
                names=listed(inspection.seen_once, most=_NAMES),
            )
        )
    return found


def _write_errors(
    page: Report,
    result: FinetuneResult,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> None:
    kind = result.task_kind
    badness = kind.badness(examples, predictions)
    wrong = np.flatnonzero(badness >= 0)
    worst = wrong[np.argsort(-badness[wrong], kind="stable")][:_MOST_ERRORS]
    page.section(t("Errors"))
    if not len(worst):
        page.text(t("Every prediction on {split} is correct.", split=result.deciding))
        return
    page.text(kind.about_errors(len(wrong), len(examples), _MOST_ERRORS))
    page.texts([kind.card(examples[place], predictions[place]) for place in worst])


def _write_data(page: Report, result: FinetuneResult) -> None:
    found, lengths, kind = result.inspection, result.lengths, result.task_kind
    page.section(t("The data"))
    counts = {"train": found.examples["train"], result.deciding: found.examples["dev"]}
    windows = t("{inputs} read in several windows", inputs=t(kind.inputs))
    page.table(
        [t("split"), t("examples"), t("cut"), windows],
        [
            [part, counts.get(part), cut, lengths.windowed[part]]
            for part, cut in lengths.truncated.items()
        ],
    )
    if found.numbers:
        page.table(
            [t("split"), t("smallest"), t("mean"), t("largest")],
            [
                [part, numbers.least, numbers.mean, numbers.greatest]
                for part, numbers in found.numbers.items()
            ],
            caption=t("Labels"),
        )
    if found.classes:
        _write_balance(page, result)
    page.text(_repeats(result))
    every = np.repeat(list(lengths.counts), list(lengths.counts.values()))
    inputs = t(kind.inputs)
    page.picture(
        histogram_chart(
            every.tolist(),
            title=t("Lengths of the training {inputs}", inputs=inputs),
            x_label=t("tokens"),
            y_label=inputs,
            limit=Mark(t("limit"), lengths.max_length),
        ),
        t(
            "Lengths of the training {inputs} before anything is cut: median {median:,} tokens, "
            "maximum {longest:,}. The limit of an input is {limit:,}.",
            inputs=inputs,
            median=lengths.median,
            longest=lengths.longest,
            limit=lengths.max_length,
        ),
    )


def _write_balance(page: Report, result: FinetuneResult) -> None:
    train, dev = result.inspection.classes["train"], result.inspection.classes["dev"]
    names = list(dict.fromkeys((*train, *dev)))
    caption = t("Labels")
    if len(names) > MOST_ROWS:
        caption = t(
            "The {shown} most frequent of {count} labels", shown=MOST_ROWS, count=len(names)
        )

    def cell(counts: dict[str, int], name: str) -> str:
        count = counts.get(name, 0)
        return f"{count:,} ({count / sum(counts.values()):.1%})"

    page.table(
        [t(result.task_kind.counted), "train", result.deciding],
        [[name, cell(train, name), cell(dev, name)] for name in names[:MOST_ROWS]],
        caption=caption,
    )


def _repeats(result: FinetuneResult) -> str:
    found, split = result.inspection, result.deciding
    repeats = t("No training example repeats an earlier one.")
    if found.duplicates:
        repeats = t(
            "{count:,} training examples repeat an earlier one, {other:,} of them with another "
            "label.",
            count=found.duplicates,
            other=found.contradictions,
        )
    leaks = t("No example of {split} is in train.", split=split)
    if found.leaked:
        leaks = t(
            "{count:,} examples of {split} are in train too.", count=found.leaked, split=split
        )
    return repeats + t(" ") + leaks


def _write_next(page: Report, result: FinetuneResult, example: Example) -> None:
    page.section(t("Next steps"), t("Run the model, or score it on other labelled examples:"))
    page.commands(
        [
            command("predict", result.out, "INPUT", out="answers.jsonl"),
            command("evaluate", result.out, data="FILE"),
        ]
    )
    if not result.in_transformers:
        page.text(t("transformers has no model with the same outputs; use it with bertsmith."))
        return
    page.text(t("Or load it with transformers in Python:"))
    page.commands(result.task_kind.transformers_code(result.out, example))
