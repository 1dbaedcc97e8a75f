"""The HTTP service under load beside others, interleaved, on a CPU.

    python benchmarks/serve.py [--classifier FOLDER] [--only bertsmith,fastapi] [--clients 1,32]
        [--rounds 5] [--seconds 10] [--out FILE.json]

MiniLM gives vectors for texts of 4 to 120 words; with `--classifier`, a fine-tuned model classifies
them too. Contenders:

- `bertsmith`, `bertsmith-bf16`: `bertsmith serve`, with `--precision bf16` the second;
- `fastapi`: FastAPI with `transformers`, each request alone in the thread pool;
- `fastapi-1`: the same with one thread inside each operation, the better setting under load;
- `litserve`: LitServe with `transformers`, batches of up to 32, padded (`pip install litserve`);
- `sentence-transformers`: behind FastAPI, for vectors alone.

`model` is no server: our model, called in its own process, with one text at a time for a lone
client and with 32 for more clients, which is the ceiling. In each round every contender takes every
load in turn. All run all the time; who is not asked idles. Clients, servers and whatever else the
machine does share its cores, so a row also has the processor time that a server spent on a request.
"""

import argparse
import asyncio
import importlib.util
import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from serve_load import Seen, bodies, cpu_seconds, load, texts
from serve_peers import FIELDS

from bertsmith.checkpoints.sources import resolve
from bertsmith.inference.predictor import Model

HERE = Path(__file__).parent
NEEDS = {
    "model": "bertsmith",
    "bertsmith": "bertsmith",
    "bertsmith-bf16": "bertsmith",
    "fastapi": "transformers",
    "fastapi-1": "transformers",
    "litserve": "litserve",
    "sentence-transformers": "sentence_transformers",
}


def call_model(folder: str, task: str, clients: int, seconds: float) -> None:
    """Prints the row of our model in this process."""
    model, work = Model(folder), texts(4096)
    function = model.embed if task == "embeddings" else model.predict
    size = 1 if clients == 1 else 32
    for place in range(3):
        function(work[place : place + size])
    seen, begin, place = Seen(), time.monotonic(), 0
    while (seconds_so_far := time.monotonic() - begin) < seconds:
        function(work[place : place + size])
        seen.times += [time.monotonic() - begin - seconds_so_far] * size
        place = (place + size) % (len(work) - size)
    seen.seconds = time.monotonic() - begin
    print(json.dumps(seen.row()))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def start(name: str, folder: str, task: str, port: int) -> "subprocess.Popen[bytes]":
    """Starts a contender and waits until it answers."""
    file = "serve_litserve.py" if name == "litserve" else "serve_peers.py"
    command = [sys.executable, str(HERE / file), name, task, folder, str(port)]
    if name.startswith("bertsmith"):
        command = [sys.executable, "-m", "bertsmith", "serve", folder, "--port", str(port)]
        command += ["--precision", "bf16"] if name.endswith("bf16") else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(process, f"http://127.0.0.1:{port}/v1/{task}", {FIELDS[task]: "a"})
    return process


def wait_for(process: "subprocess.Popen[bytes]", url: str, body: dict[str, str]) -> None:
    """Waits until a service answers."""
    until = time.monotonic() + 180
    while True:
        try:
            httpx.post(url, json=body, timeout=60).raise_for_status()
            return
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.5)


def contest(
    folder: str, task: str, names: list[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each round, load and contender."""
    ports = {name: free_port() for name in names if name != "model"}
    started: dict[str, subprocess.Popen[bytes]] = {}
    rows = []
    work = bodies(FIELDS[task])
    try:
        for name, port in ports.items():
            started[name] = start(name, folder, task, port)
        for number in range(options.rounds):
            for clients in options.clients:
                for name in names:
                    row = {"task": task, "round": number, "clients": clients, "server": name}
                    if name == "model":
                        command = ["--call", task, folder, str(clients), str(options.seconds)]
                        found = subprocess.check_output([sys.executable, __file__, *command])
                        row |= json.loads(found)
                    else:
                        process = psutil.Process(started[name].pid)
                        before = cpu_seconds(process)
                        seen = asyncio.run(
                            load(ports[name], f"/v1/{task}", work, clients, options.seconds)
                        )
                        spent = cpu_seconds(process) - before
                        row |= seen.row() | {"cpu_ms": 1000 * spent / max(1, len(seen.times))}
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    finally:
        for name, one in started.items():
            if name == "litserve":  # It leaves its workers behind.
                for process in psutil.Process(one.pid).children(recursive=True):
                    process.kill()
            one.terminate()
            one.wait(60)
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """A table of medians, with the least and most requests a second."""
    lines = ["| task | clients | | requests/s | p50 ms | p99 ms | processor ms | other answers |"]
    lines.append("|---" * 8 + "|")
    for task, clients, name in dict.fromkeys((r["task"], r["clients"], r["server"]) for r in rows):
        mine = [
            row
            for row in rows
            if (row["task"], row["clients"], row["server"]) == (task, clients, name)
        ]
        middle = {
            key: statistics.median(row.get(key, float("nan")) for row in mine)
            for key in ("per_second", "p50_ms", "p99_ms", "cpu_ms")
        }
        rates = [row["per_second"] for row in mine]
        others = sum(sum(row["others"].values()) for row in mine)
        lines.append(
            f"| {task} | {clients} | {name} | {middle['per_second']:.1f} ({min(rates):.1f}.."
            f"{max(rates):.1f}) | {middle['p50_ms']:.1f} | {middle['p99_ms']:.0f} | "
            f"{middle['cpu_ms']:.1f} | {others} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the contests and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--only", default=",".join(NEEDS), help="contenders, joined by commas")
    parser.add_argument("--clients", default="1,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--call", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        task, folder, clients, seconds = options.call
        call_model(folder, task, int(clients), float(seconds))
        return
    options.clients = [int(clients) for clients in options.clients.split(",")]
    names = [name for name in options.only.split(",") if importlib.util.find_spec(NEEDS[name])]
    rows = contest(str(resolve("minilm")), "embeddings", names, options)
    if options.classifier:
        names = [name for name in names if name != "sentence-transformers"]
        rows += contest(str(options.classifier), "classify", names, options)
    print(summary(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
