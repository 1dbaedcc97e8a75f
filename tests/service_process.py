"""A service in a process of its own, for tests that ask it over HTTP."""

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx


class Service:
    """A running service: its address, its process, what it logged."""

    def __init__(self, models: list[str], *, in_process: bool = False, **settings: Any) -> None:
        """`in_process`: without worker processes, see `in_process_engine`."""
        limits = settings.pop("limits", {})
        settings = {"threads": 1} | settings
        code = (
            "from pathlib import PosixPath\nfrom bertsmith.serving.models import Limits\n"
            "from bertsmith.serving.run import serve\n"
            f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
            + ("import in_process_engine; in_process_engine.use()\n" if in_process else "")
            + f"serve({models!r}, port=0, limits=Limits(**{limits!r}), **{settings!r})\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.log: list[str] = []
        self.url = ""
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.match(r"serving at (http://\S+)", line):
                self.url = found[1]
                break
        assert self.url, "".join(self.log)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.log.extend(self.process.stderr)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._reader.join(60)
        assert self.process.stderr
        self.process.stderr.close()


def post(service: Any, path: str, **body: Any) -> httpx.Response:
    """The answer to a request."""
    return httpx.post(f"{service.url}/v1/{path}", json=body, timeout=60)


def results(service: Any, path: str, **body: Any) -> Any:
    """What a request gets, which must succeed."""
    answer = post(service, path, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def fault(answer: httpx.Response) -> tuple[int, str]:
    """Status and message of an error."""
    found = answer.json()["error"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, found["message"]
