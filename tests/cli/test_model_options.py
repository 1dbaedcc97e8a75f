"""Every command that computes with a model takes a device and a precision."""

from pathlib import Path

import pytest

from bertsmith.cli.main import main

NAMES = {
    "fill": ("the [MASK] kind",),
    "next-sentence": ("the red kind", "a new"),
    "score": ("the red kind",),
    "embed": ("the red kind",),
    "inspect": ("the red kind", "--json"),
}


@pytest.mark.parametrize("command", NAMES)
def test_a_device_and_a_precision(
    command: str, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [command, str(small_model), *NAMES[command]]
    assert main(line) == 0
    usual = capsys.readouterr().out
    assert main([*line, "--device", "cpu", "--precision", "fp32"]) == 0
    assert capsys.readouterr().out == usual
    assert main([*line, "--device", "cuda:77"]) == 2
    assert "--device cuda:77: this machine has no such device" in capsys.readouterr().err
    assert main([*line, "--precision", "fp8"]) == 2
    assert "fp8" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "evaluate", "generate"])
def test_the_others_have_the_flags_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--device" in shown
    assert "--precision {auto,fp32,bf16}" in shown
