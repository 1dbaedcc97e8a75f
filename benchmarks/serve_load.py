"""Clients of an HTTP service, as cheap as can be: on few cores they compete with the service."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

WORDS = "the old river was cold and they walked to a small town where nobody had ever been".split()


def texts(count: int) -> list[str]:
    """Texts of 4 to 120 words, many short and few long, the same for everybody."""
    draw = random.Random(0)
    lengths = [min(120, int(draw.lognormvariate(2.7, 0.8)) + 4) for _ in range(count)]
    return [" ".join(draw.choices(WORDS, k=length)) for length in lengths]


@dataclass
class Seen:
    """What the clients saw."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    """Of the answers with status 200, in seconds."""
    statuses: Counter[int] = field(default_factory=Counter)
    """0: the connection broke."""

    def row(self) -> dict[str, Any]:
        """Rate, times in ms, and the other answers by status."""
        ranked = sorted(self.times) or [float("nan")]
        others = {status: count for status, count in self.statuses.items() if status != 200}
        return {
            "per_second": len(self.times) / self.seconds,
            "p50_ms": 1000 * statistics.median(ranked),
            "p99_ms": 1000 * ranked[int(0.99 * (len(ranked) - 1))],
            "longest_ms": 1000 * ranked[-1],
            "others": others,
        }


async def load(port: int, path: str, bodies: list[bytes], clients: int, seconds: float) -> Seen:
    """What `clients`, each with one request at a time, get in `seconds`."""
    seen = Seen()
    begin = time.monotonic()
    end = begin + seconds

    async def client(number: int) -> None:
        place = number * 127
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while (sent := time.monotonic()) < end:
                    status, _ = await request(reader, writer, path, bodies[place % len(bodies)])
                    place += 1
                    seen.statuses[status] += 1
                    if status == 200:
                        seen.times.append(time.monotonic() - sent)
                    elif status == 503:
                        await asyncio.sleep(0.1)  # It was told to come again later.
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                seen.statuses[0] += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    seen.seconds = time.monotonic() - begin
    return seen


async def request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes
) -> tuple[int, bytes]:
    """Status and head, in lower case, of the answer, which is read whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(answer.split(b"content-length:")[1].split(b"\r\n")[0]))
    return int(answer[9:12]), answer


def bodies(field_name: str, count: int = 4096) -> list[bytes]:
    """Requests with one text each."""
    return [json.dumps({field_name: text}).encode() for text in texts(count)]


def cpu_seconds(process: psutil.Process) -> float:
    """That a process and its children have used."""
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:2]) for one in family))


def megabytes(process: psutil.Process) -> float:
    """Memory that a process and its children hold, what they share counted once."""
    family = [process, *process.children(recursive=True)]
    total: int = sum(one.memory_full_info().pss for one in family)
    return total / 1e6
