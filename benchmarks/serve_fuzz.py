"""Random requests to the HTTP service, valid and not, for some minutes: no 5xx but 503.

    python benchmarks/serve_fuzz.py [--minutes 10] [--seed 0]

Bodies that fit, bodies with bytes changed, bytes that are no JSON, other methods, paths and
headers, broken HTTP, and clients that go in the middle. After every thousand requests of a client
the service must be ready.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import httpx
from serve import free_port, wait_for

FIELDS = {
    "fill-mask": "text,top_k,joint",
    "next-sentence": "text,text_b",
    "log-likelihood": "text",
    "generate": "text,max_new_tokens,seed",
    "masks": "text,text_b,share,seed",
    "classify": "text,text_b",
    "multiple-choice": "text,choices",
    "tokens": "text",
    "answer": "question,context",
    "embeddings": "input,encoding_format,normalize",
    "tokenize": "text",
    "inspect": "text,text_b,top_k",
}
FITTING: dict[str, Any] = {"top_k": 3, "joint": True, "max_new_tokens": 4, "seed": 1, "share": 0.3}
FITTING |= {"choices": ["a", "the old"], "encoding_format": "base64", "normalize": True}
PIECES = [*'我é\u200d\x00😀 \\"', "the ", "old ", "[MASK] ", "[SEP]", "a" * 90]

MODELS = ("tiny-en", "tiny-zh")


def value(draw: random.Random) -> Any:
    """What a field may be given, sensible or not."""
    text = "".join(draw.choices(PIECES, k=draw.randrange(12)))
    odd = [None, True, -1, 10**30, 0.5, [], {}, [[text]], {"text": text}, text * 50]
    return draw.choice([text, text, text, [text, text], 3, draw.choice(odd)])


def body(draw: random.Random, path: str) -> bytes:
    """A body for a path: in most cases JSON that fits, or nearly."""
    fields = {}
    for name in FIELDS[path].split(","):
        text = "".join(draw.choices(PIECES, k=draw.randrange(9))) + "[MASK]"
        fields[name] = FITTING.get(name, text) if draw.random() < 0.8 else value(draw)
    if draw.random() < 0.2:
        fields[draw.choice(["model", "text", "x"])] = value(draw)
    made = json.dumps(fields, ensure_ascii=draw.random() < 0.5).encode(errors="replace")
    if draw.random() < 0.2:
        spot = draw.randrange(len(made))
        made = made[:spot] + draw.randbytes(draw.randrange(4)) + made[spot + draw.randrange(3) :]
    if draw.random() < 0.1:
        made = draw.choice([draw.randbytes(40), b"[" * 3000, made * 2, b""])
    return made


def message(draw: random.Random) -> bytes:
    """A whole request, perhaps broken."""
    name = draw.choice(list(FIELDS))
    content, path = body(draw, name), f"/v1/{name}"
    if draw.random() < 0.1:
        odd = ["/", "/metrics", "/v1/runs/../x", "/v1/%00", "//", "/web/%2e%2e/app.py", "*", "/é"]
        path = draw.choice(odd)
    method = draw.choice(["POST"] * 60 + ["GET", "PUT", "OPTIONS", "HEAD", "TRACE", "X"])
    kind = draw.choice(["application/json"] * 40 + ["text/plain", "application/json;charset=x", ""])
    length = draw.choice([len(content)] * 60 + [len(content) + 5, 0, -1, 10**12])
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    whole = f"{head}Content-Length: {length}\r\n\r\n".encode() + content
    if draw.random() < 0.05:
        whole = whole.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX")
    if draw.random() < 0.05:
        spot = draw.randrange(min(100, len(whole)))
        whole = whole[:spot] + draw.randbytes(2) + whole[spot + 2 :]
    return whole


async def send(port: int, draw: random.Random, statuses: Counter[str]) -> None:
    """Sends one request, or goes in its middle, and counts how it ended."""
    whole = message(draw)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if draw.random() < 0.05:
            writer.write(whole[: draw.randrange(len(whole))])
            await writer.drain()
            await asyncio.sleep(draw.random() / 20)
            statuses["client went"] += 1
            return
        writer.write(whole)
        answer = await asyncio.wait_for(reader.read(), 60)
        statuses[answer[9:12].decode() if answer else "closed"] += 1
        if answer[9:10] == b"5" and answer[9:12] != b"503":
            raise AssertionError(f"{answer[:300]!r}\nto {whole[:2000]!r}")
    except ConnectionError:
        statuses["closed"] += 1
    finally:
        writer.close()


async def fuzz(port: int, seconds: float, seed: int) -> Counter[str]:
    """Eight clients that send one after the other."""
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        count = 0
        while time.monotonic() < end:
            await send(port, draw, statuses)
            count += 1
            if count % 1000 == 0:
                async with httpx.AsyncClient(timeout=60) as asking:
                    (await asking.get(f"http://127.0.0.1:{port}/readyz")).raise_for_status()

    await asyncio.gather(*(client(number) for number in range(8)))
    return statuses


def main() -> None:
    """Starts the service, fuzzes it and prints how the requests ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "bertsmith", "serve", *MODELS, "--port", str(port)]
        process = subprocess.Popen(command, stderr=log)
        try:
            wait_for(process, f"http://127.0.0.1:{port}/v1/embeddings", {"input": "a"})
            statuses = asyncio.run(fuzz(port, 60 * options.minutes, options.seed))
        finally:
            process.terminate()
            process.wait(60)
        log.seek(0)
        assert "Traceback" not in log.read()
    print(sum(statuses.values()), "requests", dict(statuses.most_common()))


if __name__ == "__main__":
    main()
