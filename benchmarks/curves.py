"""The curves and the evaluations of pre-training runs, for the pages under docs/results.

    python benchmarks/curves.py RUN --name NAME --out docs/results
        [--data CORPUS [--held-out CORPUS]]

Writes NAME-loss.svg and NAME-accuracy.svg and prints a table in Markdown: what the run's own
`metrics.jsonl` holds, thinned to about a dozen rows. With a corpus, its held-out part (or all of
it, where hardly anything is held out) also scores the finished model on inputs of 32, 64, 128 and
512 tokens.
"""

import argparse
from pathlib import Path

from bertsmith.checkpoints.folder import load_pretraining
from bertsmith.core.storage import write_bytes
from bertsmith.corpus.shards import Corpus
from bertsmith.pretraining.batches import heldout_batches
from bertsmith.pretraining.evaluation import baseline, evaluate
from bertsmith.quickstart.page import smoothed
from bertsmith.reports.charts import Mark, Series, line_chart
from bertsmith.training.parallel.place import join
from bertsmith.training.progress import read_metrics

ROWS = 12


def standalone(svg: str) -> bytes:
    """The chart as a file of its own: colours that it would take from a page are put in."""
    svg = svg.replace("currentColor", "#333333").replace("var(--line)", "#d0d0d0")
    return svg.replace("<svg ", '<svg style="background:#ffffff" ', 1).encode() + b"\n"


def score(run: Path, corpus: Corpus, trained_on: Corpus) -> None:
    """Prints a row for each length of input: by frequency, and the model."""
    model, _ = load_pretraining(run)
    unigrams_V = trained_on.unigrams_V
    heldout = corpus.split("heldout")
    split = heldout if heldout.document_count > 20 else corpus.split("train")
    print(
        "\n| input tokens | MLM loss: by frequency | model | MLM accuracy | model | NSP | model |"
    )
    print("|---|---|---|---|---|---|---|")
    with join("fp32") as place:
        for length in (32, 64, 128, 512):
            batches = heldout_batches(
                split, corpus.tokenizer, sequences=65536 // length, length=length, micro_tokens=4096
            )
            guess, found = (
                baseline(batches, unigrams_V, corpus.tokenizer),
                evaluate(model, batches, place),
            )
            cells = [
                f"{row[name]:{kind}}"
                for name, kind in (
                    ("mlm_loss", ".3f"),
                    ("mlm_accuracy", ".1%"),
                    ("nsp_accuracy", ".1%"),
                )
                for row in (guess, found)
            ]
            print(f"| {length} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the corpus that the run was trained on")
    parser.add_argument("--held-out", type=Path, help="the corpus to score on; --data by default")
    arguments = parser.parse_args()
    rows = read_metrics(arguments.run / "metrics.jsonl")
    [frequency] = [row for row in rows if row["kind"] == "baseline"]
    trained = [row for row in rows if row["kind"] == "train"]
    evaluated = [row for row in rows if row["kind"] == "evaluation"]
    tokens = {row["step"]: row["tokens"] / 1e6 for row in trained} | {0: 0.0}
    at = [tokens[row["step"]] for row in evaluated]
    axis = "million tokens trained on"
    loss = line_chart(
        [
            Series("training", [row["tokens"] / 1e6 for row in trained],
                   smoothed([row["mlm"] for row in trained])),
            Series("held-out", at, [row["mlm_loss"] for row in evaluated]),
        ],
        title=f"Masked words: loss ({arguments.name})",
        x_label=axis,
        y_label="nats a masked token",
        marks=[Mark("guessing by frequency", frequency["mlm_loss"])],
    )  # fmt: skip
    pairs = line_chart(
        [
            Series("next sentence", at, [row["nsp_accuracy"] for row in evaluated]),
            Series("masked words", at, [row["mlm_accuracy"] for row in evaluated]),
        ],
        title=f"Held-out accuracy ({arguments.name})",
        x_label=axis,
        y_label="right",
        marks=[
            Mark("next sentence: the more frequent answer", frequency["nsp_accuracy"]),
            Mark("masked words: the most frequent piece", frequency["mlm_accuracy"]),
        ],
        percent=True,
    )
    for name, svg in (("loss", loss), ("accuracy", pairs)):
        write_bytes(arguments.out / f"{arguments.name}-{name}.svg", standalone(svg))
    print("| step | million tokens | MLM loss | MLM accuracy | NSP accuracy |")
    print("|---|---|---|---|---|")
    print(
        f"| by frequency | | {frequency['mlm_loss']:.3f} | {frequency['mlm_accuracy']:.1%} "
        f"| {frequency['nsp_accuracy']:.1%} |"
    )
    stride = max(1, len(evaluated) // ROWS)
    for row in [*evaluated[:-1:stride], evaluated[-1]]:
        print(
            f"| {row['step']:,} | {tokens[row['step']]:.2f} | {row['mlm_loss']:.3f} "
            f"| {row['mlm_accuracy']:.1%} | {row['nsp_accuracy']:.1%} |"
        )
    if arguments.data:
        trained_on = Corpus.open(arguments.data, verify=False)
        held_out = arguments.held_out or arguments.data
        score(arguments.run, Corpus.open(held_out, verify=False), trained_on)


if __name__ == "__main__":
    main()
