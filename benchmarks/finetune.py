"""Fine-tuning beside `transformers`' Trainer: speed, scores, and the building of SQuAD's inputs.

    python benchmarks/finetune.py speed --data ../shared/data [--tasks sst-2 mrpc] [--out FILE.json]
    python benchmarks/finetune.py score --data ../shared/data [--seeds 5] [--epochs 3]
        [--runs OUT] [--contenders transformers] [--out FILE.json]
    python benchmarks/finetune.py squad --data ../shared/data [--out FILE.json]

`--data` holds `glue/` (official layout) and `squad/` (`train*.json`, `dev*.json`). Every contender
starts from the same weights (MiniLM, 6 layers of 384) and has the same examples, token ids (checked
against each other), epochs, batch size, learning rate, warm-up, weight decay and dropout. What
differs is what each does of its own: ours begins a regression at the mean of the labels and
trains only the rows of the word embeddings that the examples meet.

The peer gets what its documentation advises: dynamic padding, batches grouped by length, fused
AdamW, SDPA attention (eager attention and `torch.compile` are contenders of their own), bf16
autocast where the hardware has bf16, and neither logs, evaluations nor checkpoints while it is
timed. Ours is timed with its log. `Trainer` needs `accelerate` (`pip install accelerate`).

`speed`: every contender is a process of its own that trains one epoch when it is its turn, while
the others sleep; a ratio is taken inside a round, the first round is warm-up. On a CPU an epoch of
nothing but the products of the linear layers takes its turn too: the best peer's time over theirs
is what no implementation could be faster by. `score`: the best
epoch on dev by the same metrics, over seeds; what is in `--out` already is not run again, and of
ours what is in `--runs`, the folder of runs/finetune-minilm.sh. `squad`:
see `squad_features.py`.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import squad_features
import torch
import transformers
from finetune_contenders import (
    Job,
    contender,
    our_score,
    our_turns,
    products_turns,
    their_score,
    their_turns,
)
from pretrain import summary
from squad_features import ratios, shown

from bertsmith.checkpoints.folder import load_config
from bertsmith.checkpoints.sources import MINILM, resolve
from bertsmith.core.storage import atomic_path, read_json
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.defaults import finetune_config
from bertsmith.finetuning.run import RunResult
from bertsmith.inference.backends.selection import processor_name
from bertsmith.training.parallel.precision import has_native_bf16

OURS, THEIRS = squad_features.OURS, "transformers"
PRODUCTS = "the products alone"
SPEED_TASKS = ["sst-2", "mrpc"]
SST_2_EXAMPLES = 4096
SCORE_TASKS = ["mrpc", "rte", "sts-b", "cola"]


# --- speed --------------------------------------------------------------------------------------


def speed(arguments: argparse.Namespace) -> None:
    results = []
    for task in arguments.tasks or SPEED_TASKS:
        examples = arguments.examples
        if examples is None:
            examples = SST_2_EXAMPLES if task == "sst-2" else 0
        # An epoch is a round here, the first of them warm-up.
        job = make_job(task, arguments, examples=examples, epochs=arguments.rounds + 1)
        results.append(measure_speed(job, compiled=not arguments.no_compile))
    write(arguments.out, {"about": about(), "results": results})


def measure_speed(job: Job, *, compiled: bool) -> dict[str, Any]:
    peers = {f"{THEIRS} sdpa": ("sdpa", False), f"{THEIRS} eager": ("eager", False)}
    if compiled:
        peers[f"{THEIRS} sdpa compile"] = ("sdpa", True)
    seconds: dict[str, dict[str, list[float]]] = {}
    cpu_seconds: dict[str, dict[str, list[float]]] = {}
    prints = set()
    with ExitStack() as stack:
        turns = {OURS: stack.enter_context(contender(our_turns, job, ours=True))}
        for name, (attention, is_compiled) in peers.items():
            entered = contender(their_turns, job, attention, is_compiled)
            turns[name] = stack.enter_context(entered)
        for what in ("inputs", "epoch"):
            if what == "epoch" and not torch.cuda.is_available():
                turns[PRODUCTS] = stack.enter_context(contender(products_turns, job, ours=True))
            seconds[what] = {name: [] for name in turns}
            cpu_seconds[what] = {name: [] for name in turns}
            for number in range(job.config.epochs):
                for name, turn in turns.items():
                    wall, cpu, told = turn()
                    prints |= {told} if told else set()
                    if number:
                        seconds[what][name].append(wall)
                        cpu_seconds[what][name].append(cpu)
    if len(prints) != 1:
        raise SystemExit(f"{job.config.task}: the contenders' token ids differ.")
    [(tokens, _)] = prints
    examples = job.examples or len(job.parts().train)
    config = job.config
    print(
        f"\n{config.task}, {examples:,} examples of {tokens / examples:.1f} tokens, batches of "
        f"{config.batch_size}"
    )
    result: dict[str, Any] = {
        "task": config.task,
        "examples": examples,
        "tokens": tokens,
        "batch_size": config.batch_size,
        "rounds": config.epochs - 1,
    }
    for what, of in seconds.items():
        print(
            f"  {what:28}{'seconds':>10}{'examples/s':>12}  "
            f"{'ours is faster by (lowest..highest)':37}in processor time"
        )
        best = min(peers, key=lambda name: statistics.median(of[name]))
        result[what] = {"best_peer": best, "contenders": {}}
        if PRODUCTS in of:
            result[what]["most_possible"] = most = summary(
                [theirs / ours for theirs, ours in zip(of[best], of[PRODUCTS], strict=True)]
            )
        for name, found in of.items():
            ratio, cpu_ratio = ratios(of, name), ratios(cpu_seconds[what], name)
            result[what]["contenders"][name] = {
                "seconds": summary(found),
                "cpu_seconds": summary(cpu_seconds[what][name]),
                "bertsmith_is_faster_by": ratio,
                "in_cpu_time": cpu_ratio,
            }
            median = statistics.median(found)
            line = f"    {name:26}{median:>10.3f}{examples / median:>12,.0f}"
            if name == PRODUCTS:
                line += f"  {shown(most)} is the most that is possible"
            elif name != OURS:
                mark = " <- best peer" if name == best else ""
                line += f"  {shown(ratio) + mark:37}{shown(cpu_ratio)}"
            print(line)
    return result


# --- score --------------------------------------------------------------------------------------


def score(arguments: argparse.Namespace) -> None:
    """Runs what `--out` does not hold yet, then tells of all that was asked for."""
    runs: list[dict[str, Any]] = []
    if arguments.out and arguments.out.exists():
        runs = json.loads(arguments.out.read_text())["runs"]
    results = []
    for task in arguments.tasks or SCORE_TASKS:
        job = make_job(task, arguments, examples=arguments.examples, epochs=arguments.epochs)
        mains: dict[str, list[float]] = {name: [] for name in arguments.contenders}
        for seed in range(arguments.seeds):
            for name, found in mains.items():
                key = run_key(job, name, seed)
                done = [run for run in runs if {field: run[field] for field in key} == key]
                if not done and name == OURS and arguments.runs is not None:
                    done = [read_run(arguments.runs / task / "runs", job, key)]
                    runs += done
                if not done:
                    with contender(scored, job, name, seed, ours=name == OURS) as turn:
                        seconds, _, outcome = turn()
                    done = [{**key, **outcome, "seconds": round(seconds, 1)}]
                    runs += done
                    write(arguments.out, {"about": about(), "runs": runs})
                    print(f"{task}, seed {seed}, {name}: {done[0]['main']:.4f}", flush=True)
                found.append(done[0]["main"])
        if len(mains) == 2:
            results.append(verdict(task, mains[OURS], mains[THEIRS]))
    print_verdicts(results, arguments.seeds)
    write(arguments.out, {"about": about(), "runs": runs, "results": results})


def run_key(job: Job, name: str, seed: int) -> dict[str, Any]:
    """What a run is known by."""
    config = job.config
    return {
        "task": config.task,
        "contender": name,
        "seed": seed,
        "examples": job.examples,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
    }


def read_run(folder: Path, job: Job, key: dict[str, Any]) -> dict[str, Any]:
    """A run of ours that `bertsmith finetune` has made with these settings."""
    wanted = msgspec.structs.replace(job.config, seed=key["seed"])
    for path in folder.glob("*/result.json"):
        config = read_json(path.with_name("finetune.json"), FinetuneConfig)
        if msgspec.structs.replace(config, model=wanted.model) == wanted:
            result = read_json(path, RunResult)
            scores = next(iter(result.scores.values()))
            outcome = {"main": result.main, "scores": scores, "best_epoch": result.best_epoch}
            return {**key, **outcome, "seconds": round(result.seconds, 1)}
    raise SystemExit(f"{folder} holds no finished run of seed {key['seed']} with these settings.")


def scored(pause: Callable[..., None], job: Job, name: str, seed: int) -> None:
    pause()
    pause((our_score if name == OURS else their_score)(job, seed))


def verdict(task: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    errors = [
        statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else 0.0
        for found in (ours, theirs)
    ]
    difference = statistics.mean(ours) - statistics.mean(theirs)
    return {
        "task": task,
        OURS: {"mean": statistics.mean(ours), "standard_error": errors[0], "seeds": ours},
        THEIRS: {"mean": statistics.mean(theirs), "standard_error": errors[1], "seeds": theirs},
        "difference": difference,
        "standard_error_of_difference": math.hypot(*errors),
        "at_least_theirs_minus_their_standard_error": difference >= -errors[1],
        "at_least_theirs_minus_that_of_the_difference": difference >= -math.hypot(*errors),
    }


def print_verdicts(results: list[dict[str, Any]], seeds: int) -> None:
    print(f"\nbest epoch on dev, mean and standard error over {seeds} seeds")
    print(
        f"  {'task':8}{OURS:>18}{THEIRS:>18}{'difference':>20}  ours >= theirs - one standard error"
    )
    for result in results:
        told = [
            f"{result[name]['mean']:.4f} ± {result[name]['standard_error']:.4f}"
            for name in (OURS, THEIRS)
        ]
        off = f"{result['difference']:+.4f} ± {result['standard_error_of_difference']:.4f}"
        holds = [
            "yes" if result[name] else "no"
            for name in (
                "at_least_theirs_minus_their_standard_error",
                "at_least_theirs_minus_that_of_the_difference",
            )
        ]
        print(
            f"  {result['task']:8}{told[0]:>18}{told[1]:>18}{off:>20}  of theirs: {holds[0]}, of "
            f"the difference: {holds[1]}"
        )


def squad(arguments: argparse.Namespace) -> None:
    write(arguments.out, {"about": about(), "results": squad_features.measure(arguments)})


# --- the command --------------------------------------------------------------------------------


def make_job(task: str, arguments: argparse.Namespace, *, examples: int, epochs: int | None) -> Job:
    """Our defaults for the model and the data, with the flags over them."""
    model = resolve(MINILM)
    shape = load_config(model)
    source = Source(task=task, data=str(arguments.data / "glue"))
    parts = finetune_data.read(source, seed=0)
    config = finetune_config(
        task=task,
        kind=parts.task.kind.name,
        model=str(model),
        width=shape.hidden_size,
        positions=shape.max_position_embeddings,
        examples=min(examples or len(parts.train), len(parts.train)),
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        epochs=epochs,
    )
    return Job(arguments.data, config, examples)


def about() -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else processor_name(),
        "threads": torch.get_num_threads(),
        "native_bf16": has_native_bf16(torch.device("cuda" if cuda else "cpu")),
        "model": MINILM,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def write(out: Path | None, value: dict[str, Any]) -> None:
    if out is not None:
        with atomic_path(out) as path:
            path.write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="speed|score|squad")
    for name, action in (("speed", speed), ("score", score), ("squad", squad)):
        command = commands.add_parser(name)
        command.set_defaults(action=action)
        command.add_argument("--data", type=Path, required=True, help="holds glue/ and squad/")
        command.add_argument("--out", type=Path, help="write the numbers as JSON")
        if name != "score":
            command.add_argument("--rounds", type=int, default=5, help="after one of warm-up")
        if name == "squad":
            command.add_argument("--chunk", type=int, default=500, help="questions of a round")
            continue
        command.add_argument("--tasks", nargs="+", help="rows of bertsmith's table of tasks")
        command.add_argument("--batch-size", type=int, help="16 if not given")
        command.add_argument("--learning-rate", type=float)
        command.add_argument(
            "--examples",
            type=int,
            default=None if name == "speed" else 0,
            help="of the training part, 0 for all; speed: 4,096 of SST-2 if not given",
        )
        if name == "score":
            command.add_argument("--epochs", type=int)
            command.add_argument("--seeds", type=int, default=5)
            command.add_argument(
                "--runs", type=Path, help="take ours from the folder of runs/finetune-minilm.sh"
            )
            command.add_argument(
                "--contenders", nargs="+", choices=(OURS, THEIRS), default=[OURS, THEIRS]
            )
        else:
            command.add_argument(
                "--no-compile", action="store_true", help="leave out torch.compile"
            )
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
