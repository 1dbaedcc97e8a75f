"""The paths under `/v1` that ask a model: one function each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from bertsmith.serving import requests
from bertsmith.serving.metrics import Metrics
from bertsmith.serving.models import Models
from bertsmith.serving.operations import Refused

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


class Endpoints:
    """An application, and the models that answer its requests."""

    def __init__(
        self, app: FastAPI, models: Models, metrics: Metrics, *, deadline_seconds: float
    ) -> None:
        self._app = app
        self._models = models
        self._metrics = metrics
        self._seconds = deadline_seconds

    def post(self, path: str, answer: type = requests.Results) -> Callable[[HandlerT], HandlerT]:
        """Registers a function for a path."""
        return self._app.post(f"/v1/{path}", response_model=answer, name=path)

    async def ask(
        self,
        request: Request,
        operation: str,
        body: requests.Body,
        values: Sequence[Any],
        **settings: Any,
    ) -> tuple[str, list[msgspec.Raw]]:
        """The name of the model that answers, and its answers.

        Raises:
            HTTPException: no model can answer, or it refuses an input.
            Busy, Expired, Unavailable: see `batching`.
        """
        name = self._models.named(body.model, operation)
        tokens = [estimated_tokens(value) for value in values]
        request.state.logged = {"model": name, "inputs": len(values), "tokens": sum(tokens)}
        batcher = self._models.batchers[name]
        with self._metrics.timed(operation, name):
            answers = await _unless_gone(
                request,
                batcher.submit(operation, values, settings, tokens=tokens, seconds=self._seconds),
            )
        for answer in answers:
            if isinstance(answer, Refused):
                raise HTTPException(400, answer.message)
        return name, [msgspec.Raw(answer) for answer in answers if isinstance(answer, bytes)]

    async def results(
        self,
        request: Request,
        operation: str,
        body: requests.Body,
        values: Sequence[Any],
        **settings: Any,
    ) -> Response:
        """The answers as `requests.Results`."""
        name, answers = await self.ask(request, operation, body, values, **settings)
        return as_json({"model": name, "results": answers})


def add_pretrained(to: Endpoints) -> None:
    """What pre-trained models answer."""

    @to.post("fill-mask")
    async def fill_mask(request: Request, body: requests.FillMask) -> Response:
        settings = {"top_k": body.top_k, "joint": body.joint}
        return await to.results(request, "fill-mask", body, _list(body.text), **settings)

    @to.post("next-sentence")
    async def next_sentence(request: Request, body: requests.NextSentence) -> Response:
        return await to.results(request, "next-sentence", body, [(body.text, body.text_b)])

    @to.post("log-likelihood")
    async def log_likelihood(request: Request, body: requests.LogLikelihood) -> Response:
        return await to.results(request, "log-likelihood", body, _list(body.text))

    @to.post("generate")
    async def generate(request: Request, body: requests.Generate) -> Response:
        settings = body.model_dump(exclude={"model", "text"})
        return await to.results(request, "generate", body, [body.text], **settings)

    @to.post("masks")
    async def masks(request: Request, body: requests.Masks) -> Response:
        settings = {"share": body.share, "seed": body.seed}
        return await to.results(request, "masks", body, [(body.text, body.text_b)], **settings)


def add_tasks(to: Endpoints) -> None:
    """What fine-tuned models answer."""

    @to.post("classify")
    async def classify(request: Request, body: requests.Classify) -> Response:
        texts = _list(body.text)
        if body.text_b is None:
            return await to.results(request, "classify", body, texts)
        others = _list(body.text_b)
        if len(texts) != len(others):
            raise HTTPException(422, f"text has {len(texts)} texts and text_b {len(others)}.")
        return await to.results(request, "classify", body, list(zip(texts, others, strict=True)))

    @to.post("multiple-choice")
    async def multiple_choice(request: Request, body: requests.MultipleChoice) -> Response:
        return await to.results(request, "multiple-choice", body, [(body.text, *body.choices)])

    @to.post("tokens")
    async def tokens(request: Request, body: requests.Tokens) -> Response:
        return await to.results(request, "tokens", body, _list(body.text))

    @to.post("answer")
    async def answer(request: Request, body: requests.Answer) -> Response:
        return await to.results(request, "answer", body, [(body.question, body.context)])


def add_any(to: Endpoints) -> None:
    """What every model answers."""

    @to.post("embeddings", requests.EmbeddingResults)
    async def embeddings(request: Request, body: requests.Embeddings) -> Response:
        settings = body.model_dump(exclude={"model", "input"})
        texts = _list(body.input)
        name, answers = await to.ask(request, "embeddings", body, texts, **settings)
        rows = [
            {"object": "embedding", "index": index, "embedding": answer}
            for index, answer in enumerate(answers)
        ]
        count = sum(map(estimated_tokens, texts))
        usage = {"prompt_tokens": count, "total_tokens": count}
        return as_json({"object": "list", "model": name, "data": rows, "usage": usage})

    @to.post("tokenize")
    async def tokenize(request: Request, body: requests.Tokenize) -> Response:
        return await to.results(request, "tokenize", body, _list(body.text))

    @to.post("inspect")
    async def inspect(request: Request, body: requests.Inspect) -> Response:
        pair = [(body.text, body.text_b)]
        return await to.results(request, "inspect", body, pair, top_k=body.top_k)


async def _unless_gone(
    request: Request, work: Awaitable[list[bytes | Refused]]
) -> list[bytes | Refused]:
    """The result of `work`, which is cancelled when the client goes."""
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise HTTPException(499, "The client has gone.")
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _list(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def estimated_tokens(value: Any) -> int:
    """About how many tokens an input has: a batch's size need not be exact, and counting costs."""
    if isinstance(value, str):
        wide = len(value.encode(errors="replace")) - len(value)
        return 2 + len(value) // 4 + wide // 2
    return sum(estimated_tokens(part) for part in value if part is not None)


def as_json(data: Any, status: int = 200) -> Response:
    """An answer."""
    return Response(msgspec.json.encode(data), status, media_type="application/json")
