"""What surrounds every request: its id, the limits on its body, the key, the access log."""

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

access = logging.getLogger("bertsmith.access")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""That need no key: a load balancer asks them."""


def fault_body(status: int, message: str, request_id: str) -> bytes:
    """The JSON of every error."""
    kinds = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}
    kinds |= {408: "timeout", 413: "too_large", 415: "not_json", 422: "invalid"}
    kinds |= {503: "unavailable"}
    fault = {"message": message, "type": kinds.get(status, "error"), "request_id": request_id}
    return msgspec.json.encode({"error": fault})


class Guard:
    """The outermost layer of the service."""

    def __init__(
        self, app: App, *, api_key: str | None, max_body: int, body_seconds: float, at_once: int
    ) -> None:
        """`max_body`: bytes; `body_seconds`: in which a body must arrive; `at_once`: requests."""
        self._app = app
        self._api_key = None if api_key is None else api_key.encode()
        self._max_body = max_body
        self._body_seconds = body_seconds
        self._at_once = at_once
        self._running = 0
        self._too_large = f"The body is larger than {max_body:,} bytes."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, send)
        self._running += 1
        try:
            if (refused := self._refused(scope, request)) is not None:
                await request.refuse(*refused)
                return
            await self._app(scope, self._limited(receive), request.send)
        finally:
            self._running -= 1
            request.log()

    def _refused(self, scope: Scope, request: "_Request") -> tuple[int, str] | None:
        if self._running > self._at_once and scope["path"] not in OPEN_PATHS:
            # Before its body is read: a refusal must cost less than an answer.
            return 503, "The service is busy; try again in 1 s."
        length = request.header(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._max_body:
            return 413, self._too_large
        kind = (request.header(b"content-type") or b"").split(b";")[0].strip().lower()
        # A page of another site can send forms and plain text to this address, but no JSON.
        if scope["method"] == "POST" and kind != b"application/json":
            return 415, "Send JSON, with the header Content-Type: application/json."
        if self._api_key is None or not scope["path"].startswith(("/v1", "/metrics")):
            return None
        given = request.header(b"authorization") or b""
        if hmac.compare_digest(given, b"Bearer " + self._api_key):
            return None
        return 401, "Send the key in the header: Authorization: Bearer KEY."

    def _limited(self, receive: Receive) -> Receive:
        received, whole = 0, False
        deadline = time.monotonic() + self._body_seconds

        async def limited() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                slow = f"The body did not arrive in {self._body_seconds:g} s."
                raise HTTPException(408, slow) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            if received > self._max_body:
                raise HTTPException(413, self._too_large)
            return message

        return limited


class _Request:
    """One request: its id, and what the log says of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._begin = time.monotonic()
        self._status = 0
        self.id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self._scope["headers"] if key == name), None)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)

    async def refuse(self, status: int, message: str) -> None:
        if self._status:  # The answer has begun; its end tells the client.
            return
        body = fault_body(status, message, self.id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            # What is left of the body is not read.
            (b"connection", b"close"),
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def log(self) -> None:
        if not access.isEnabledFor(logging.INFO):
            return
        line = {
            "time": round(time.time(), 3),
            "request_id": self.id,
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": self._status or 499,  # The client has gone.
            "milliseconds": round(1000 * (time.monotonic() - self._begin), 2),
            **self._scope["state"].get("logged", {}),
        }
        access.info(json.dumps(line, ensure_ascii=True))
