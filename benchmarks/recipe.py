"""What each part of the pre-training recipe is worth: held-out loss against tokens, seed by seed.

    python benchmarks/recipe.py run --data CORPUS --held-out CORPUS --out DIR --size tiny \
        --tokens 1.2e6 --variants old,new,no-vectors --seeds 0,1
    python benchmarks/recipe.py table DIR [--chart docs/results/NAME.svg]

`run` pre-trains every variant on the same batches and leaves what is finished alone, so it can be
killed and started again. A variant is a row of `VARIANTS`: settings, and parts of the structured
initial weights that are left out. `--set learning_rate=2e-3` changes a setting for all variants of
a call; with it give the results a `--suffix`. `table` prints what `run` left, in Markdown.
"""

import argparse
import contextlib
import json
from pathlib import Path
from statistics import mean
from typing import Any
from unittest import mock

import torch
from curves import standalone

from bertsmith.core.storage import write_bytes
from bertsmith.corpus.shards import Corpus
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.family import Pretrained
from bertsmith.pretraining import initial_weights
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import PretrainConfig, pretrain_config
from bertsmith.pretraining.initial_weights import structure
from bertsmith.pretraining.setup import first_steps
from bertsmith.reports.charts import Mark, Series, line_chart
from bertsmith.training.progress import read_metrics
from bertsmith.training.schedule import Phase

# The recipe `modern` before initial weights had a structure.
OLD = {"initial_weights": "paper", "learning_rate": 1e-3, "beta2": 0.98, "mlm_probability": 0.3}

# name: settings over the recipe `modern`, and parts of the initial weights to leave out
VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "new": ({}, ()),
    "old": (OLD, ()),
    "paper-weights": ({"initial_weights": "paper"}, ()),
    "no-vectors": ({}, ("vectors",)),
    "no-neighbours": ({}, ("neighbours",)),
    "no-copying": ({}, ("copying",)),
    "no-duplicate-token": ({}, ("duplicate token",)),
    "no-bias": ({}, ("bias",)),
    "no-pairs": ({"pair_task": "none"}, ()),
    "order-of-pairs": ({"pair_task": "sop"}, ()),
    "masks-15": ({"mlm_probability": 0.15}, ()),
    "masks-40": ({"mlm_probability": 0.4}, ()),
    "whole-words": ({"whole_word_masking": True}, ()),
    "batch-16": ({"batch_size": 16}, ()),
    "batch-64": ({"batch_size": 64}, ()),
    "batch-128": ({"batch_size": 128}, ()),
    "gpt": ({"model": "gpt"}, ()),
    "gpt-old": ({"model": "gpt", "initial_weights": "paper"}, ()),
    "left-to-right": ({"left_to_right": True}, ()),
    "left-to-right-old": ({"left_to_right": True, "initial_weights": "paper"}, ()),
}
BATCH, LENGTH = 32, 128
EVALUATIONS = 40


def without_bias(model: Pretrained, **rest: Any) -> None:
    """As `structure`, but the output bias starts at 0."""
    structure(model, **rest)
    if isinstance(model, BertForPretraining):
        torch.nn.init.zeros_(model.mlm.bias_V)


PARTS: dict[str, Any] = {
    "vectors": mock.patch("bertsmith.pretraining.setup.word_columns", return_value=0),
    "bias": mock.patch("bertsmith.pretraining.setup.structure", without_bias),
    "neighbours": mock.patch.object(initial_weights, "_look_beside"),
    "copying": mock.patch.object(initial_weights, "_copy"),
    "duplicate token": mock.patch.object(initial_weights, "_look_for_duplicate"),
}
"""What replaces a part of the structured initial weights by nothing."""


def config_of(arguments: argparse.Namespace, settings: dict[str, Any], seed: int) -> PretrainConfig:
    """The settings of one run of `--tokens` tokens."""
    flags = {
        "data": str(arguments.data),
        "size": arguments.size,
        "batch_size": BATCH,
        "phases": (Phase(1.0, LENGTH),),
        "seed": seed,
        "steps": 1,
        "save_every": 10**9,
    }
    flags |= settings | dict(arguments.set)
    config = pretrain_config("modern", **flags)
    [(_, sampled)] = first_steps(config, Corpus.open(arguments.data, verify=False), 8)
    tokens_per_step = mean(sum(batch.tokens for batch in step) for step in sampled)
    steps = max(EVALUATIONS, round(arguments.tokens / tokens_per_step))
    return pretrain_config(
        "modern", **flags | {"steps": steps, "evaluate_every": max(1, steps // EVALUATIONS)}
    )


def run(arguments: argparse.Namespace) -> None:
    for seed in arguments.seeds:
        for name in arguments.variants:
            out = arguments.out / f"{arguments.size}-{name}{arguments.suffix}-{seed}"
            if (out / "config.json").is_file():
                continue
            settings, left_out = VARIANTS[name]
            config = config_of(arguments, settings, seed)
            with contextlib.ExitStack() as stack:
                for part in left_out:
                    stack.enter_context(PARTS[part])
                result = pretrain.run(config, out, resume=True, held_out=arguments.held_out)
            print(json.dumps({"run": out.name, "tokens": result.tokens, **result.metrics}))


def table(arguments: argparse.Namespace) -> None:
    series: dict[str, list[Series]] = {}
    print("| run | M tokens | loss | at 1/4 | at 1/2 | unigram - 1 nat at | pair task | tokens/s |")
    print("|---|---|---|---|---|---|---|---|")
    for folder in sorted(arguments.folder.iterdir()):
        if not (folder / "metrics.jsonl").is_file():
            continue
        rows = read_metrics(folder / "metrics.jsonl")
        trained = {row["step"]: row for row in rows if row["kind"] == "train"}
        [frequency] = [row for row in rows if row["kind"] == "baseline"]
        name = "mlm_loss" if "mlm_loss" in frequency else "forward_loss"
        points = [
            (trained[row["step"]]["tokens"] / 1e6 if row["step"] else 0.0, row)
            for row in rows
            if row["kind"] == "evaluation"
        ]
        if len(points) < 2:
            continue
        reached = [at for at, row in points if row[name] <= frequency[name] - 1]
        last = points[-1][1]
        quarter, half = (points[len(points) * part // 4][1][name] for part in (1, 2))
        pair = f"{last['nsp_accuracy']:.1%}" if "nsp_accuracy" in last else ""
        rate = sum(row["tokens_per_second"] for row in trained.values()) / len(trained)
        print(
            f"| {folder.name} | {points[-1][0]:.2f} | {last[name]:.3f} | {quarter:.3f} "
            f"| {half:.3f} | {f'{reached[0]:.2f} M' if reached else 'not reached'} "
            f"| {pair} | {rate:,.0f} |"
        )
        series[folder.name] = [
            Series(folder.name, [at for at, _ in points], [row[name] for _, row in points])
        ]
    if arguments.chart:
        svg = line_chart(
            [one for lines in series.values() for one in lines],
            title="Held-out loss of masked words",
            x_label="million tokens trained on",
            y_label="nats a masked token",
            marks=[Mark("unigram baseline", frequency[name])],
        )
        write_bytes(arguments.chart, standalone(svg))


def setting(text: str) -> tuple[str, Any]:
    """`learning_rate=2e-3` as a name and a value."""
    name, _, value = text.partition("=")
    return name, json.loads(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.set_defaults(action=run)
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--held-out", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--size", default="tiny")
    command.add_argument("--tokens", type=float, required=True)
    command.add_argument("--variants", type=lambda text: text.split(","), default=["old", "new"])
    command.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0]
    )
    command.add_argument("--set", type=setting, action="append", default=[])
    command.add_argument("--suffix", default="")
    command = commands.add_parser("table")
    command.set_defaults(action=table)
    command.add_argument("folder", type=Path)
    command.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
