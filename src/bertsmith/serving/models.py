"""The served models by name, each with its engines and the line before them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import HTTPException

from bertsmith.serving.batching import Batcher
from bertsmith.serving.engine import Compute, Engine, Source
from bertsmith.serving.metrics import Metrics
from bertsmith.serving.operations import Served


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the service takes on."""

    seconds: float = 30.0
    """Until a request's deadline."""
    max_waiting: int = 1024
    """Inputs in line before a model."""
    at_once: int = 1024
    """Requests in progress, whatever they ask for."""
    max_batch_tokens: int = 4096
    """Computed at once."""
    max_body: int = 4 << 20
    """Bytes."""
    body_seconds: float = 10.0
    """In which the headers of a request must arrive, and again its body."""


class Models:
    """The served models, by name."""

    def __init__(
        self, sources: Sequence[Source], compute: Compute, metrics: Metrics, limits: Limits
    ) -> None:
        self.batchers = {
            source.name: Batcher(
                [Engine(source, compute) for _ in range(compute.workers)],
                max_batch_tokens=limits.max_batch_tokens,
                max_waiting=limits.max_waiting,
                on_batch=metrics.batch_hook(source.name),
            )
            for source in sources
        }

    @property
    def engines(self) -> list[Engine]:
        """Of all models."""
        return [engine for batcher in self.batchers.values() for engine in batcher.engines]

    @property
    def served(self) -> list[Served]:
        """What is loaded."""
        firsts = [batcher.engines[0].served for batcher in self.batchers.values()]
        return [served for served in firsts if served is not None]

    def named(self, name: str | None, operation: str) -> str:
        """The model that a request means.

        Raises:
            HTTPException: there is no such model, or none that can do this.
        """
        if name is None:
            able = [model.id for model in self.served if operation in model.operations]
            if not able:
                raise HTTPException(400, f"No served model can answer /v1/{operation}.")
            return able[0]
        if name not in self.batchers:
            known = ", ".join(self.batchers)
            raise HTTPException(404, f"There is no model {name!r} here; served: {known}.")
        served = self.batchers[name].engines[0].served
        if served is not None and operation not in served.operations:
            paths = ", ".join(f"/v1/{path}" for path in served.operations)
            raise HTTPException(400, f"{name} cannot answer /v1/{operation}; it answers {paths}.")
        return name
