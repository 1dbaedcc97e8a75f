"""A comparison's result as the tables and pictures of docs/results.

    python benchmarks/compare_table.py COMPARE.json --out docs/results/compare-cpu

Prints Markdown; writes the numbers, without the paths of the machine, to OUT.json, and the curves
of the held-out loss to OUT-loss.svg.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
from curves import standalone

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.published import TABLE_5, TABLE_8
from bertsmith.comparison.result import MEAN, Compared, SystemResult
from bertsmith.core.storage import write_bytes
from bertsmith.core.terminal import clock
from bertsmith.reports.charts import Series, line_chart

_MAIN = ("bert", "gpt", "elmo")
_MIXES = {"bert": "80, 10, 10"}


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(columns: list[str], rows: Sequence[Sequence[object]]) -> None:
    print(row(*columns))
    print(f"|{'---|' * len(columns)}")
    for cells in rows:
        print(row(*cells))
    print()


def score(system: SystemResult, task: str) -> str:
    return system.scores[task].percent


def mean(system: SystemResult) -> str:
    return f"{100 * sum(found.mean for found in system.scores.values()) / len(system.scores):.1f}"


def difference_text(found: Difference) -> str:
    if found.interval is None:
        return f"{100 * found.value:+.1f}"
    low, high = found.interval
    said = f"{100 * found.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{said}**" if found.is_sure else said


def words(numbers: dict[str, float], what: str) -> float:
    found = [
        value
        for name, value in numbers.items()
        if name.endswith(f"_{what}") and not name.startswith("nsp")
    ]
    return sum(found) / len(found)


def points(result: Compared, other: str, task: str) -> str:
    found = [
        one.value if one.first == "bert" else -one.value
        for one in result.differences
        if one.task == task and {one.first, one.second} == {"bert", other}
    ]
    return "".join(f" ({100 * value:+.1f})" for value in found)


def pairs_table(result: Compared) -> None:
    titles = {one.name: one.title for one in result.systems}
    scored = list(result.pairs.values())
    print("### Minimal pairs, in percent\n")
    rows = [*zip(*(one.phenomena for one in scored), strict=True)]
    rows.append(tuple(one.agreement for one in scored if one.agreement is not None))
    rows.append(tuple(one.overall for one in scored))
    table(
        ["phenomenon", "pairs", *(titles[name] for name in result.pairs)],
        [
            [row[0].name, f"{row[0].pairs:,}", *(f"{100 * one.score:.1f}" for one in row)]
            for row in rows
            if row
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("compared", type=Path, help="compare.json")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = msgspec.json.decode(arguments.compared.read_bytes(), type=Compared)
    tasks = [task.name for task in result.tasks]
    trained = [one for one in result.systems if one.curve.loss and one.pretrained == one.name]

    print("### What was trained\n")
    table(
        ["system", "parameters", "steps", "tokens", "10^12 operations", "time"],
        [
            [
                one.title,
                f"{one.parameters:,}",
                f"{one.steps:,}",
                f"{one.tokens:,}",
                f"{one.flops / 1e12:.1f}",
                clock(one.seconds),
            ]
            for one in trained
        ],
    )
    print("### Scores on dev, mean and deviation over the seeds, in percent\n")
    table(
        ["system", *tasks, "mean"],
        [[one.title, *(score(one, task) for task in tasks), mean(one)] for one in result.systems]
        + [
            [
                "always the most frequent answer",
                *("" if t.baseline is None else f"{100 * t.baseline:.1f}" for t in result.tasks),
                "",
            ]
        ],
    )
    print("### Differences in points, with a 95% interval; bold: larger than the noise\n")
    titles = {one.name: one.title for one in result.systems}
    table(
        ["first minus second", *tasks, MEAN],
        [
            [
                f"{titles[first]} − {titles[second]}",
                *(
                    difference_text(found)
                    for task in (*tasks, MEAN)
                    for found in result.differences
                    if (found.first, found.second, found.task) == (first, second, task)
                ),
            ]
            for first, second in dict.fromkeys((d.first, d.second) for d in result.differences)
            if first == "bert" or {first, second} <= set(_MAIN)
        ],
    )
    print("### Does BERT win here? In brackets BERT minus the other, in points\n")
    table(
        ["Is BERT better than", *(one.task for one in result.verdicts)],
        [
            [
                one.title,
                *(
                    f"{verdict.against.get(one.name, '')}{points(result, one.name, verdict.task)}"
                    for verdict in result.verdicts
                ),
            ]
            for one in result.systems
            if one.name != "bert"
        ]
        + [["all rivals", *(verdict.answer for verdict in result.verdicts)]],
    )
    if result.pairs:
        pairs_table(result)
    print("### The objective's price\n")
    table(
        ["system", "predictions a token", "held-out nats", "by frequency", "right"],
        [
            [
                one.title,
                f"{one.predictions_per_token:.2f}",
                f"{words(one.evaluation, 'loss'):.2f}",
                f"{words(one.baseline, 'loss'):.2f}",
                f"{words(one.evaluation, 'accuracy'):.1%}",
            ]
            for one in trained
        ],
    )
    ours = {one.name: one for one in result.systems}
    print("### The paper's tables beside these\n")
    table(
        [
            "system",
            *(f"{task}, here" for task in tasks),
            "MRPC accuracy, paper",
            "MNLI accuracy, paper",
        ],
        [
            [
                ours[name].title,
                *(score(ours[name], task) for task in tasks),
                numbers["mrpc"],
                numbers["mnli"],
            ]
            for name, numbers in TABLE_5.items()
            if name in ours
        ],
    )
    table(
        ["mask, kept, random", *(f"{task}, here" for task in tasks), "MNLI, paper", "NER, paper"],
        [
            [
                "80, 10, 10"
                if name == "bert"
                else name.removeprefix("masking-").replace("-", ", "),
                *(score(ours[name], task) for task in tasks),
                *numbers[:2],
            ]
            for name, numbers in TABLE_8.items()
            if name in ours
        ],
    )
    print("### What independence costs\n")
    table(
        ["system", "words", "places", "independent, nats", "joint, nats", "gap"],
        [
            [
                titles[name],
                one.words,
                one.blanks,
                f"{one.independent:.2f}",
                f"{one.joint:.2f}",
                f"{one.gap:+.2f} ± {one.gap_error:.2f}",
            ]
            for name, rows in result.insight.independence.items()
            if name == "bert"
            for one in rows
        ],
    )
    svg = line_chart(
        [
            Series(one.title, [tokens / 1e6 for tokens in one.curve.tokens], one.curve.loss)
            for one in trained
            if one.name in (*_MAIN, "left-to-right")
        ],
        title="Held-out loss against tokens",
        x_label="tokens read, millions",
        y_label="nats a predicted word",
    )
    write_bytes(arguments.out.with_name(f"{arguments.out.name}-loss.svg"), standalone(svg))
    numbers = msgspec.to_builtins(result)
    for key in ("out", "report"):
        del numbers[key]
    for key in ("corpus", "data", "minimal_pairs"):
        if numbers["plan"][key]:
            numbers["plan"][key] = Path(numbers["plan"][key]).name
    for found in numbers["pairs"].values():
        del found["model"], found["data"]
    for system in numbers["systems"]:
        del system["model"]
    # Sentences of the corpus that the neighbours stand in are quoted in the page alone.
    del numbers["insight"]["uses"]
    arguments.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
