"""The HTTP service: requests to the batchers of the models, their answers to JSON.

Errors have one shape, `{"error": {"message", "type", "request_id"}}`. What is too long for a model
is read through windows, or its end is left out and the answer says `"truncated": true`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import PlainTextResponse

from bertsmith.serving import requests
from bertsmith.serving.batching import Busy, Expired
from bertsmith.serving.endpoints import Endpoints, add_any, add_pretrained, add_tasks, as_json
from bertsmith.serving.engine import Compute, Source, Unavailable
from bertsmith.serving.metrics import Metrics
from bertsmith.serving.middleware import fault_body
from bertsmith.serving.models import Limits, Models
from bertsmith.serving.playground import add_playground
from bertsmith.serving.runs import list_runs, read_run

log = logging.getLogger("bertsmith.serving")


def build_app(
    sources: Sequence[Source], *, compute: Compute, limits: Limits, runs: Sequence[Path] = ()
) -> FastAPI:
    """The application, which loads its models when it starts.

    Args:
        sources: the models, the first being the default.
        compute: what each of them is computed with.
        limits: how much the service takes on.
        runs: folders of trainings to draw.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    models = Models(sources, compute, metrics, limits)
    metrics.watch(models.batchers)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for engine in models.engines:
                stack.callback(engine.close)
                if engine.served is None:
                    await engine.start()
            for batcher in models.batchers.values():
                batcher.start()
                stack.push_async_callback(batcher.stop)
            yield

    app = FastAPI(
        title="bertsmith",
        version=version("bertsmith"),
        description="Models of bertsmith over HTTP.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"model": requests.FaultBody, "description": description}
            for status, description in (
                (400, "The model cannot answer this."),
                (401, "The key is missing or wrong."),
                (404, "There is no such model."),
                (408, "The body did not arrive in time."),
                (413, "The body is too large."),
                (415, "The body is not JSON."),
                (422, "The body does not fit."),
                (503, "The service is busy, the deadline passed, or the model is down."),
            )
        },
    )
    app.state.models = models
    _add_errors(app)
    endpoints = Endpoints(app, models, metrics, deadline_seconds=limits.seconds)
    add_pretrained(endpoints)
    add_tasks(endpoints)
    add_any(endpoints)
    _add_runs(app, runs)
    _add_health(app, models, registry)
    add_playground(app)
    return app


def _add_errors(app: FastAPI) -> None:
    def refused(request: Request, status: int, message: str, **headers: str) -> Response:
        body = fault_body(status, message, request.state.request_id)
        return Response(body, status, headers or None, "application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        more = f" ({len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        return refused(request, 422, f"{place}: {first['msg']}{more}.")

    @app.exception_handler(StarletteHTTPException)
    async def known(request: Request, error: StarletteHTTPException) -> Response:
        message = str(error.detail)
        if message == "Not Found":
            message = "There is nothing at this path."
        elif message == "There was an error parsing the body":
            message = "The body is not JSON in UTF-8."
        elif error.status_code == 405:
            message = f"{request.method} is not allowed at this path."
        return refused(request, error.status_code, message, **dict(error.headers or {}))

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> Response:
        seconds = str(max(1, round(error.seconds)))
        message = f"The service is busy; try again in {seconds} s."
        return refused(request, 503, message, **{"Retry-After": seconds})

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Unavailable) -> Response:
        return refused(request, 503, str(error), **{"Retry-After": "5"})

    @app.exception_handler(Expired)
    async def expired(request: Request, error: Expired) -> Response:
        message = "The deadline passed while the request waited; try again."
        return refused(request, 503, message, **{"Retry-After": "1"})


def _add_runs(app: FastAPI, roots: Sequence[Path]) -> None:
    @app.get("/v1/runs", name="runs", response_model=requests.Runs)
    async def names() -> Response:
        """The trainings below the folders of `--runs`, the latest first."""
        found = await asyncio.to_thread(list_runs, roots)
        return as_json({"object": "list", "data": found})

    @app.get("/v1/runs/{name:path}", name="run", response_model=requests.Run)
    async def curves(name: str) -> Response:
        """The curves of one training."""
        found = await asyncio.to_thread(read_run, roots, name)
        if found is None:
            raise HTTPException(404, f"There is no training {name!r} here.")
        return as_json(found)


def _add_health(app: FastAPI, models: Models, registry: CollectorRegistry) -> None:
    @app.get("/v1/models", name="models", response_model=requests.ServedModels)
    async def served() -> Response:
        """The served models, in OpenAI's shape, with what each can do."""
        rows = [
            {"object": "model", "owned_by": "bertsmith", **msgspec.to_builtins(model)}
            for model in models.served
        ]
        return as_json({"object": "list", "data": rows})

    @app.get("/healthz", name="health", response_model=requests.Health)
    async def health() -> Response:
        """Whether the process lives."""
        return as_json({"status": "ok"})

    @app.get(
        "/readyz",
        name="ready",
        response_model=requests.Readiness,
        responses={503: {"model": requests.Readiness, "description": "A model is down."}},
    )
    async def ready() -> Response:
        """Whether every model can answer."""
        down = {name: one.fault for name, one in models.batchers.items() if one.fault}
        return as_json({"status": "down" if down else "ok", "models": down}, 503 if down else 200)

    @app.get("/metrics", name="metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
