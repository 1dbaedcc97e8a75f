"""The HTTP service: answers equal to the model's, and faults with status and message."""

import base64
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from bertsmith.inference.predictor import Model

TEXT = "the old [MASK] cold"


def post(service: Any, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/{path}", json=body, timeout=60)


def results(service: Any, path: str, **body: Any) -> Any:
    answer = post(service, path, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def fault(answer: httpx.Response) -> tuple[int, str]:
    found = answer.json()["error"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, found["message"]


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
    answer = _raw(service, head + b"Content-Length: 100\r\n\r\n{")
    assert b"408" in answer.split(b"\r\n")[0]
    chunk = b"5dc\r\n" + b"x" * 1500 + b"\r\n"
    answer = _raw(service, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    assert b"413" in answer.split(b"\r\n")[0]
    assert results(service, "fill-mask", text=TEXT)


def test_a_key_opens_the_service(
    start_service: Callable[..., Any], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTSMITH_API_KEY", "correct horse")
    service = start_service([small_model])
    assert fault(post(service, "fill-mask", text=TEXT))[0] == 401
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    for key, status in (("wrong", 401), ("correct horse", 200)):
        answer = httpx.post(
            f"{service.url}/v1/fill-mask",
            json={"text": TEXT},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        assert answer.status_code == status


def _worker(service: Any) -> psutil.Process:
    [worker] = psutil.Process(service.process.pid).children()
    return worker


def test_a_killed_worker_is_started_again_and_a_lost_folder_is_said(
    start_service: Callable[..., Any], small_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_model, tmp_path / "mine")
    service = start_service([f"mine={tmp_path / 'mine'}"])
    before = results(service, "fill-mask", text=TEXT)
    _worker(service).kill()
    assert results(service, "fill-mask", text=TEXT) == before
    assert 'bertsmith_worker_restarts{model="mine"} 1.0' in httpx.get(f"{service.url}/metrics").text
    shutil.rmtree(tmp_path / "mine")
    assert results(service, "fill-mask", text=TEXT) == before
    _worker(service).kill()
    answer = post(service, "fill-mask", text=TEXT)
    status, message = fault(answer)
    assert status == 503
    assert answer.headers["retry-after"] == "5"
    assert "mine is down" in message
    ready = httpx.get(f"{service.url}/readyz")
    assert ready.status_code == 503
    assert "mine" in ready.json()["models"]
    shutil.copytree(small_model, tmp_path / "mine")
    assert results(service, "fill-mask", text=TEXT) == before
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_a_signal_loses_no_accepted_request(
    start_service: Callable[..., Any], small_model: Path
) -> None:
    service = start_service([small_model])
    texts = ["the old red cold " * 8] * 64
    answers: list[int] = []

    def ask() -> None:
        answers.append(post(service, "log-likelihood", text=texts).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while "bertsmith_waiting_inputs" not in (text := httpx.get(f"{service.url}/metrics").text) or (
        'waiting_inputs{model="model"} 0.0' in text
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)  # The last of the four has sent its body.
    service.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert answers == [200] * 4
    assert service.process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/healthz")
