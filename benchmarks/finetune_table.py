"""The table of what fine-tunings came to, for docs/results.

    python benchmarks/finetune_table.py OUT [--json FILE.json]

OUT holds folders of `bertsmith finetune`, such as `runs/finetune-minilm.sh` writes. Prints a row of
Markdown for each metric: mean and deviation over seeds, the best seed with its 95% interval over
the dev examples, the most frequent answer's score, and what it took.
"""

import argparse
import json
from pathlib import Path

import msgspec

from bertsmith.core.storage import read_json
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.tasks.metric import score_text
from bertsmith.tasks.metrics import METRICS


def rows(name: str, result: FinetuneResult) -> list[str]:
    best, config = result.best_run, result.config
    lines = []
    for part, summary in result.summary.items():
        for metric, found in summary.items():
            low, high = result.intervals.get(metric, (0.0, 0.0))
            is_deciding = part == result.deciding
            is_known = is_deciding and metric in result.intervals
            baseline = score_text(result.baseline.get(metric)) if is_deciding else ""
            interval = f" ({low:.3f}..{high:.3f})" if is_known else ""
            lines.append(
                f"| {name} | {part} | {METRICS[metric].title} | {found.mean:.4f} ± "
                f"{found.deviation:.4f} | {score_text(best.scores[part][metric])}{interval} | "
                f"{baseline} | {found.runs} | "
                f"{config.epochs} | {config.batch_size} | {config.learning_rate:g} | "
                f"{best.examples_per_second:,.0f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of fine-tunings")
    parser.add_argument("--json", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    found = {
        path.parent.name: read_json(path, FinetuneResult)
        for path in sorted(arguments.out.glob("*/results.json"))
    }
    print(
        "| task | part | score | mean ± deviation | best seed (95% interval) | most frequent "
        "answer | seeds | epochs | batch | rate | examples/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, result in found.items():
        print("\n".join(rows(name, result)))
        if result.degenerate:
            print(f"<!-- degenerate: {', '.join(result.degenerate)} -->")
    if arguments.json:
        numbers = {
            name: {
                "task": result.task,
                "examples": result.inspection.examples,
                "baseline": result.baseline,
                "summary": msgspec.to_builtins(result.summary),
                "intervals": result.intervals,
                "degenerate": result.degenerate,
                "runs": [
                    {key: value for key, value in msgspec.to_builtins(run).items() if key != "out"}
                    for run in result.runs
                ],
            }
            for name, result in found.items()
        }
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
