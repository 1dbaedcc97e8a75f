"""What a pre-training costs, from two cores to a thousand GPUs, on paper.

    python benchmarks/scale.py [--size base] [--utilization 0.4] [--storage 2e9]

Prints the tables of docs/scale.md. Next to nothing is measured: the operations are counted by the
code that `compare` budgets with; peak rates and network rates are those of the vendors; failures
are those that Meta published of 16,384 GPUs; utilization, storage and prices are assumptions.
"""

import argparse
import math
from dataclasses import dataclass

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.operations import Step

VOCABULARY, LENGTH, MASKED = 30_000, 128, 0.15
BYTES_PER_TOKEN = 2 + 8 / 22 + 1 / 8
"""In a corpus: a 16-bit id, an offset for each 22 tokens (a sentence), a bit for whole words."""
STATE_BYTES = 12
"""Of a parameter in a checkpoint: its weight and two moments, in fp32."""
GPU_DAYS_PER_FAILURE = 16_384 * 54 / 419
"""Llama 3 (arXiv 2407.21783, section 3.3.4): 419 unexpected interruptions in 54 days."""
INPUT = 93e6
"""Tokens a second of all processes together, beyond which each is busy looking up the step: the
only measured number here (docs/results/batches-cpu.json, last row)."""
RESTART_SECONDS = 60
"""Assumed: processes started and joined, corpus opened, checkpoint read."""


@dataclass(frozen=True)
class Machine:
    """Where a run computes."""

    name: str
    gpus: int
    peak: float
    """Operations a second of one GPU's dense bf16 products, by its vendor."""
    network: float
    """Bytes a second between two processes, each way."""
    tokens_per_gpu: int
    """Tokens of a step that a GPU computes."""
    price: float = 2.5
    """Dollars an hour of one GPU; assumed."""


MACHINES = (
    Machine("1 x L4", 1, 121e12, math.inf, 65_536, price=0.8),
    Machine("1 x H100", 1, 989e12, math.inf, 131_072),
    Machine("8 x H100, one machine", 8, 989e12, 450e9, 16_384),
    Machine("64 x H100, 8 machines", 64, 989e12, 50e9, 8_192),
    Machine("1,024 x H100, 128 machines", 1024, 989e12, 50e9, 4_096),
)


def operations_per_token(config: BertConfig) -> float:
    """Of forward and backward pass, at `LENGTH`, by the paper's recipe."""
    step = Step(
        tokens=LENGTH,
        sequences=1,
        word_predictions=MASKED * LENGTH,
        squares=LENGTH**2,
        distinct=LENGTH,
    )
    return 3 * config.forward_operations(step) / LENGTH


def parameters(config: BertConfig) -> float:
    """Weights of the encoder and the embeddings."""
    width, inner = config.hidden_size, config.intermediate_size
    block = 4 * width**2 + 2 * width * inner + 9 * width + inner
    words = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    return config.num_hidden_layers * block + words * width


def seconds_of(
    machine: Machine, per_token: float, weights: float, utilization: float
) -> dict[str, float]:
    """Seconds of a step that each part would take alone; they overlap, so the longest decides."""
    return {
        "computing": machine.tokens_per_gpu * per_token / (machine.peak * utilization),
        "network": 2 * 4 * weights / machine.network,
        "input": machine.gpus * machine.tokens_per_gpu / INPUT,
    }


def duration(seconds: float) -> str:
    """In the unit that reads best."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="base")
    parser.add_argument("--utilization", type=float, default=0.4, help="of the peak rate")
    parser.add_argument("--storage", type=float, default=2e9, help="bytes a second, shared")
    given = parser.parse_args()
    config = BertConfig.preset(given.size, vocab_size=VOCABULARY)
    per_token, weights = operations_per_token(config), parameters(config)
    print(f"{given.size}: {weights / 1e6:.0f} M parameters, {per_token / 1e9:.3f} GFLOP a token")
    print(f"assumed: {given.utilization:.0%} of the peak rate\n")
    print(
        "| machine | tokens a step | tokens/s | bound by | corpus read | 10 B tokens | 1 T tokens "
        "| cost of 1 T |\n|---|---|---|---|---|---|---|---|"
    )
    for machine in MACHINES:
        parts = seconds_of(machine, per_token, weights, given.utilization)
        bound = max(parts, key=parts.__getitem__)
        tokens = machine.gpus * machine.tokens_per_gpu
        rate = tokens / parts[bound]
        hours = machine.gpus * 1e12 / rate / 3600
        print(
            f"| {machine.name} | {tokens:,} | {rate / 1e6:.2f} M "
            f"| {bound} "
            f"| {rate * BYTES_PER_TOKEN / 1e6:,.1f} MB/s | {duration(1e10 / rate)} "
            f"| {duration(1e12 / rate)} | ${hours * machine.price:,.0f} |"
        )
    size = STATE_BYTES * weights
    print(
        f"\na checkpoint: {size / 1e9:.2f} GB, {duration(size / given.storage)} at "
        f"{given.storage / 1e9:g} GB/s\n"
    )
    print("| GPUs | failures a day | best interval | lost to checkpoints and failures |")
    print("|---|---|---|---|")
    for gpus in (8, 64, 1024):
        between = 86_400 * GPU_DAYS_PER_FAILURE / gpus
        writing = size / given.storage
        interval = math.sqrt(2 * writing * between)
        lost = writing / interval + (interval / 2 + RESTART_SECONDS) / between
        print(f"| {gpus:,} | {86_400 / between:.3f} | {duration(interval)} | {lost:.2%} |")


if __name__ == "__main__":
    main()
