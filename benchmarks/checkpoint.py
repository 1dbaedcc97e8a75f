"""How long a checkpoint stops the training, and how long until it is there.

    torchrun --nproc-per-node 2 benchmarks/checkpoint.py [--size base] [--shard] [--repeats 5]

A BERT of random weights, whole in each process (DDP) or sharded over them (FSDP2), is saved as
pre-training saves it, into a temporary folder: weights, two moments of each, checksums, fsync. An
optimizer step on random gradients comes first, so that there are moments. Without `torchrun` it is
one process.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bertsmith.checkpoints.tensors import save_tensors
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.training.checkpoint import Saver, TrainerState
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place, join

ADAMW = OptimizerConfig(weight_decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-6)


def measure(place: Place, size: str, *, shard: bool, repeats: int, out: Path) -> dict[str, object]:
    """Seconds that training waits for a save, and seconds until the checkpoint is there."""
    torch.manual_seed(0)
    model = BertForPretraining(BertConfig.preset(size, vocab_size=30_000))
    with Parallel(model, place, shard=shard) as parallel:
        optimizer = adamw(model, ADAMW)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        waits, ends = [], []
        for step in range(1, repeats + 1):
            began = time.perf_counter()
            with Saver(out, parallel, optimizer, keep=1) as saver:
                whole = parallel.whole_model()
                saver.save(
                    TrainerState(step=step),
                    lambda folder, whole=whole: save_tensors(  # type: ignore[misc]
                        folder / "model.safetensors", whole.state_dict(), {"format": "pt"}
                    ),
                )
                waits.append(time.perf_counter() - began)
            ends.append(time.perf_counter() - began)
    size_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "processes": place.world.size,
        "sharded": parallel.sharded,
        "gigabytes": round(size_bytes / 1e9, 2),
        "training_waits": [round(min(waits), 2), round(statistics.median(waits), 2), max(waits)],
        "until_there": [round(min(ends), 2), round(statistics.median(ends), 2), max(ends)],
    }


def main() -> None:
    """Measures and prints JSON: smallest, median and largest seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="base")
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with join("fp32") as place, tempfile.TemporaryDirectory() as mine:
        folder = place.first_decides(lambda: mine)
        result = measure(
            place, given.size, shard=given.shard, repeats=given.repeats, out=Path(folder) / "run"
        )
        if place.world.first:
            print(json.dumps(result))


if __name__ == "__main__":
    main()
