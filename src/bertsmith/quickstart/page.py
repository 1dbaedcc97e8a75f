"""The result of a quickstart: numbers, filled blanks, and the page that shows them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bertsmith.core.command_line import command
from bertsmith.corpus.shards import Corpus
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.quickstart.comparison import Attempt, Comparison, write_comparison
from bertsmith.reports.charts import Mark, Series, line_chart
from bertsmith.reports.language import t
from bertsmith.reports.page import Blank, Fact, Report

# Sentences of this many pieces give enough context and are short enough to read.
_PIECES = (12, 32)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a quickstart."""

    out: str
    report: str
    model: str
    language: str
    source: str
    documents: int
    heldout_documents: int
    tokens: int
    vocab_size: int
    parameters: int
    steps: int
    tokens_trained: int
    tokens_per_second: float
    evaluation: dict[str, float]
    """Final held-out `mlm_loss` (nats), `mlm_accuracy`, `nsp_accuracy`, ..."""
    baseline: dict[str, float]
    """The same numbers of the baselines: unigrams and the majority class."""
    seconds: dict[str, float]
    """Stage -> time."""
    own_blanks: list[Blank]
    text_blanks: list[Blank]
    task: Comparison
    """A small task, fine-tuned with and without pre-training."""

    def in_short(self) -> str:
        """The result for readers who do not know losses, in the current language."""
        right, guessed = self.evaluation["mlm_accuracy"], self.baseline["mlm_accuracy"]
        task = self.task
        if right <= guessed:
            found = t(
                "The model has not learned yet: it predicts {right:.0%} of the masked words "
                "correctly, no more than always guessing the most frequent word ({guessed:.0%}). "
                "Give it more minutes.",
                right=right,
                guessed=guessed,
            )
        else:
            found = t(
                "The model has learned: it predicts {right:.0%} of the masked words correctly; "
                "always guessing the most frequent word gives {guessed:.0%}.",
                right=right,
                guessed=guessed,
            )
        if not task.is_clear:
            return found
        effect = (
            "Pre-training gained {points:.0f} points on a small task ({pretrained:.0%} accuracy "
            "with it, {untrained:.0%} without)."
        )
        if task.difference < 0:
            effect = (
                "Pre-training lost {points:.0f} points on a small task ({pretrained:.0%} accuracy "
                "with it, {untrained:.0%} without)."
            )
        return (
            found
            + t(" ")
            + t(
                effect,
                points=abs(100 * task.difference),
                pretrained=task.pretrained.accuracy,
                untrained=task.untrained.accuracy,
            )
        )

    def summary(self) -> list[str]:
        """The result in a few lines, with the next commands."""
        now, base = self.evaluation, self.baseline
        first, task = self.own_blanks[0], self.task
        return [
            f"Trained a BERT of {self.parameters:,} parameters on {self.source}.",
            self.in_short(),
            f"  masked words: loss {now['mlm_loss']:.2f} nats (baseline {base['mlm_loss']:.2f}), "
            f"accuracy {now['mlm_accuracy']:.1%} (baseline {base['mlm_accuracy']:.1%})",
            f"  next sentence: accuracy {now['nsp_accuracy']:.1%} "
            f"(baseline {base['nsp_accuracy']:.1%})",
            f"  {first.text}  ->  {', '.join(token for token, _ in first.guesses)}",
            f"Fine-tuned it on {task.train_examples:,} examples of a small task: {task.question}",
            *(f"  {_attempt_line(name, attempt)}" for name, attempt in task.attempts),
            f"  {task.verdict()}",
            f"Time: {sum(self.seconds.values()) / 60:.1f} minutes",
            "",
            f"Report:     {self.report}",
            f"Model:      {self.model}",
            f"Fine-tuned: {task.pretrained.out}",
            "",
            "Next:",
            *(f"  {command}" for command in next_commands(self)),
        ]


def _attempt_line(name: str, attempt: Attempt) -> str:
    low, high = attempt.interval
    return f"{name}: dev accuracy {attempt.accuracy:.1%} (95% interval {low:.1%} to {high:.1%})"


def next_commands(outcome: Outcome) -> list[str]:
    """Commands to try: the new models, then the same steps on the user's own text and labels."""
    model, tuned = outcome.model, outcome.task.pretrained.out
    dev = str(Path(outcome.out) / "task" / "dev.csv")
    return [
        f'{command("fill", model)} "{outcome.own_blanks[-1].text}"',
        command("serve", model, tuned),
        command("info", model),
        command("evaluate", tuned, data=dev),
        command("predict", tuned, dev, out="answers.csv"),
        command(
            "finetune", "classification", model=model, train="my-labels.csv", out="my-classifier"
        ),
        command("tokenizer", "train", "my-text/", out="my-tokenizer", vocab_size=30000),
        command("prepare", "my-text/", tokenizer="my-tokenizer", out="my-corpus"),
        command("pretrain", data="my-corpus", out="my-model", size="mini", hours=1),
    ]


def held_out_blanks(corpus: Corpus, count: int) -> list[tuple[str, str]]:
    """Sentences spread over the held-out documents, each with one word masked.

    Nothing is picked by hand: the sentences are at equal distances, and the masked word is the
    longest single piece (the first of equals; in Chinese, where all are equally long, the middle
    character).
    """
    split, tokenizer = corpus.split("heldout"), corpus.tokenizer
    starts = split.sentence_starts(np.arange(split.sentence_count + 1))
    lengths = np.diff(starts)
    fitting = np.flatnonzero((lengths >= _PIECES[0]) & (lengths <= _PIECES[1]))
    blanks: list[tuple[str, str]] = []
    for row in np.linspace(0, len(fitting), count, endpoint=False, dtype=np.int64):
        sentence = int(fitting[row])
        ids = split.gather(starts[sentence : sentence + 1], lengths[sentence : sentence + 1])
        pieces = [tokenizer.bare[index] for index in ids]
        begins_T = np.append(tokenizer.word_starts(ids), True)
        whole = [
            place
            for place, piece in enumerate(pieces)
            if piece.isalpha() and begins_T[place : place + 2].all()
        ]
        if whole:
            middle = len(pieces) / 2
            hidden = max(whole, key=lambda place: (len(pieces[place]), -abs(place - middle)))
            masked = [int(number) for number in ids]
            masked[hidden] = tokenizer.mask_id
            blanks.append((tokenizer.decode(masked), pieces[hidden]))
    return blanks


def collect(
    out: Path,
    *,
    language: str,
    source: str,
    corpus: Corpus,
    parameters: int,
    metrics: Sequence[dict[str, Any]],
    own_blanks: list[Blank],
    text_blanks: list[Blank],
    seconds: dict[str, float],
    task: Comparison,
) -> Outcome:
    """Gathers the numbers of a finished quickstart in `out`."""
    last = {row["kind"]: row for row in metrics}
    train = last["train"]
    numbers = ("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
    return Outcome(
        out=str(out),
        report=str(out / "report.html"),
        model=str(out / "model"),
        language=language,
        source=source,
        documents=corpus.manifest.documents("train"),
        heldout_documents=corpus.manifest.documents("heldout"),
        tokens=corpus.manifest.tokens("train"),
        vocab_size=corpus.manifest.vocab_size,
        parameters=parameters,
        steps=train["step"],
        tokens_trained=train["tokens"],
        tokens_per_second=train["tokens_per_second"],
        evaluation={name: last["evaluation"][name] for name in numbers},
        baseline={name: last["baseline"][name] for name in numbers},
        seconds=seconds,
        own_blanks=own_blanks,
        text_blanks=text_blanks,
        task=task,
    )


def write_report(
    outcome: Outcome, config: PretrainConfig, metrics: Sequence[dict[str, Any]]
) -> None:
    """Writes `report.html`, one self-contained page in the current language.

    Args:
        outcome: the result.
        config: settings of the pre-training.
        metrics: its records.
    """
    about = t("Trained from scratch on {source}, on this machine alone.", source=t(outcome.source))
    page = Report(t("Your own BERT in a few minutes"), about + t(" ") + outcome.in_short())
    page.facts(_facts(outcome))
    page.section(
        t("Filling in blanks"),
        t(
            "Sentences written for this page, with the model's predictions for the blank and their "
            "probabilities. The original word is bold if it is among the first five."
        ),
    )
    page.blanks(outcome.own_blanks)
    page.section(
        t("On text it has never seen"),
        t(
            "Sentences of the held-out documents, taken at equal distances, with the longest word "
            "masked: not the easy ones."
        ),
    )
    page.blanks(outcome.text_blanks)
    _curves(page, outcome.baseline, config, metrics)
    write_comparison(page, outcome.task, Path(outcome.out))
    _tables(page, outcome, config)
    page.section(t("Next steps"))
    page.commands(next_commands(outcome))
    page.write(Path(outcome.report))


def _facts(outcome: Outcome) -> list[Fact]:
    now, base, task = outcome.evaluation, outcome.baseline, outcome.task
    effect = t(
        "{pretrained:.0%} accuracy with it, {untrained:.0%} without",
        pretrained=task.pretrained.accuracy,
        untrained=task.untrained.accuracy,
    )
    if not task.is_clear:
        effect = t("; ").join([effect, t("within the noise")])
    return [
        Fact(
            f"{now['mlm_accuracy']:.0%}",
            t("of the words masked in unseen text predicted correctly"),
            t("most frequent word: {share:.0%}", share=base["mlm_accuracy"]),
        ),
        Fact(
            t("{points:+.0f} points", points=100 * task.difference),
            t("from pre-training on a small task"),
            effect,
        ),
        Fact(
            f"{now['mlm_loss']:.2f}",
            t("held-out loss in nats per masked word"),
            t("unigram baseline: {loss:.2f}", loss=base["mlm_loss"]),
        ),
        Fact(
            t("{minutes:.1f} min", minutes=sum(outcome.seconds.values()) / 60),
            t("in total"),
            t("{speed:,.0f} tokens per second in training", speed=outcome.tokens_per_second),
        ),
    ]


def _curves(
    page: Report,
    base: dict[str, float],
    config: PretrainConfig,
    metrics: Sequence[dict[str, Any]],
) -> None:
    trained = [row for row in metrics if row["kind"] == "train"]
    evaluated = [row for row in metrics if row["kind"] == "evaluation"]
    minutes = {row["step"]: row["elapsed"] / 60 for row in trained} | {0: 0.0}
    at = [minutes[row["step"]] for row in evaluated]
    axis = t("minutes of pre-training")
    page.section(
        t("Training"),
        t(
            "Training masks {share:.0%} of the tokens, the evaluation 15% as in the paper, so the "
            "two losses are not directly comparable.",
            share=config.mlm_probability,
        ),
    )
    page.picture(
        line_chart(
            [
                Series(
                    t("training"),
                    [minutes[row["step"]] for row in trained],
                    smoothed([row["mlm"] for row in trained]),
                ),
                Series(t("held-out"), at, [row["mlm_loss"] for row in evaluated]),
            ],
            title=t("Masked-word loss"),
            x_label=axis,
            y_label=t("nats per word"),
            marks=[Mark(t("unigram baseline"), base["mlm_loss"])],
        ),
        t(
            "Loss on the masked words. A model that only knows word frequencies stays at the "
            "dashed line."
        ),
    )
    page.picture(
        line_chart(
            [Series(t("accuracy"), at, [row["nsp_accuracy"] for row in evaluated])],
            title=t("Next sentence prediction"),
            x_label=axis,
            y_label=t("held-out accuracy"),
            marks=[Mark(t("majority baseline"), base["nsp_accuracy"])],
            percent=True,
        ),
        t(
            "Does segment B follow segment A, or is it from another document? Of the two "
            "objectives this one is slower to learn and needs more text. Final accuracy: "
            "{accuracy:.1%}.",
            accuracy=evaluated[-1]["nsp_accuracy"],
        ),
    )


def _tables(page: Report, outcome: Outcome, config: PretrainConfig) -> None:
    page.section(t("Data and cost"))
    documents = t(
        "{train:,}, plus {heldout:,} held out",
        train=outcome.documents,
        heldout=outcome.heldout_documents,
    )
    tokens = t(
        "{tokens:,}, vocabulary of {pieces:,} pieces",
        tokens=outcome.tokens,
        pieces=outcome.vocab_size,
    )
    model = t(
        "size {size}, {parameters:,} parameters", size=config.size, parameters=outcome.parameters
    )
    training = t(
        "recipe {recipe} ({share:.0%} of tokens predicted; the paper: 15%), {steps:,} steps of "
        "{batch} sequences, {tokens:,} tokens ({passes:.1f} times the text)",
        recipe=config.recipe,
        share=config.mlm_probability,
        steps=outcome.steps,
        batch=config.batch_size,
        tokens=outcome.tokens_trained,
        passes=outcome.tokens_trained / outcome.tokens,
    )
    page.table(
        ["", ""],
        [
            [t("text"), t(outcome.source)],
            [t("documents"), documents],
            [t("tokens"), tokens],
            [t("model"), model],
            [t("training"), training],
        ],
    )
    page.table(
        [t("stage"), t("seconds")], [[t(name), took] for name, took in outcome.seconds.items()]
    )


def smoothed(values: Sequence[float], *, keep: float = 0.95) -> list[float]:
    """A bias-corrected exponential moving average."""
    average, weight, smooth = 0.0, 0.0, []
    for value in values:
        average = keep * average + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smooth.append(average / weight)
    return smooth
