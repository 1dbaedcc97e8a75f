"""A service in a process of its own."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Service:
    """A running service: its address, its process, what it logged."""

    def __init__(self, models: list[str], **settings: Any) -> None:
        limits = settings.pop("limits", {})
        code = (
            "import sys\nfrom pathlib import Path\nfrom bertsmith.serving.models import Limits\n"
            "from bertsmith.serving.run import serve\n"
            f"serve({models!r}, port=0, threads=1, limits=Limits(**{limits!r}), **{settings!r})\n"
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
        self._reader.join(10)


@pytest.fixture
def start_service() -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(models: list[Path] | list[str], **settings: Any) -> Service:
        running.append(Service([str(model) for model in models], **settings))
        return running[-1]

    yield start
    for service in running:
        service.stop()


@pytest.fixture(scope="module")
def service(small_model: Path) -> Iterator[Service]:
    """The small pre-trained model under its folder's name, `model`."""
    running = Service([str(small_model)])
    yield running
    running.stop()
