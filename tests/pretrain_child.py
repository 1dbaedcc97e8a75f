"""What processes started by `test_pretrain.py` run; a module, so that they can import it."""

import faulthandler
import os
from pathlib import Path

import torch

from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import PretrainConfig


def run(config: PretrainConfig, out: Path, environment: dict[str, str]) -> None:
    """Pre-trains, resuming what is there; says on `<out>.<pid>.log` what it has to say."""
    os.environ.update(environment)
    log = os.open(f"{out}.{os.getpid()}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    # A test that waits in vain shows where.
    faulthandler.dump_traceback_later(60, exit=True)
    torch.set_num_threads(1)
    pretrain.run(config, out, resume=True)
