"""What Prometheus is told: requests, their time, batches, the lines, restarts."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bertsmith.serving.batching import Batcher

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._seconds = Histogram(
            "bertsmith_request_seconds",
            "Time of a request, from its body to its answer.",
            ("operation", "model", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "bertsmith_batch_inputs",
            "Inputs of a batch.",
            ("model",),
            buckets=_SIZES,
            registry=registry,
        )
        self._tokens = Counter(
            "bertsmith_tokens", "Tokens computed.", ("model",), registry=registry
        )
        self._busy = Counter(
            "bertsmith_busy_seconds", "Seconds spent computing.", ("model",), registry=registry
        )

    def watch(self, batchers: Mapping[str, Batcher]) -> None:
        """Adds what is read when Prometheus asks."""
        waiting = Gauge(
            "bertsmith_waiting_inputs", "Inputs in line.", ("model",), registry=self._registry
        )
        restarts = Gauge(
            "bertsmith_worker_restarts",
            "How often a worker was started again.",
            ("model",),
            registry=self._registry,
        )
        for name, batcher in batchers.items():
            waiting.labels(name).set_function(partial(getattr, batcher, "waiting"))
            restarts.labels(name).set_function(partial(getattr, batcher, "restarts"))

    def batch_hook(self, model: str) -> Callable[[int, int, float], None]:
        """What a batcher calls after each batch."""

        def count(inputs: int, tokens: int, seconds: float) -> None:
            self._batch.labels(model).observe(inputs)
            self._tokens.labels(model).inc(tokens)
            self._busy.labels(model).inc(seconds)

        return count

    @contextmanager
    def timed(self, operation: str, model: str) -> Iterator[None]:
        """Times a request and notes how it ended."""
        begin, outcome = time.monotonic(), "ok"
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            seconds = time.monotonic() - begin
            self._seconds.labels(operation, model, outcome).observe(seconds)
