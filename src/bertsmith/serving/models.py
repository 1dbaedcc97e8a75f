"""The served models by name, each with its engine and the line before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import HTTPException

from bertsmith.serving.batching import Batcher
from bertsmith.serving.engine import Engine
from bertsmith.serving.metrics import Metrics
from bertsmith.serving.operations import Served


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the service takes on."""

    seconds: float = 30.0
    """Until a request's deadline."""
    max_waiting: int = 1024
    """Inputs in line before a model."""
    max_batch_tokens: int = 4096
    """Computed at once."""
    max_body: int = 4 << 20
    """Bytes."""
    body_seconds: float = 10.0
    """In which a body must arrive."""


class Models:
    """The served models, by name."""

    def __init__(self, engines: Sequence[Engine], metrics: Metrics, limits: Limits) -> None:
        self.engines = {engine.source.name: engine for engine in engines}
        self.batchers = {
            name: Batcher(
                engine,
                max_batch_tokens=limits.max_batch_tokens,
                max_waiting=limits.max_waiting,
                on_batch=metrics.batch_hook(name),
            )
            for name, engine in self.engines.items()
        }

    @property
    def served(self) -> list[Served]:
        """What is loaded."""
        return [engine.served for engine in self.engines.values() if engine.served is not None]

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
        if name not in self.engines:
            known = ", ".join(self.engines)
            raise HTTPException(404, f"There is no model {name!r} here; served: {known}.")
        served = self.engines[name].served
        if served is not None and operation not in served.operations:
            paths = ", ".join(f"/v1/{path}" for path in served.operations)
            raise HTTPException(400, f"{name} cannot answer /v1/{operation}; it answers {paths}.")
        return name
