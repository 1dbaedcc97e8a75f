"""The page of a fine-tuning: how well it went, how it learned, where it errs, how to go on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.core.command_line import command
from bertsmith.core.terminal import clock
from bertsmith.finetuning.data import FEW, MANY_UNKNOWN
from bertsmith.finetuning.model_card import STARTS
from bertsmith.finetuning.report.answers import MOST_ROWS, write_answers
from bertsmith.finetuning.report.examples import MOST, errors
from bertsmith.finetuning.report.scores import ALWAYS, write_curves, write_runs, write_scores
from bertsmith.finetuning.result import REMEDY, FinetuneResult
from bertsmith.models.head_config import Kind
from bertsmith.reports.charts import Mark, histogram_chart
from bertsmith.reports.page import Fact, Report
from bertsmith.tasks.decode import Prediction
from bertsmith.tasks.metrics import METRICS, UNDEFINED, told
from bertsmith.tasks.task import Example, TextExample

_NAMES = 8


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
    write_answers(page, result, examples, predictions)
    _write_errors(page, result, examples, predictions)
    _write_data(page, result)
    _write_next(page, result, examples[0])
    page.write(Path(result.report))


def _about(result: FinetuneResult, example: Example) -> str:
    """What was fine-tuned, and how."""
    config = result.config
    text = "a text"
    if isinstance(example, TextExample) and example.b is not None:
        text = "a pair of texts"
    goals: dict[Kind, str] = {
        "classify": f"tell which of {len(result.labels)} classes {text} belongs to",
        "regress": f"give {text} a number",
        "choose": "choose how a text goes on",
        "tag": "tag the words of a sentence",
        "answer": "answer questions about a text with a part of it",
    }
    passes = f"{config.epochs} epoch{'s' * (config.epochs != 1)}"
    if config.steps or config.hours:
        passes = f"at most {passes}"
    how = (
        f"Trained for {passes} (an epoch is a pass over the "
        f"{result.inspection.examples['train']:,} training examples) with {config.batch_size} "
        f"examples a step, a learning rate of up to {config.learning_rate:g} and inputs of at most "
        f"{config.longest} tokens (words or pieces of words)"
    )
    if config.features:
        layers = ", ".join(map(str, config.features))
        how += f", on layers {layers} of a model that itself stayed as it was"
    if config.weights == "balanced":
        how += ", every class counting alike"
    about = f"{result.model}, fine-tuned to {goals[result.kind]}"
    if config.initial_weights is not None:
        about = (
            f"A BERT ({result.model}) without pre-training, trained to {goals[result.kind]}: all "
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
            notes.append(f"{ALWAYS[result.kind]}: {told(result.baseline[name])}")
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
    inspection, found = result.inspection, []
    if result.degenerate:
        count, names = len(result.degenerate), _listed(result.degenerate)
        if count == len(result.runs):
            runs = "The run" if count == 1 else f"All {count} runs"
            found.append(
                f"{runs} came out no better than “{ALWAYS[result.kind]}”: nothing was learned. "
                f"{REMEDY}"
            )
        else:
            found.append(
                f"No better than “{ALWAYS[result.kind]}”, and therefore in no mean: {count} of "
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
    what = "Questions" if result.kind == "answer" else "Inputs"
    for part, count in result.lengths.cut.items():
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
            f"Labels of a single {'word' if result.kind == 'tag' else 'example'} of train: "
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
    found = errors(result.kind, examples, predictions)
    page.section("Errors to read")
    if not found.cards:
        page.text(f"There is none: every answer on {result.deciding} is right.")
        return
    if result.kind == "regress":
        page.text(f"The answers that are furthest off, {MOST} at most.")
    else:
        what = "Sentences with a wrong tag" if result.kind == "tag" else "Wrong answers"
        page.text(
            f"{what}: {found.count:,} of {len(examples):,}. Below are those that the model was "
            f"surest of, {MOST} at most; some may be errors of the labels."
            + " Green entities are alike in both, orange ones are not."
            * (result.kind == "tag")
        )
    page.texts(found.cards)


def _write_data(page: Report, result: FinetuneResult) -> None:
    found, lengths = result.inspection, result.lengths
    page.section("The data")
    counts = {"train": found.examples["train"], result.deciding: found.examples["dev"]}
    page.table(
        [
            "part",
            "examples",
            "lose their end",
            "documents read in several windows"
            if result.kind == "tag"
            else "read in several windows",
        ],
        [
            [part, counts.get(part), cut, lengths.windowed[part]]
            for part, cut in lengths.cut.items()
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
    what = "documents" if result.kind == "tag" else "inputs"
    every = np.repeat(list(lengths.counts), list(lengths.counts.values()))
    page.picture(
        histogram_chart(
            every.tolist(),
            title=f"Lengths of the training {what}",
            x_label="tokens",
            y_label=what,
            limit=Mark("limit", lengths.limit),
        ),
        f"How many training {what} have how many tokens, before anything is cut. The middle one "
        f"has {lengths.median:,}, the longest {lengths.longest:,}; the limit of an input is "
        f"{lengths.limit:,}.",
    )


_COUNTED: dict[Kind, str] = {
    "classify": "class",
    "choose": "right choice",
    "tag": "tag of a word",
    "answer": "question",
}


def _write_balance(page: Report, result: FinetuneResult) -> None:
    train, dev = result.inspection.classes["train"], result.inspection.classes["dev"]
    names = list(dict.fromkeys((*train, *dev)))
    rest = f"; the {MOST_ROWS} most frequent of {len(names)}" * (len(names) > MOST_ROWS)

    def cell(counts: dict[str, int], name: str) -> str:
        count = counts.get(name, 0)
        return f"{count:,} ({count / sum(counts.values()):.1%})"

    page.table(
        [_COUNTED[result.kind], "train", result.deciding],
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
    page.commands(_transformers(result, example))


def _transformers(result: FinetuneResult, example: Example) -> list[str]:
    def pipeline(task: str, more: str = "") -> list[str]:
        return [
            "from transformers import pipeline",
            f'model = pipeline("{task}", model={result.out!r}{more})',
        ]

    def automatic(head: str) -> list[str]:
        return [
            f"from transformers import AutoModelFor{head}, AutoTokenizer",
            f"model = AutoModelFor{head}.from_pretrained({result.out!r})",
            f"tokenizer = AutoTokenizer.from_pretrained({result.out!r})",
        ]

    pair = isinstance(example, TextExample) and example.b is not None
    text = '{"text": "TEXT", "text_pair": "SECOND TEXT"}' if pair else '"TEXT"'
    match result.kind:
        case "classify":
            return [*pipeline("text-classification"), f"model({text})"]
        case "regress":
            number = ', function_to_apply="none"'
            return [*pipeline("text-classification", number), f"model({text})"]
        case "tag":
            words = ', aggregation_strategy="first"'
            return [*pipeline("token-classification", words), 'model("SENTENCE")']
        case "choose":
            return automatic("MultipleChoice")
        case "answer":
            return automatic("QuestionAnswering")
