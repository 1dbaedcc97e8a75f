"""Progress in a log, and numbers for people."""

import types

import pytest

from bertsmith.core import terminal
from bertsmith.core.terminal import Bar


def test_a_log_gets_a_line_every_fifteen_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 10.0, 16.0, 20.0, 40.0])
    monkeypatch.setattr(terminal, "time", types.SimpleNamespace(monotonic=lambda: next(times)))
    with Bar(read="bytes") as bar:
        for done in (0, 500, 1000, 1500):
            bar("read", done, 2000)
        bar("sort", 7, None)
    # Half of it in 15 seconds: the other half takes as long.
    assert capsys.readouterr().err.splitlines() == [
        "read:  50%  1,000 of 2,000 bytes  ETA 0:00:15",
        "sort: 7",
    ]
