"""What goes wrong under load: workers die, clients go, a signal comes, a folder is lost."""

import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from service_process import fault, post, results

TEXT = "the old [MASK] cold"
LONG = ["the old red cold " * 8] * 64


def _workers(service: Any) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children()


def test_a_killed_worker_is_started_again_and_a_lost_folder_is_said(
    start_service: Callable[..., Any], small_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_model, tmp_path / "mine")
    service = start_service([f"mine={tmp_path / 'mine'}"])
    before = results(service, "fill-mask", text=TEXT)
    _workers(service)[0].kill()
    assert results(service, "fill-mask", text=TEXT) == before
    assert 'bertsmith_worker_restarts{model="mine"} 1.0' in httpx.get(f"{service.url}/metrics").text
    shutil.rmtree(tmp_path / "mine")
    assert results(service, "fill-mask", text=TEXT) == before
    _workers(service)[0].kill()
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
    answers: list[int] = []

    def ask() -> None:
        answers.append(post(service, "log-likelihood", text=LONG).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    _until(lambda: _metric(service, "waiting_inputs") > 0)
    time.sleep(0.2)  # The last of the four has sent its body.
    service.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert answers == [200] * 4
    assert service.process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/healthz")


def test_a_worker_that_is_killed_under_load_costs_no_request(
    start_service: Callable[..., Any], small_model: Path
) -> None:
    service = start_service([small_model], workers=2)
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(post, service, "log-likelihood", text=LONG) for _ in range(24)]
        _until(lambda: _metric(service, "waiting_inputs") > 0)
        _workers(service)[0].kill()
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 24
    assert len({answer.text for answer in answers}) == 1
    assert _metric(service, "worker_restarts") == 1
    assert len(_workers(service)) == 2


def test_clients_that_have_gone_cost_nothing(
    start_service: Callable[..., Any], small_model: Path
) -> None:
    service = start_service([small_model])
    host, port = service.url.removeprefix("http://").split(":")
    body = b'{"text": "the old [MASK] cold"}'
    head = b"POST /v1/fill-mask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(post, service, "log-likelihood", text=LONG) for _ in range(2)]
        _until(lambda: _metric(service, "waiting_inputs") == 64)
        for _ in range(20):
            with socket.create_connection((host, int(port)), 30) as connection:
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        _until(lambda: sum('"status":499' in line.replace(" ", "") for line in service.log) == 20)
        assert [one.result().status_code for one in asked] == [200, 200]
    assert results(service, "fill-mask", text=TEXT)
    assert _metric(service, "batch_inputs_sum") == 2 * 64 + 1


def _metric(service: Any, name: str) -> float:
    """What Prometheus is told."""
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    found = re.search(rf'^bertsmith_{name}{{model="model"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _until(true: Callable[[], bool]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
