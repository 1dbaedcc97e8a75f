"""What surrounds every request, without a network."""

import asyncio
import json
from typing import Any

from bertsmith.serving.middleware import Guard


async def _ask(guard: Guard, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer to a GET."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await guard(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_more_than_enough_requests_at_once_are_refused_before_they_are_read() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] != "/healthz":
                await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        guard = Guard(app, api_key=None, max_body=10, body_seconds=1, at_once=2)
        running = [asyncio.create_task(_ask(guard, "/v1/models")) for _ in range(2)]
        await asyncio.sleep(0.01)
        status, headers, body = await _ask(guard, "/v1/models")
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert "busy" in json.loads(body)["error"]["message"]
        assert (await _ask(guard, "/healthz"))[0] == 200
        go.set()
        assert [(await one)[2] for one in running] == [b"done", b"done"]
        assert (await _ask(guard, "/v1/models"))[0] == 200

    asyncio.run(scenario())
