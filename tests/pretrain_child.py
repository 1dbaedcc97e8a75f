"""What processes started by `test_pretrain.py` run; a module, so that they can import it."""

import os
from pathlib import Path

import torch

from bertsmith import pretrain
from bertsmith.config import PretrainConfig


def run(config: PretrainConfig, out: Path, environment: dict[str, str]) -> None:
    """Pre-trains in silence, resuming what is there."""
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    pretrain.run(config, out, resume=True)
