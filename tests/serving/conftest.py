"""Services for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_models import write_models, write_run
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


@pytest.fixture(scope="session")
def every_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, list[str]]]:
    """One of every family and kind, with two trainings to draw; and what it was told to serve."""
    root = tmp_path_factory.mktemp("served")
    models = write_models(root)
    write_run(root / "runs" / "done", finished=True)
    write_run(root / "runs" / "going", finished=False)
    running = Service(models, in_process=True, runs=[root / "runs"])
    yield running, models
    running.stop()


@pytest.fixture(scope="module")
def service(small_model: Path) -> Iterator[Service]:
    """The small pre-trained model under its folder's name, `model`."""
    running = Service([str(small_model)])
    yield running
    running.stop()
