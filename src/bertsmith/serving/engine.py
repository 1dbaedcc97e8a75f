"""A worker process that holds a served model, and what the event loop knows of it.

A worker that dies is started again and the batch is tried once more; a model that cannot be loaded
again (its folder is gone) stays down, and says why.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bertsmith.core.errors import BertsmithError, SystemFault
from bertsmith.core.runtime import Precision
from bertsmith.core.workers import Worker
from bertsmith.serving.operations import Batch, Load, Refused, Served, answer

log = logging.getLogger("bertsmith.serving")


class Unavailable(Exception):
    """The model cannot answer now; the message says why."""


@dataclass(frozen=True)
class Source:
    """A model to serve."""

    name: str
    """By which requests ask for it."""
    folder: str
    """Its folder, or a name that `checkpoints.sources.resolve` takes."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a model is computed with."""

    cores: int
    workers: int
    """Processes, among which the cores are shared out."""
    precision: Precision = "fp32"


class Engine:
    """A worker process and the thread that waits for it."""

    def __init__(self, source: Source, compute: Compute) -> None:
        self.source = source
        self._compute = compute
        self.restarts = 0
        self.served: Served | None = None
        self.fault = ""
        """Why the model cannot answer; empty while it can."""
        self._worker: Worker | None = None
        # The pipe blocks; a thread of its own keeps the event loop free.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"engine {source.name}")

    async def start(self) -> Served:
        """Loads the model.

        Raises:
            BertsmithError: it cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        self._worker, served = await loop.run_in_executor(self._executor, self._load)
        self.served = served
        return served

    async def answer(self, batch: Batch) -> list[bytes | Refused]:
        """The answers to a batch, in order, JSON each.

        Raises:
            Unavailable: the worker died twice, or cannot be started again.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._answer, batch)

    def close(self) -> None:
        """Ends the worker; what it was computing is lost."""
        if self._worker is not None:
            self._worker.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    # In the engine's thread.

    def _load(self) -> tuple[Worker, Served]:
        cores, workers = self._compute.cores, self._compute.workers
        worker = Worker.start(threads=cores)
        try:
            worker.send(answer)
            worker.send(
                Load(
                    self.source.name,
                    self.source.folder,
                    precision=self._compute.precision,
                    cores=cores,
                    share=max(1, cores // workers),
                )
            )
            served: Served = worker.receive()
        except BaseException:
            worker.stop()
            raise
        return worker, served

    def _answer(self, batch: Batch) -> list[bytes | Refused]:
        for _ in range(2):
            try:
                worker = self._worker or self._restarted()
                worker.send(batch)
                answers: list[bytes | Refused] = worker.receive()
                return answers
            except SystemFault as error:
                log.error("model %s: %s", self.source.name, error)
                self._drop(str(error))
            except BertsmithError as error:
                self._drop(str(error))
                break
        raise Unavailable(f"Model {self.source.name} is down: {self.fault}")

    def _restarted(self) -> Worker:
        self._worker, self.served = self._load()
        self.fault = ""
        self.restarts += 1
        log.warning("model %s: worker restarted", self.source.name)
        return self._worker

    def _drop(self, fault: str) -> None:
        self.fault = fault
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
