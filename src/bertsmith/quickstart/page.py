"""What a quickstart came to: its numbers, its blanks, and the page that shows them."""

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
from bertsmith.reports.page import Blank, Fact, Report

# Sentences of this many pieces are long enough to guess from and short enough to read.
_PIECES = (12, 32)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a quickstart, as `--json` prints it."""

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
    """Held-out `mlm_loss` (nats), `mlm_accuracy`, `nsp_accuracy`, ... at the end."""
    baseline: dict[str, float]
    """The same for guessing by frequency."""
    seconds: dict[str, float]
    """Time by stage."""
    own_blanks: list[Blank]
    text_blanks: list[Blank]
    task: Comparison
    """The same small task from the pre-trained and from an untrained model."""

    def in_short(self) -> str:
        """What came of it, for a reader who knows nothing of losses."""
        right, guessed = self.evaluation["mlm_accuracy"], self.baseline["mlm_accuracy"]
        task = self.task
        if right <= guessed:
            found = (
                f"It has not learned yet: it fills in {right:.0%} of the hidden words correctly, "
                f"and always saying the most frequent one gets {guessed:.0%}. Give it more "
                "minutes."
            )
        else:
            found = (
                f"It learned: it fills in {right:.0%} of the hidden words correctly; always saying "
                f"the most frequent one gets {guessed:.0%}."
            )
        if not task.is_clear:
            return found
        did = "brought" if task.difference > 0 else "cost"
        return (
            f"{found} Pre-training {did} {abs(100 * task.difference):.0f} points on a small task "
            f"({task.pretrained.accuracy:.0%} right with it, {task.untrained.accuracy:.0%} "
            "without)."
        )

    def summary(self) -> list[str]:
        """The result in a few lines, with the next commands."""
        now, base = self.evaluation, self.baseline
        first, task = self.own_blanks[0], self.task
        return [
            f"Trained a BERT of {self.parameters:,} parameters on {self.source}.",
            self.in_short(),
            f"  held-out masked words: loss {now['mlm_loss']:.2f} nats (by frequency "
            f"{base['mlm_loss']:.2f}), {now['mlm_accuracy']:.1%} right (by frequency "
            f"{base['mlm_accuracy']:.1%})",
            f"  next sentence: {now['nsp_accuracy']:.1%} right (by frequency "
            f"{base['nsp_accuracy']:.1%})",
            f"  {first.text}  ->  {', '.join(token for token, _ in first.guesses)}",
            f"Fine-tuned it on {task.train_examples:,} examples of a small task: {task.question}",
            *(f"  from {_told(name, attempt)}" for name, attempt in task.attempts),
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


def _told(name: str, attempt: Attempt) -> str:
    low, high = attempt.interval
    return f"{name}: {attempt.accuracy:.1%} right on dev (95% interval {low:.1%} to {high:.1%})"


def next_commands(outcome: Outcome) -> list[str]:
    """What to try now: the models that were made, then the same on one's own text and labels."""
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
    """Sentences of the held-out documents, spread over them, with one word hidden in each.

    Nothing is picked by hand: the sentences lie at equal distances, and the hidden word is the
    longest one that is a single piece (the first of them; in Chinese, where all are equally long,
    the middle character).
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
    """Writes `report.html`, one self-contained page; `metrics` are the run's records."""
    now, base, task = outcome.evaluation, outcome.baseline, outcome.task
    page = Report(
        "A BERT of your own, in a few minutes",
        f"Trained from nothing on {outcome.source}, with nothing but this machine. "
        f"{outcome.in_short()}",
        language=outcome.language,
    )
    page.facts(
        [
            Fact(
                f"{now['mlm_accuracy']:.0%}",
                "of the words hidden in unseen text guessed right",
                f"always saying the most frequent word: {base['mlm_accuracy']:.0%}",
            ),
            Fact(
                f"{100 * task.difference:+.0f} points",
                "from pre-training, on a small task",
                f"{task.pretrained.accuracy:.0%} right with it, {task.untrained.accuracy:.0%} "
                f"without{'' if task.is_clear else '; within the noise'}",
            ),
            Fact(
                f"{now['mlm_loss']:.2f}",
                "held-out loss, nats a masked word",
                f"guessing by frequency: {base['mlm_loss']:.2f}",
            ),
            Fact(
                f"{sum(outcome.seconds.values()) / 60:.1f} min",
                "for everything",
                f"{outcome.tokens_per_second:,.0f} tokens a second in training",
            ),
        ]
    )
    page.section(
        "Filling in blanks",
        "Sentences made up for this page. Each list is what the model holds likely for the blank, "
        "with its probability; the word that was meant is set in bold where it is among the first "
        "five.",
    )
    page.blanks(outcome.own_blanks)
    page.section(
        "In text it has never seen",
        "Sentences from the held-out documents, taken at equal distances, the longest word hidden: "
        "not the easy ones. The word that was meant is what stands in the text.",
    )
    page.blanks(outcome.text_blanks)
    _curves(page, outcome.baseline, config, metrics)
    write_comparison(page, outcome.task, Path(outcome.out))
    _tables(page, outcome, config)
    page.section("Go on")
    page.commands(next_commands(outcome))
    page.write(Path(outcome.report))


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
    axis = "minutes of pre-training"
    page.section(
        "How it learned",
        f"In training {config.mask_share:.0%} of the tokens are hidden, in the evaluation 15% as "
        "in the paper, so the two losses are not of equally hard questions.",
    )
    page.picture(
        line_chart(
            [
                Series(
                    "training",
                    [minutes[row["step"]] for row in trained],
                    smoothed([row["mlm"] for row in trained]),
                ),
                Series("held-out", at, [row["mlm_loss"] for row in evaluated]),
            ],
            title="Loss of the masked words",
            x_label=axis,
            y_label="nats a word",
            marks=[Mark("guessing by frequency", base["mlm_loss"])],
        ),
        "Loss of the masked words. A model that knew only how frequent words are would stay at "
        "the dashed line.",
    )
    page.picture(
        line_chart(
            [Series("right", at, [row["nsp_accuracy"] for row in evaluated])],
            title="Next-sentence prediction",
            x_label=axis,
            y_label="held-out pairs right",
            marks=[Mark("always the more frequent answer", base["nsp_accuracy"])],
            percent=True,
        ),
        "Does segment B follow segment A, or is it from another document? It is the slower of the "
        "two objectives to learn, and the first to need more text. In the end it tells "
        f"{evaluated[-1]['nsp_accuracy']:.1%} of the pairs right.",
    )


def _tables(page: Report, outcome: Outcome, config: PretrainConfig) -> None:
    page.section("What was made, and what it took")
    page.table(
        ["", ""],
        [
            ["text", outcome.source],
            ["documents", f"{outcome.documents:,} and {outcome.heldout_documents:,} held out"],
            ["tokens", f"{outcome.tokens:,}, vocabulary of {outcome.vocab_size:,} pieces"],
            ["model", f"size {config.size}, {outcome.parameters:,} parameters"],
            [
                "training",
                f"recipe {config.recipe}, {outcome.steps:,} steps of {config.batch_size} "
                f"sequences, {outcome.tokens_trained:,} tokens "
                f"({outcome.tokens_trained / outcome.tokens:.1f} times the text)",
            ],
        ],
    )
    page.table(["stage", "seconds"], [[name, took] for name, took in outcome.seconds.items()])


def smoothed(values: Sequence[float], *, keep: float = 0.95) -> list[float]:
    """An exponential moving average, without the pull towards its start."""
    average, weight, smooth = 0.0, 0.0, []
    for value in values:
        average = keep * average + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smooth.append(average / weight)
    return smooth
