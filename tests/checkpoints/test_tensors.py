"""Safetensors files: modes and refusals of the system."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bertsmith.checkpoints.headers import read_header
from bertsmith.checkpoints.tensors import load_tensors, save_tensors
from bertsmith.core.errors import SystemFault


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_weights_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.ones(2)}, {})

    def refuse(self: Path, *rest: Any, **named: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    for read in (read_header, load_tensors):
        with pytest.raises(SystemFault, match=r"a\.safetensors: permission denied"):
            read(path)
