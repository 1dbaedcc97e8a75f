"""The HTTP service under load, beside plain FastAPI with `transformers`, interleaved, on a CPU.

    python benchmarks/serve.py [--classifier FOLDER] [--rounds 5] [--seconds 10] [--out FILE.json]

MiniLM gives vectors for texts of 4 to 120 words; with `--classifier`, a fine-tuned model classifies
them too. The peer answers each request alone, in FastAPI's thread pool. In each round both servers
take every load in turn: a lone client, 32 clients, and 320 clients. What is refused (503) is
counted apart from what is answered. Both run all the time; the one that is not asked idles.
"""

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from bertsmith.checkpoints.sources import resolve

WORDS = "the old river was cold and they walked to a small town where nobody had ever been".split()
CLIENTS = (1, 32, 320)


def texts(count: int) -> list[str]:
    """Texts of real, mixed lengths, the same for everybody."""
    draw = random.Random(0)
    lengths = [min(120, int(draw.lognormvariate(2.7, 0.8)) + 4) for _ in range(count)]
    return [" ".join(draw.choices(WORDS, k=length)) for length in lengths]


def peer(folder: str, port: int, task: str) -> None:
    """FastAPI with `transformers`."""
    import uvicorn
    from fastapi import FastAPI
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = AutoModel if task == "embeddings" else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder).eval()
    app = FastAPI()

    @app.post("/v1/{path}")
    def answer(path: str, body: dict[str, str]) -> Any:
        text = body.get("input") or body["text"]
        with torch.inference_mode():
            found = model(**tokenizer(text, truncation=True, max_length=256, return_tensors="pt"))
        if task == "embeddings":
            return {"embedding": found.last_hidden_state.mean(1)[0].tolist()}
        return {"probabilities": found.logits.softmax(-1)[0].tolist()}

    uvicorn.run(app, port=port, log_level="error")


async def load(url: str, task: str, clients: int, seconds: float) -> dict[str, float]:
    """What `clients`, each with one request at a time, get in `seconds`."""
    work = texts(4096)
    times: list[float] = []
    refused = failed = 0
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def client(number: int, opened: httpx.AsyncClient) -> None:
        nonlocal refused, failed
        place = number * 127
        while (begin := time.monotonic()) < end:
            text, place = work[place % len(work)], place + 1
            body = {"input": text} if task == "embeddings" else {"text": text}
            try:
                answer = await opened.post(f"{url}/v1/{task}", json=body)
            except httpx.HTTPError:
                failed += 1
                continue
            if answer.status_code == 200:
                times.append(time.monotonic() - begin)
            elif answer.status_code == 503:
                refused += 1
                await asyncio.sleep(0.1)
            else:
                failed += 1

    begin = time.monotonic()
    async with httpx.AsyncClient(limits=limits, timeout=60) as opened:
        await asyncio.gather(*(client(number, opened) for number in range(clients)))
    passed = time.monotonic() - begin
    ranked = sorted(times) or [float("nan")]
    return {
        "per_second": len(times) / passed,
        "p50_ms": 1000 * statistics.median(ranked),
        "p99_ms": 1000 * ranked[int(0.99 * (len(ranked) - 1))],
        "refused": refused,
        "failed": failed,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def contest(folder: str, task: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each round, load and server."""
    ports = {"bertsmith": free_port(), "fastapi": free_port()}
    ours = [sys.executable, "-m", "bertsmith", "serve", folder, "--port", str(ports["bertsmith"])]
    theirs = [sys.executable, __file__, "--peer", f"{ports['fastapi']}:{task}:{folder}"]
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in (ours, theirs)]
    rows = []
    try:
        text = {"input": "a"} if task == "embeddings" else {"text": "a"}
        for port in ports.values():
            until = time.monotonic() + 120
            while True:
                try:
                    httpx.post(f"http://127.0.0.1:{port}/v1/{task}", json=text).raise_for_status()
                    break
                except httpx.HTTPError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.5)
        for number in range(rounds):
            for clients in CLIENTS:
                for name, port in ports.items():
                    found = asyncio.run(load(f"http://127.0.0.1:{port}", task, clients, seconds))
                    rows.append({"task": task, "round": number, "clients": clients, "server": name})
                    rows[-1] |= found
                    print(json.dumps(rows[-1]), flush=True)
    finally:
        for process in started:
            process.terminate()
            process.wait(60)
    return rows


def main() -> None:
    """Runs the contests and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        port, task, folder = options.peer.split(":", 2)
        peer(folder, int(port), task)
        return
    rows = contest(str(resolve("minilm")), "embeddings", options.rounds, options.seconds)
    if options.classifier:
        rows += contest(str(options.classifier), "classify", options.rounds, options.seconds)
    for task in dict.fromkeys(row["task"] for row in rows):
        for clients in CLIENTS:
            for name in ("bertsmith", "fastapi"):
                key = {"task": task, "clients": clients, "server": name}
                mine = [row for row in rows if key.items() <= row.items()]
                numbers = ("per_second", "p50_ms", "p99_ms", "refused", "failed")
                median = {one: statistics.median(row[one] for row in mine) for one in numbers}
                print(key, {one: round(value, 2) for one, value in median.items()})
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
