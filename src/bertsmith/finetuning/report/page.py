"""The page of a fine-tuning: how well it went, how it learned, where it errs, how to go on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.core.command_line import command
from bertsmith.core.terminal import clock
from bertsmith.finetuning.data import FEW
from bertsmith.finetuning.model_card import STARTS
from bertsmith.finetuning.report.scores import write_curves, write_runs, write_scores
from bertsmith.finetuning.result import REMEDY, FinetuneResult
from bertsmith.reports.charts import Mark, histogram_chart
from bertsmith.reports.page import Fact, Report
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import Answered, Prediction
from bertsmith.tasks.kinds.sections import MOST_ROWS
from bertsmith.tasks.metric import UNDEFINED, told
from bertsmith.tasks.metrics import METRICS
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN

_NAMES = 8
_MOST_ERRORS = 12


def write_report(
    result: FinetuneResult, *, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> None:
    """Writes `report.html`, one self-contained page.

    Args:
        result: what the job came to.
        examples: those of the deciding part.
        predictions: of the best run, in the examples' order.

    Raises:
        FolderError: `metrics.jsonl` of the best run is damaged.
        MissingExtra: matplotlib is not installed.
        SystemFault: the page cannot be written.
    """
    page = Report(result.title, _about(result, examples[0]))
    page.facts(_facts(result))
    warnings = _warnings(result)
    if warnings:
        page.section("Before you trust the score")
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
    """What was fine-tuned, and how."""
    config = result.config
    goal = result.task_kind.goal(result.labels, example)
    passes = f"{config.epochs} epoch{'s' * (config.epochs != 1)}"
    if config.steps or config.hours:
        passes = f"at most {passes}"
    how = (
        f"Trained for {passes} (an epoch is a pass over the "
        f"{result.inspection.examples['train']:,} training examples) with {config.batch_size} "
        f"examples a step, a learning rate of up to {config.learning_rate:g} and inputs of at most "
        f"{config.max_length} tokens (words or pieces of words)"
    )
    if config.features:
        layers = ", ".join(map(str, config.features))
        how += f", on layers {layers} of a model that itself stayed as it was"
    if config.class_weights == "balanced":
        how += ", every class counting alike"
    about = f"{result.model}, fine-tuned to {goal}"
    if config.initial_weights is not None:
        about = (
            f"A BERT ({result.model}) without pre-training, trained to {goal}: all "
            "that it knows comes from the training examples"
        )
        how += f". The run started from {STARTS[config.initial_weights]}"
    best = f" This is the best of {len(result.runs)} runs." if len(result.runs) > 1 else ""
    return f"{about}. {how}.{best}"


def _facts(result: FinetuneResult) -> list[Fact]:
    facts = []
    for name in result.deciding_metrics:
        notes = []
        if name in result.intervals:
            low, high = result.intervals[name]
            notes.append(f"95% interval {low:.4f} to {high:.4f}")
        if name in result.baseline:
            notes.append(f"{result.task_kind.baseline_words}: {told(result.baseline[name])}")
        score = result.best_run.scores[result.deciding][name]
        title = METRICS[name].title
        facts.append(Fact(told(score), f"{title} on {result.deciding}", "; ".join(notes)))
        found = result.summary[result.deciding][name]
        if found.runs > 1:
            deviation = f"standard deviation {found.deviation:.4f}"
            facts.append(
                Fact(f"{found.mean:.4f}", f"{title}, mean of {found.runs} seeds", deviation)
            )
    speed = f"{result.best_run.examples_per_second:,.0f}"
    count = len(result.runs)
    took = clock(result.seconds)
    return [
        *facts,
        Fact(speed, "examples a second", "in training"),
        Fact(took, f"for {count} runs" if count > 1 else "for the run", "hours, minutes, seconds"),
    ]


def _warnings(result: FinetuneResult) -> list[str]:
    """What makes the score less than it seems, or the model worse than it could be."""
    inspection, found, usual = result.inspection, [], result.task_kind.baseline_words
    if result.degenerate:
        count, names = len(result.degenerate), _listed(result.degenerate)
        if count == len(result.runs):
            runs = "The run" if count == 1 else f"All {count} runs"
            found.append(f"{runs} came out no better than “{usual}”: nothing was learned. {REMEDY}")
        else:
            found.append(
                f"No better than “{usual}”, and therefore in no mean: {count} of "
                f"{len(result.runs)} runs ({names})."
            )
    if any(None in scores.values() for scores in result.best_run.scores.values()):
        found.append(UNDEFINED)
    if inspection.examples["dev"] < FEW:
        found.append(
            f"The score is over {inspection.examples['dev']} examples of {result.deciding}: too "
            "few for it to say much, whatever its interval."
        )
    if inspection.leaked:
        found.append(
            f"Examples of {result.deciding} that are in train too: {inspection.leaked:,} of "
            f"{inspection.examples['dev']:,}, for instance {_listed(inspection.leaked_places)}. "
            "The score on them says little of new ones."
        )
    if result.lengths.unknown >= MANY_UNKNOWN:
        found.append(
            f"Of the pieces of train, {result.lengths.unknown:.1%} are unknown to the model's "
            "vocabulary ([UNK]): it cannot tell these words from one another. A model of their "
            "language can."
        )
    what = result.task_kind.cut_inputs.capitalize()
    for part, count in result.lengths.truncated.items():
        if count:
            found.append(f"{what} of {part} that are too long and lose their end: {count:,}.")
    if inspection.contradictions:
        found.append(
            "Training examples that repeat an earlier one with another label: "
            f"{inspection.contradictions:,}, for instance "
            f"{_listed(inspection.contradicting_places)}."
        )
    if inspection.seen_once:
        found.append(
            f"Labels of a single {result.task_kind.unit} of train: "
            f"{_listed(inspection.seen_once)}. That is too few to learn from."
        )
    return found


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


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
    page.section("Errors to read")
    if not len(worst):
        page.text(f"There is none: every answer on {result.deciding} is right.")
        return
    page.text(kind.about_errors(len(wrong), len(examples), _MOST_ERRORS))
    page.texts([kind.card(examples[place], predictions[place]) for place in worst])


def _write_data(page: Report, result: FinetuneResult) -> None:
    found, lengths = result.inspection, result.lengths
    page.section("The data")
    counts = {"train": found.examples["train"], result.deciding: found.examples["dev"]}
    page.table(
        [
            "part",
            "examples",
            "lose their end",
            "read in several windows"
            if result.task_kind.inputs == "inputs"
            else f"{result.task_kind.inputs} read in several windows",
        ],
        [
            [part, counts.get(part), cut, lengths.windowed[part]]
            for part, cut in lengths.truncated.items()
        ],
    )
    if found.numbers:
        page.table(
            ["part", "least", "mean", "greatest"],
            [
                [part, numbers.least, numbers.mean, numbers.greatest]
                for part, numbers in found.numbers.items()
            ],
            caption="Labels",
        )
    if found.classes:
        _write_balance(page, result)
    page.text(_repeats(result))
    what = result.task_kind.inputs
    every = np.repeat(list(lengths.counts), list(lengths.counts.values()))
    page.picture(
        histogram_chart(
            every.tolist(),
            title=f"Lengths of the training {what}",
            x_label="tokens",
            y_label=what,
            limit=Mark("limit", lengths.max_length),
        ),
        f"How many training {what} have how many tokens, before anything is cut. The middle one "
        f"has {lengths.median:,}, the longest {lengths.longest:,}; the limit of an input is "
        f"{lengths.max_length:,}.",
    )


def _write_balance(page: Report, result: FinetuneResult) -> None:
    train, dev = result.inspection.classes["train"], result.inspection.classes["dev"]
    names = list(dict.fromkeys((*train, *dev)))
    rest = f"; the {MOST_ROWS} most frequent of {len(names)}" * (len(names) > MOST_ROWS)

    def cell(counts: dict[str, int], name: str) -> str:
        count = counts.get(name, 0)
        return f"{count:,} ({count / sum(counts.values()):.1%})"

    page.table(
        [result.task_kind.counted, "train", result.deciding],
        [[name, cell(train, name), cell(dev, name)] for name in names[:MOST_ROWS]],
        caption=f"Labels{rest}",
    )


def _repeats(result: FinetuneResult) -> str:
    found = result.inspection
    repeats = "No training example repeats an earlier one"
    if found.duplicates:
        repeats = (
            f"Training examples that repeat an earlier one: {found.duplicates:,}, "
            f"{found.contradictions:,} of them with another label"
        )
    leaks = f"No example of {result.deciding} is in train too."
    if found.leaked:
        leaks = f"Examples of {result.deciding} that are in train too: {found.leaked:,}."
    return f"{repeats}. {leaks}"


def _write_next(page: Report, result: FinetuneResult, example: Example) -> None:
    page.section("Go on", "Ask the model, or score it on other labelled examples:")
    page.commands(
        [
            command("predict", result.out, "INPUT", out="answers.jsonl"),
            command("evaluate", result.out, data="FILE"),
        ]
    )
    if not result.in_transformers:
        page.text("transformers has no model that gives its outputs: use it with bertsmith.")
        return
    page.text("Or load it with transformers, in Python:")
    page.commands(result.task_kind.transformers_code(result.out, example))
