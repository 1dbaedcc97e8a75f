"""How many tokens a second pre-training's input side makes, with no model behind it.

    python benchmarks/batches.py [--steps 60] [--repeats 5] [--out FILE]

A corpus of random tokens (documents of 20 sentences of 5 to 40 tokens) is written to a temporary
folder. `Batches` then makes step after step on one core, by the paper's recipe: sentence pairs,
15% of the pieces masked; and in other ways: whole words, sentence order, 512 tokens. Making and
shuffling the pools of examples counts, writing the corpus does not.

Every process of a run looks up the whole step before it takes its share. The last row is one of 256
processes, and counts what all of them get: more than that a cluster cannot be given.

Each row is measured `--repeats` times in turn; medians, and the slowest and fastest, are printed.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.corpus.manifest import ShardInfo
from bertsmith.corpus.shard_writer import write_shard
from bertsmith.corpus.shards import Split
from bertsmith.pretraining.batches import Batches
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

CPU = Path("/proc/cpuinfo")
VOCABULARY = 30_000
DOCUMENTS = 24_000
TARGET = 1_000_000
"""Tokens a second and core at length 128."""
PROCESSES = 256
SHARED = f"all of {PROCESSES} processes, 128"
ROWS: dict[str, dict[str, Any]] = {
    "paper, 128": {"length": 128, "batch_size": 256},
    "paper, 128, batch of 32": {"length": 128, "batch_size": 32},
    "paper, 512": {"length": 512, "batch_size": 64},
    "whole words, 128": {"length": 128, "batch_size": 256, "masking": "word"},
    "sentence order, 128": {"length": 128, "batch_size": 256, "pair_task": "sop"},
    "no pairs, 128": {"length": 128, "batch_size": 256, "pair_task": "none"},
    "GPT, 128": {"length": 128, "batch_size": 256, "pair_task": "none", "objective": "forward"},
    SHARED: {"length": 128, "batch_size": 8192},
}


def write_corpus(folder: Path) -> Split:
    """A split of random tokens; two in three begin a word."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 41, size=20 * DOCUMENTS)
    ids_T = rng.integers(len(SPECIAL), VOCABULARY, size=int(lengths.sum()))
    with write_shard(folder / "train-00000", vocab_size=VOCABULARY) as writer:
        writer.append(
            ids_T,
            ids_T % 3 > 0,
            sentence_lengths=lengths,
            document_sentences=np.full(DOCUMENTS, 20),
        )
    info: ShardInfo = writer.info
    return Split(folder, [info], VOCABULARY)


def measure(
    split: Split, tokenizer: Tokenizer, steps: int, settings: dict[str, Any], *, world: int
) -> float:
    """Tokens a second of one process's processor time, those of all `world` processes counted."""
    with Batches(split, tokenizer, seed=1, micro_tokens=4096, **settings) as batches:
        began, tokens = time.process_time(), 0
        for step in range(steps):
            tokens += sum(batch.tokens for batch in batches.at(step, 0, world))
        return world * tokens / (time.process_time() - began)


def main() -> None:
    """Measures all rows in turn and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="of 256 sequences of 128 tokens")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer((*SPECIAL, *(f"w{n}" for n in range(VOCABULARY - len(SPECIAL)))))
    rates: dict[str, list[float]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory(prefix="bertsmith-batches-") as folder:
        split = write_corpus(Path(folder))
        for _ in range(given.repeats):
            for name, settings in ROWS.items():
                share = 256 * 128 / (settings["batch_size"] * settings["length"])
                steps = round(given.steps * share)
                world = PROCESSES if name == SHARED else 1
                rates[name].append(measure(split, tokenizer, steps, settings, world=world))
    print(f"{'':28} {'median':>11} {'slowest':>11} {'fastest':>11}   tokens a second and core")
    for name, found in rates.items():
        numbers = (statistics.median(found), min(found), max(found))
        print(f"{name:28} " + " ".join(f"{number:11,.0f}" for number in numbers))
    reached = statistics.median(rates["paper, 128"])
    print(
        f"{'reached' if reached >= TARGET else 'missed'}: at least {TARGET:,} of the paper's, 128"
    )
    if given.out:
        names = [line for line in CPU.read_text().splitlines() if line.startswith("model name")]
        machine = {
            "processor": names[0].partition(": ")[2],
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        given.out.write_text(json.dumps(machine | {"tokens_per_second": rates}, indent=2) + "\n")


if __name__ == "__main__":
    main()
