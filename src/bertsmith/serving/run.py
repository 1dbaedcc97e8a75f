"""The job: models served until a signal ends it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bertsmith.checkpoints.sources import resolve
from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import Precision, core_count
from bertsmith.serving.app import build_app
from bertsmith.serving.engine import Compute, Engine, Source
from bertsmith.serving.middleware import Guard, fault_body
from bertsmith.serving.models import Limits

KEY_VARIABLE = "BERTSMITH_API_KEY"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DRAIN_SECONDS = 30
_MOST_WORKERS = 4
"""Of a model, unless the user says how many: each holds the weights."""


class _Impatient(HttpToolsProtocol):
    """Ends a connection whose headers do not arrive in time, which uvicorn leaves open."""

    def __init__(self, *, header_seconds: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._header_seconds = header_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait(self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait(self._refuse)

    def on_headers_complete(self) -> None:
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _wait(self, then: Callable[[], None]) -> None:
        self._forget()
        # The second time: a busy event loop may not yet have read what has arrived.
        again = partial(self._later, 0.1, then)
        self._later(self._header_seconds, again)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self.loop.call_later(seconds, then)

    def _refuse(self) -> None:
        late = f"The headers did not arrive in {self._header_seconds:g} s."
        body = fault_body(408, late, uuid.uuid4().hex)
        head = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def parse_sources(models: Sequence[str]) -> list[Source]:
    """`NAME=FOLDER`, or a folder or model name, which then is the name.

    Raises:
        UsageError: two have one name, or a name or folder is empty.
    """
    sources: list[Source] = []
    for model in models:
        name, equals, folder = model.partition("=")
        if not equals or Path(model).exists():
            folder = model
            name = Path(model.rstrip("/")).name or model
        if not name or not folder:
            raise UsageError(
                f"{model!r} is not NAME=FOLDER; give both, for example news=runs/news."
            )
        if any(source.name == name for source in sources):
            raise UsageError(f"Two models are called {name!r}; name one of them: NAME={folder}.")
        sources.append(Source(name, folder))
    return sources


def read_key(file: Path | None) -> str | None:
    """The key that requests must bring, from a file or the environment; None: no key.

    Raises:
        UsageError: the file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The key file {file} cannot be read: {error}.") from error
    if not key:
        raise UsageError(f"The key file {file} is empty; write the key into it.")
    return key


def serve(
    models: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key_file: Path | None = None,
    threads: int = 0,
    workers: int = 0,
    precision: Precision = "fp32",
    runs: Sequence[Path] = (),
    limits: Limits | None = None,
) -> None:
    """Serves models over HTTP until SIGINT or SIGTERM; what was accepted is answered first.

    Args:
        models: folders or names, or `NAME=FOLDER`; the first is the default.
        host: address to listen on; anything but loopback is open to the network.
        port: 0 takes a free one.
        key_file: file with the key that requests must bring; else the environment variable
            `BERTSMITH_API_KEY`, else none.
        threads: cores that each model computes with; 0: all.
        workers: processes of each model; 0: as many as there are cores for, at most 4.
        precision: `bf16` is faster on hardware that has it and changes answers slightly.
        runs: folders of trainings whose curves the playground draws.
        limits: how much the service takes on.

    Raises:
        UsageError: a model does not exist, the address is taken, or the key is missing.
        BertsmithError: a model cannot be loaded.
    """
    limits = limits or Limits()
    sources = parse_sources(models)
    for source in sources:
        resolve(source.folder)
    key = read_key(key_file)
    _log_to_stderr()
    log = logging.getLogger("bertsmith.serving")
    if host not in _LOOPBACK and key is None:
        log.warning(
            "listening on %s without a key: anybody who reaches this machine can use the models",
            host,
        )
    listening = _listen(host, port)
    compute = _share_out(threads or core_count(), workers, len(sources), precision)
    app = build_app(sources, compute=compute, limits=limits, runs=runs)
    # uvicorn ends by raising the signal again that ended it; nothing is left to do for it then.
    with _signals_end_nothing(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(app, listening, key, limits))


@contextlib.contextmanager
def _signals_end_nothing() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


async def _serve(app: FastAPI, listening: socket.socket, key: str | None, limits: Limits) -> None:
    log = logging.getLogger("bertsmith.serving")
    engines: list[Engine] = app.state.models.engines
    try:
        # Loaded before the first connection is taken: a model that fails ends the command.
        await asyncio.gather(*(engine.start() for engine in engines))
        for name in app.state.models.batchers:
            log.info("model %s is loaded", name)
        host, port = listening.getsockname()[:2]
        log.info("serving at http://%s:%d", f"[{host}]" if ":" in host else host, port)
        guarded = Guard(
            app,
            api_key=key,
            max_body=limits.max_body,
            body_seconds=limits.body_seconds,
            at_once=limits.at_once,
        )
        # Called for each connection, as the class is.
        http: Any = partial(_Impatient, header_seconds=limits.body_seconds)
        config = uvicorn.Config(
            guarded,
            http=http,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            timeout_keep_alive=30,
        )
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        for engine in engines:
            engine.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, as for the command `uvicorn`."""
    return uvicorn.Config("", loop="auto").get_loop_factory()


def _share_out(cores: int, workers: int, models: int, precision: Precision) -> Compute:
    """Cores and workers of each model.

    Single cores beside each other get more done than cores that wait for each other inside every
    operation, the more so while the network's requests want some of them too.
    """
    if not workers:
        # A GPU computes one batch at a time.
        workers = 1 if torch.cuda.is_available() else min(_MOST_WORKERS, cores // models)
    return Compute(cores=cores, workers=max(1, workers), precision=precision)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Cannot listen on {host} port {port}: {error}. Give another port or host."
        ) from error
    return listening


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("bertsmith.serving", "bertsmith.access"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
