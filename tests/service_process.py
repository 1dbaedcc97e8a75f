"""A service in a process of its own, for tests that ask it over HTTP."""

import re
import subprocess
import sys
import threading
from typing import Any


class Service:
    """A running service: its address, its process, what it logged."""

    def __init__(self, models: list[str], **settings: Any) -> None:
        limits = settings.pop("limits", {})
        code = (
            "from pathlib import PosixPath\nfrom bertsmith.serving.models import Limits\n"
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
        self._reader.join(60)
        assert self.process.stderr
        self.process.stderr.close()
