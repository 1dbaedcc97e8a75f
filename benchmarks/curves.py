"""The curves and the evaluations of pre-training runs, for the pages under docs/results.

    python benchmarks/curves.py RUN --name NAME --out docs/results

Writes NAME-loss.svg and NAME-accuracy.svg and prints a table in Markdown: what the run's own
`metrics.jsonl` holds, thinned to about a dozen rows.
"""

import argparse
from pathlib import Path

from bertsmith.files import write_bytes
from bertsmith.quickstart_report import smoothed
from bertsmith.report import Mark, Series, line_chart
from bertsmith.train.progress import read_metrics

ROWS = 12


def standalone(svg: str) -> bytes:
    """The chart as a file of its own: colours that it would take from a page are put in."""
    svg = svg.replace("currentColor", "#333333").replace("var(--line)", "#d0d0d0")
    return svg.replace("<svg ", '<svg style="background:#ffffff" ', 1).encode() + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = read_metrics(arguments.run / "metrics.jsonl")
    [baseline] = [row for row in rows if row["kind"] == "baseline"]
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
        marks=[Mark("guessing by frequency", baseline["mlm_loss"])],
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
            Mark("next sentence: the more frequent answer", baseline["nsp_accuracy"]),
            Mark("masked words: the most frequent piece", baseline["mlm_accuracy"]),
        ],
        percent=True,
    )
    for name, svg in (("loss", loss), ("accuracy", pairs)):
        write_bytes(arguments.out / f"{arguments.name}-{name}.svg", standalone(svg))
    print("| step | million tokens | MLM loss | MLM accuracy | NSP accuracy |")
    print("|---|---|---|---|---|")
    print(
        f"| by frequency | | {baseline['mlm_loss']:.3f} | {baseline['mlm_accuracy']:.1%} "
        f"| {baseline['nsp_accuracy']:.1%} |"
    )
    stride = max(1, len(evaluated) // ROWS)
    for row in [*evaluated[:-1:stride], evaluated[-1]]:
        print(
            f"| {row['step']:,} | {tokens[row['step']]:.2f} | {row['mlm_loss']:.3f} "
            f"| {row['mlm_accuracy']:.1%} | {row['nsp_accuracy']:.1%} |"
        )


if __name__ == "__main__":
    main()
