"""A corpus of many tokens: how large it is, how fast it opens, and what reading it takes.

    nice python benchmarks/large_corpus.py [--tokens 2e8] [--steps 200] [--folder DIR] [--out FILE]

Shards of random documents (20 sentences of 5 to 40 tokens) are written as `prepare` writes them,
about 2.5 bytes a token, to a temporary folder inside DIR. Then a fresh process opens them and takes
batches of 256 pairs of at most 128 tokens, spread over the whole epoch: resident memory without the
pages of the mapped files, the time to open, tokens a second, and the time to find a step far away
by its cursor. What a trillion tokens take follows from these per token, per document and per shard
(docs/scale.md).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bertsmith.core.storage import read_json, write_json
from bertsmith.corpus.assemble import SHARD_TOKENS
from bertsmith.corpus.manifest import ShardInfo
from bertsmith.corpus.shard_writer import write_shard
from bertsmith.corpus.shards import Split
from bertsmith.pretraining.batches import Batches
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

VOCABULARY = 30_000
BLOCK_DOCUMENTS = 4_000


def write(folder: Path, tokens: int) -> list[ShardInfo]:
    """Writes shards until there are `tokens`; of one block of text, turned by its number."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, 41, 20 * BLOCK_DOCUMENTS)
    ids = draw.integers(len(SPECIAL), VOCABULARY, lengths.sum())
    starts = draw.random(len(ids)) < 0.7
    infos: list[ShardInfo] = []
    done = block = 0
    while done < tokens:
        with write_shard(folder / f"train-{len(infos):05d}", vocab_size=VOCABULARY) as writer:
            while writer.tokens < SHARD_TOKENS and done + writer.tokens < tokens:
                turned = (ids + block) % (VOCABULARY - len(SPECIAL)) + len(SPECIAL)
                writer.append(
                    turned,
                    starts,
                    sentence_lengths=lengths,
                    document_sentences=np.full(BLOCK_DOCUMENTS, 20),
                )
                block += 1
        infos.append(writer.info)
        done += writer.info.tokens
    return infos


def read(folder: Path, steps: int) -> dict[str, Any]:
    """What a process that trains on the folder measures."""
    infos = read_json(folder / "infos.json", list[ShardInfo])
    tokenizer = Tokenizer([*SPECIAL, *(f"w{n}" for n in range(VOCABULARY - len(SPECIAL)))])
    before = resident()
    began = time.perf_counter()
    split = Split(folder, infos, VOCABULARY)
    opened = time.perf_counter() - began
    settings: dict[str, Any] = {"length": 128, "batch_size": 256, "seed": 1}
    with Batches(split, tokenizer, **settings) as batches:
        batches.at(0)
        began, tokens = time.perf_counter(), 0
        for step in range(1, steps + 1):
            tokens += sum(int(batch.tokens) for batch in batches.at(step))
        seconds = time.perf_counter() - began
        cursor = batches.cursor
    with Batches(split, tokenizer, cursor=cursor, **settings) as batches:
        began = time.perf_counter()
        batches.at(steps + 1)
        found = time.perf_counter() - began
    return {
        "tokens": split.token_count,
        "documents": split.document_count,
        "shards": len(infos),
        "seconds_to_open": opened,
        "megabytes_before": before,
        "megabytes": resident(),
        "tokens_per_second": tokens / seconds,
        "seconds_to_resume": found,
    }


def resident() -> float:
    """Megabytes of this process's own memory; pages of mapped files are the system's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=float, default=2e8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.read:
        print(json.dumps(read(flags.read, flags.steps)))
        return
    with tempfile.TemporaryDirectory(dir=flags.folder, prefix="large-corpus-") as name:
        folder = Path(name)
        began = time.perf_counter()
        infos = write(folder, int(flags.tokens))
        seconds = time.perf_counter() - began
        write_json(folder / "infos.json", infos)
        size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
        manifest = len(msgspec.json.format(msgspec.json.encode(infos), indent=2))
        command = [sys.executable, __file__, "--read", name, "--steps", str(flags.steps)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    found |= {
        "bytes_per_token": size / found["tokens"],
        "manifest_bytes_per_shard": manifest / len(infos),
        "tokens_per_second_written": found["tokens"] / seconds,
    }
    for key, value in found.items():
        print(
            f"{key.replace('_', ' '):28} {value:,.3f}"
            if value < 100
            else f"{key.replace('_', ' '):28} {value:,.0f}"
        )
    if flags.out:
        write_json(flags.out, found)


if __name__ == "__main__":
    main()
