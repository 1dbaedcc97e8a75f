"""The scripts of `runs/`: shells read them, and the commands in them are commands."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bertsmith.cli.main import COMMANDS
from bertsmith.cli.parser import parse, recognise
from bertsmith.cli.pretrain import Pretrain

RUNS = Path(__file__).parents[1] / "runs"
MANIFESTS = {"pretrain.yaml": ["Service", "Job"], "sweep.yaml": ["RayJob"]}


@pytest.mark.parametrize("script", sorted(RUNS.glob("*.sh")), ids=lambda path: path.name)
def test_a_shell_reads_every_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((RUNS / "kuberay" / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_of_the_kinds_that_they_say(name: str) -> None:
    assert [document["kind"] for document in documents(name)] == MANIFESTS[name]


def test_the_job_of_kubernetes_calls_a_command_that_there_is() -> None:
    _, job = documents("pretrain.yaml")
    [worker] = job["spec"]["template"]["spec"]["containers"]
    words = worker["args"]
    command = parse(recognise(COMMANDS, words[words.index("bertsmith") + 1 :]))
    assert isinstance(command, Pretrain)
    assert command.size == "base"
    assert command.steps == 250_000
    assert command.resume
    assert str(command.out).startswith(worker["volumeMounts"][0]["mountPath"])
    # The first pod, which the others look for, is of this job and of this service.
    service, _ = documents("pretrain.yaml")
    name = job["metadata"]["name"]
    assert f"--rdzv-endpoint={name}-0.{service['metadata']['name']}:29400" in words
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
