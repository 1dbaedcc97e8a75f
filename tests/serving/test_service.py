"""The HTTP service: answers equal to the model's, and faults with status and message."""

import base64
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_process import fault, post, results

from bertsmith.inference.predictor import Model

TEXT = "the old [MASK] cold"


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return Model(small_model)


def test_masks_are_filled_as_the_model_fills_them(service: Any, model: Model) -> None:
    [one, two] = results(service, "fill-mask", text=[TEXT, "a [MASK] ."], top_k=3)
    expected = model.fill_mask(TEXT, top_k=3).blanks[0].candidates
    got = one["blanks"][0]["candidates"]
    assert [guess["token"] for guess in got] == [guess.token for guess in expected]
    assert [guess["probability"] for guess in got] == pytest.approx(
        [guess.probability for guess in expected], abs=1e-5
    )
    assert len(two["blanks"][0]["candidates"]) == 3


def test_pairs_vectors_and_likelihoods_are_the_models(service: Any, model: Model) -> None:
    [found] = results(service, "next-sentence", text="the old", text_b="a red")
    assert found["probability"] == pytest.approx(model.next_sentence("the old", "a red"), abs=1e-5)
    [scored] = results(service, "log-likelihood", text="the old red")
    assert scored["totals"] == pytest.approx(
        model.log_likelihood(["the old red"])[0].totals, abs=1e-4
    )
    texts = ["the old red cold", "a new"]
    expected = model.embed(texts)
    answer = post(service, "embeddings", input=texts).json()
    rows = [row["embedding"] for row in answer["data"]]
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    packed = post(service, "embeddings", input=texts, encoding_format="base64", user="x").json()
    for row, vector in zip(packed["data"], expected, strict=True):
        decoded = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
        np.testing.assert_allclose(decoded, vector, atol=1e-5)
    [scaled] = post(service, "embeddings", input="a new", normalize=True).json()["data"]
    assert np.linalg.norm(scaled["embedding"]) == pytest.approx(1, abs=1e-5)


def test_a_text_is_shown_as_the_model_reads_it(service: Any) -> None:
    [found] = results(service, "tokenize", text="the [MASK]")
    assert found["tokens"] == ["[CLS]", "the", "[MASK]", "[SEP]"]
    assert found["offsets"] == [[0, 0], [0, 3], [4, 10], [0, 0]]
    [inside] = results(service, "inspect", text="the old", text_b="a red")
    assert [token["segment"] for token in inside["tokens"]] == [0] * 4 + [1] * 3
    assert np.array(inside["attention"]).shape == (2, 2, 7, 7)


def test_what_is_served_is_listed(service: Any) -> None:
    [row] = httpx.get(f"{service.url}/v1/models").json()["data"]
    assert row["id"] == "model"
    assert row["objective"] == "masked"
    assert "fill-mask" in row["operations"]
    assert "generate" not in row["operations"]
    assert httpx.get(f"{service.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    assert {f"/v1/{path}" for path in row["operations"]} <= paths.keys()
    results(service, "tokenize", text="the")
    counted = httpx.get(f"{service.url}/metrics").text
    labels = 'model="model",operation="tokenize",outcome="ok"'
    assert f"bertsmith_request_seconds_count{{{labels}}}" in counted


BODIES = {
    "no JSON": (b"{", 422, "JSON"),
    "not UTF-8": (b'{"text": "\xff"}', 400, "UTF-8"),
    "a list": (b"[]", 422, "body"),
    "nothing": (b"", 422, "body"),
    "another field": (b'{"text": "a [MASK]", "txet": 1}', 422, "txet"),
    "a number": (b'{"text": 5}', 422, "text"),
    "a lone surrogate": (b'{"text": "\\ud800 [MASK]"}', 422, "text"),
    "no mask": (b'{"text": "the old"}', 400, "[MASK]"),
    "too long": (b'{"text": "' + b"old " * 25_000 + b'[MASK]"}', 400, "tokens"),
    "many": (b'{"text": "a [MASK]", "top_k": 101}', 422, "top_k"),
    "no model": (b'{"text": "a [MASK]", "model": "x"}', 404, "'x'"),
    "no texts": (b'{"text": []}', 422, "text"),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_bad_body_is_refused_with_what_is_wrong(service: Any, what: str) -> None:
    body, status, said = BODIES[what]
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{service.url}/v1/fill-mask", content=body, headers=headers, timeout=60)
    got, message = fault(answer)
    assert got == status, message
    assert said in message
    assert "Traceback" not in "".join(service.log)


def test_nul_and_odd_characters_are_text(service: Any) -> None:
    [found] = results(service, "fill-mask", text="a \x00 [MASK] \u200b\U0001f600", top_k=1)
    assert len(found["blanks"]) == 1


def test_what_the_model_cannot_do_names_what_it_can(service: Any) -> None:
    status, message = fault(post(service, "generate", text="a", model="model"))
    assert status == 400
    assert "/v1/fill-mask" in message
    status, message = fault(post(service, "classify", text="a"))
    assert status == 400
    status, message = fault(httpx.get(f"{service.url}/v1/fill-mask"))
    assert status == 405
    status, message = fault(httpx.get(f"{service.url}/nothing"))
    assert status == 404
    status, message = fault(httpx.post(f"{service.url}/v1/fill-mask", data={"text": TEXT}))
    assert status == 415
    assert "application/json" in message


def test_no_text_reaches_the_log(service: Any) -> None:
    results(service, "fill-mask", text="secret [MASK] words")
    deadline = time.monotonic() + 30
    while not any('"/v1/fill-mask"' in line for line in service.log[-3:]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "secret" not in "".join(service.log)


def _raw(service: Any, request: bytes) -> bytes:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_bodies_and_headers_that_are_too_large_or_too_slow(
    start_service: Callable[..., Any], small_model: Path
) -> None:
    service = start_service([small_model], limits={"max_body": 2000, "body_seconds": 0.5})
    status, message = fault(post(service, "fill-mask", text="x" * 3000))
    assert status == 413
    assert "2,000 bytes" in message
    head = b"POST /v1/fill-mask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for late, what in ((head, b"headers"), (head + b"Content-Length: 100\r\n\r\n{", b"body")):
        answer = _raw(service, late)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"The " + what + b" did not arrive in 0.5 s." in answer
    chunk = b"5dc\r\n" + b"x" * 1500 + b"\r\n"
    answer = _raw(service, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    assert b"413" in answer.split(b"\r\n")[0]
    huge = b"Content-Length: 100000000\r\n\r\n" + b"x" * 5000
    answer = _raw(service, head + huge)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"2,000 bytes" in answer
    assert results(service, "fill-mask", text=TEXT)


def test_a_key_opens_the_service(
    start_service: Callable[..., Any], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTSMITH_API_KEY", "correct horse")
    service = start_service([small_model])
    status, message = fault(post(service, "fill-mask", text=TEXT))
    assert status == 401
    assert "Authorization: Bearer KEY" in message
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    for key, status in (("wrong", 401), ("correct horse", 200)):
        answer = httpx.post(
            f"{service.url}/v1/fill-mask",
            json={"text": TEXT},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        assert answer.status_code == status
