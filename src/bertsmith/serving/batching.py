"""Requests of many clients to batches of one model.

While a worker of the model is idle a request is answered at once. While all compute, requests wait
in line; the next batch is the oldest of them and all others of the same operation and settings, up
to a budget of tokens. Nothing is padded inside a batch, so lengths may mix.

A request is refused at the door when the line is so long that its deadline would pass, and dropped
from the line when its client has gone.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertsmith.serving.engine import Engine, Unavailable
from bertsmith.serving.operations import Batch, Refused

_MEMORY = 0.8
"""Weight of the batches before, in the measured rate."""
_SLACK = 0.5
"""Of the time until a deadline: the rest allows for a rate that falls."""
_RETRY_SECONDS = 5.0
"""Until a worker that is down may take a batch again, while another answers."""


class Busy(Exception):
    """The line is too long."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: after which a place should be free."""
        super().__init__(f"The line is {seconds:.1f} seconds long.")
        self.seconds = seconds


class Expired(Exception):
    """The deadline passed while the request waited in line."""


@dataclass(eq=False)
class _Item:
    """One input of a request."""

    operation: str
    settings: dict[str, Any]
    value: Any
    tokens: int
    seconds: float
    """That it may take."""
    deadline: float
    answer: "asyncio.Future[bytes | Refused]" = field(repr=False)

    def joins(self, other: "_Item") -> bool:
        """Whether both can be answered by one call."""
        return self.operation == other.operation and self.settings == other.settings


class Batcher:
    """The line before the engines of one model."""

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        max_batch_tokens: int,
        max_waiting: int,
        on_batch: Callable[[int, int, float], object] = lambda items, tokens, seconds: None,
    ) -> None:
        """At most `max_waiting` inputs; `on_batch` gets each batch's inputs, tokens, seconds."""
        self.engines = engines
        self._max_batch_tokens = max_batch_tokens
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._line: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        self._timed = (0.0, 0.0)
        self._busy: dict[Engine, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Inputs in line."""
        return len(self._line)

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return sum(engine.restarts for engine in self.engines)

    @property
    def fault(self) -> str:
        """Why the model cannot answer; empty while one of its workers can."""
        faults = [engine.fault for engine in self.engines]
        return faults[0] if all(faults) else ""

    @property
    def _rate(self) -> float:
        """Tokens a second of one worker; before the first batch is timed, without bound."""
        tokens, seconds = self._timed
        return tokens / seconds if seconds else math.inf

    def start(self) -> None:
        """Begins to answer."""
        self._tasks = [asyncio.create_task(self._serve(engine)) for engine in self.engines]

    async def stop(self) -> None:
        """Ends; whoever still waits is told that the model is down."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in self._line:
            if not item.answer.done():
                item.answer.set_exception(Unavailable("The service is shutting down."))

    async def submit(
        self,
        operation: str,
        values: Sequence[Any],
        settings: dict[str, Any],
        *,
        tokens: Sequence[int],
        seconds: float,
    ) -> list[bytes | Refused]:
        """The answers to the inputs of one request, in order.

        Args:
            operation: a key of `operations.OPERATIONS`.
            values: inputs.
            settings: the same for all of them.
            tokens: about how many each has.
            seconds: until the deadline.

        Raises:
            Busy: the line is too long.
            Expired: the deadline passed.
            Unavailable: the model is down.
        """
        ahead = sum(self._busy.values()) + sum(item.tokens for item in self._line)
        rate = self._rate * len(self.engines)
        wait = (ahead + sum(tokens)) / rate
        # An idle model takes whatever comes: nothing is known to be late.
        if ahead and (wait > _SLACK * seconds or len(self._line) + len(values) > self._max_waiting):
            raise Busy(max(0.1, ahead / rate))
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + seconds
        items = [
            _Item(operation, settings, value, count, seconds, deadline, loop.create_future())
            for value, count in zip(values, tokens, strict=True)
        ]
        self._line.extend(items)
        self._arrived.set()
        try:
            return await asyncio.gather(*(item.answer for item in items))
        finally:
            # The client has gone, or one input failed: nobody reads the others.
            for item in items:
                item.answer.cancel()

    async def _serve(self, engine: Engine) -> None:
        while True:
            batch = self._next()
            if not batch:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if not await self._answer(engine, batch):
                await asyncio.sleep(_RETRY_SECONDS)

    def _next(self) -> list[_Item]:
        """The next batch, out of the line; empty when nobody waits."""
        now = time.monotonic()
        budget: float = self._max_batch_tokens
        batch: list[_Item] = []
        others: deque[_Item] = deque()
        tokens = 0
        while self._line:
            item = self._line.popleft()
            if item.answer.done():
                continue
            if item.deadline < now:
                item.answer.set_exception(Expired())
            elif not batch or (item.joins(batch[0]) and tokens + item.tokens <= budget):
                batch.append(item)
                tokens += item.tokens
                # All answers of a batch come at its end: what waited for half of its time may be
                # computed for the other half. Less for those that wait longer would make batches
                # small, and slow, just when the line is long.
                budget = min(budget, (1 - _SLACK) * self._rate * item.seconds)
            else:
                others.append(item)
        self._line = others
        return batch

    async def _answer(self, engine: Engine, batch: list[_Item]) -> bool:
        """Answers a batch; or leaves it to the other workers of the model, and returns False."""
        operation, settings = batch[0].operation, batch[0].settings
        tokens = sum(item.tokens for item in batch)
        job = Batch(
            operation,
            [item.value for item in batch],
            settings,
            tokens=tokens,
            alone=not self._busy and not self._line,
        )
        self._busy[engine] = tokens
        begin = time.monotonic()
        try:
            answers = await engine.answer(job)
        except Unavailable as error:
            if not self.fault:
                self._line.extendleft(reversed(batch))
                self._arrived.set()
                return False
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(Unavailable(str(error)))
            return True
        finally:
            del self._busy[engine]
        seconds = max(time.monotonic() - begin, 1e-6)
        # Summed before they are divided: a batch counts by its size, small ones hardly.
        self._timed = (_MEMORY * self._timed[0] + tokens, _MEMORY * self._timed[1] + seconds)
        self._on_batch(len(batch), tokens, seconds)
        for item, answer in zip(batch, answers, strict=True):
            if not item.answer.done():
                item.answer.set_result(answer)
        return True
