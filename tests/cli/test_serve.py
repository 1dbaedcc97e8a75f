"""`bertsmith serve`: the extra that it needs."""

import sys

import pytest

from bertsmith.cli.main import main


def test_serve_without_its_extra_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "tiny-en"]) == 2
    assert "bertsmith[serve]" in capsys.readouterr().err
