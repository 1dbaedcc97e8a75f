"""The HTTP service at ten times the load that it can carry, on a CPU.

    python benchmarks/serve_overload.py [--seconds 60] [--times 10] [--timeout 4] [--out FILE.json]

The load that MiniLM carries is measured first, by 32 clients. Then requests with texts of 4 to 120
words begin at ten times that rate while at most 1,500 have no answer yet. Reported: how many were
answered (200) and how late the latest; how many were refused (503 with Retry-After); the memory of
the service before, at its most and after; and how long lone requests take from a second later on.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from serve import free_port, wait_for
from serve_load import bodies, load, megabytes, request

AT_ONCE = 1500
"""Requests without an answer; fewer than the connections that Linux lets wait for a server."""


async def overload(port: int, rate: float, seconds: float) -> dict[str, Any]:
    """What requests get that begin `rate` times a second."""
    work = bodies("input")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    statuses: Counter[str] = Counter()
    times: list[float] = []
    refusals: list[float] = []

    async def one(number: int) -> None:
        sent = time.monotonic()
        body = work[number % len(work)]
        try:
            connection = idle.pop()
            status, head = await request(*connection, "/v1/embeddings", body)
        except (IndexError, ConnectionError, asyncio.IncompleteReadError):
            # There is none, or the service has closed it, which was idle for long.
            try:
                connection = await asyncio.open_connection("127.0.0.1", port)
                status, head = await request(*connection, "/v1/embeddings", body)
            except (OSError, asyncio.IncompleteReadError):
                statuses["no connection"] += 1
                return
        idle.append(connection)
        passed = time.monotonic() - sent
        (times if status == 200 else refusals).append(passed)
        waits = " with Retry-After" if b"\r\nretry-after:" in head else ""
        statuses[f"{status}{waits}"] += 1

    begin = time.monotonic()
    tasks: set[asyncio.Task[None]] = set()
    started = 0
    while (passed := time.monotonic() - begin) < seconds:
        while started < passed * rate and len(tasks) < AT_ONCE:
            task = asyncio.create_task(one(started))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            started += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    return {
        "offered_per_second": started / seconds,
        "answered_per_second": len(times) / seconds,
        "statuses": dict(statuses),
        "answered_p50_ms": 1000 * statistics.median(times),
        "answered_longest_ms": 1000 * max(times),
        "refused_p50_ms": 1000 * statistics.median(refusals),
    }


async def watch(process: psutil.Process, seen: list[float]) -> None:
    """Notes the memory of the service each second."""
    while True:
        seen.append(megabytes(process))
        await asyncio.sleep(1)


async def measure(port: int, process: psutil.Process, options: argparse.Namespace) -> Any:
    """The whole row."""
    carried = await load(port, "/v1/embeddings", bodies("input"), 32, 10)
    before = megabytes(process)
    rate = options.times * carried.row()["per_second"]
    memory: list[float] = []
    watching = asyncio.create_task(watch(process, memory))
    row = {"carried_per_second": rate / options.times, "deadline_ms": 1000 * options.timeout}
    row |= await overload(port, rate, options.seconds)
    await asyncio.sleep(1)
    after = await load(port, "/v1/embeddings", bodies("input"), 1, 3)
    watching.cancel()
    halves = memory[: len(memory) // 2], memory[len(memory) // 2 :]
    row |= {
        "memory_mb": {
            "before": before,
            "most in the first half": max(halves[0]),
            "most in the second half": max(halves[1]),
        },
        "a_second_later": after.row(),
    }
    return row


def main() -> None:
    """Starts the service, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--timeout", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "bertsmith", "serve", "minilm", "--port", str(port)]
    command += ["--timeout", str(options.timeout)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(process, f"http://127.0.0.1:{port}/v1/embeddings", {"input": "a"})
        row = asyncio.run(measure(port, psutil.Process(process.pid), options))
    finally:
        process.terminate()
        process.wait(60)
    print(json.dumps(row, indent=1))
    if options.out:
        options.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
