"""A real S3-compatible server on loopback (rclone's), behind a proxy that makes faults."""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

Fault = Literal["", "500", "slow", "cut", "drop"]
"""None; an error of the server; an answer after a second; one without its end; no answer."""

_KEY, _SECRET = "access", "secret"


@dataclass
class Server:
    """The store's files, and what goes wrong on the way to it."""

    folder: Path
    """Buckets, a folder each."""
    fault: Callable[[str, str, int], Fault] = lambda method, path, number: ""
    """What happens to a request, by method, path and its number among those alike, from 1."""
    requests: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    """How many there were, by method and path."""
    faults: "Counter[Fault]" = field(default_factory=Counter)

    def files(self, bucket: str) -> dict[str, bytes]:
        """What is stored."""
        root = self.folder / bucket
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Yields the server, which the environment names while the block runs."""
    (folder / "bucket").mkdir(parents=True)
    port = _free_port()
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}/usr/bin")
    assert program, "rclone is missing; install the extra dev"
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", os.devnull]
    command += ["--auth-key", f"{_KEY},{_SECRET}", "--no-cleanup", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    server = Server(folder)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server, port))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        _wait_for(port, process)
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
        }
        with pytest.MonkeyPatch.context() as changes:
            for name, value in environment.items():
                changes.setenv(name, value)
            yield server
    finally:
        proxy.shutdown()
        proxy.server_close()
        process.kill()
        process.wait()


def _handler(server: Server, port: int) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            with lock:
                server.requests[self.command, path] += 1
                fault = server.fault(self.command, path, server.requests[self.command, path])
                server.faults[fault] += 1
            if fault == "drop":
                self._hang_up()
                return
            if fault == "500":
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "slow":
                time.sleep(1)
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            behind.request(self.command, self.path, body, dict(self.headers.items()))
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            # rclone answers a range with 200, where S3 has 206.
            is_range = answer.getheader("Content-Range") is not None
            self.send_response_only(206 if is_range else answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            # The length of what a HEAD asks about is all that its answer says.
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if fault == "cut":
                data = data[: len(data) // 2]
            # The client may have lost its patience.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)
            if fault == "cut":
                self._hang_up()

        def _hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what matters is counted."""

    return Proxy


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + 120
    while True:
        assert process.poll() is None, "rclone ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < limit
        time.sleep(0.05)
