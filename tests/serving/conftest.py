"""Services for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service_process import Service


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
