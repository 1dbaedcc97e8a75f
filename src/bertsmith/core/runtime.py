"""What a process runs on, without torch: seeds, cores, rank in the world.

Device and precision are chosen in `training/parallel`: `import torch` costs seconds.
"""

import ctypes
import hashlib
import os
import resource
import sys
from dataclasses import dataclass
from typing import Any, Literal

from bertsmith.core.errors import UsageError

Precision = Literal["auto", "fp32", "bf16"]
Engine = Literal["local", "ray"]
"""Where independent runs execute: in sequence on this machine, or in parallel on Ray."""


PageLanguage = Literal["en", "zh"]
"""Language of report pages."""


def page_language() -> PageLanguage:
    """The language of the locale if pages are available in it, otherwise English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.startswith("zh") else "en"
    return "en"


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of its parts, e.g. `(seed, "dropout", step)`.

    The hash is cryptographic, so neighbouring steps or seeds give unrelated streams.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class World:
    """Rank of this process in a distributed run, as set by `torchrun`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes on this machine."""
    local_size: int = 1
    """Number of processes on this machine."""
    timeout_seconds: int = 1800
    """How long a process waits for the others before it gives them up."""

    @property
    def first(self) -> bool:
        """Whether this process writes the files and prints messages."""
        return self.rank == 0

    @property
    def handover_seconds(self) -> float:
        """How long to wait for the processes before a restart, which may still be ending."""
        return 60.0 if self.size > 1 else 0.0


def world_from_environment() -> World:
    """Reads RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; a lone process is a world of one.

    BERTSMITH_TIMEOUT_SECONDS, which is the user's to set, says when a silent network is lost.

    Raises:
        UsageError: they are not numbers, or not a combination that `torchrun` sets.
    """
    size = _from_environment("WORLD_SIZE", 1, lowest=1)
    rank = _from_environment("RANK", 0, lowest=0)
    local_rank = _from_environment("LOCAL_RANK", 0, lowest=0)
    local_size = _from_environment("LOCAL_WORLD_SIZE", local_rank + 1, lowest=1)
    if rank >= size:
        raise UsageError(
            f"The environment says RANK={rank} of WORLD_SIZE={size}; start the processes with "
            "`torchrun`, or unset both to run a single process."
        )
    timeout = _from_environment("BERTSMITH_TIMEOUT_SECONDS", World.timeout_seconds, lowest=1)
    return World(rank, size, local_rank, local_size, timeout)


def _from_environment(name: str, default: int, *, lowest: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < lowest:
        raise UsageError(
            f"The environment variable {name} is '{text}', expected a number from {lowest} up; "
            "unset it, or start the processes with `torchrun`, which sets what they need."
        )
    return int(text)


def raise_open_file_limit() -> None:
    """Lets this process open as many files as the system lets it: a mapped one counts as open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def core_count() -> int:
    """Cores that this process may use (its affinity, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's names for what `mallopt` sets."""


def keep_freed_memory() -> None:
    """Makes the C library keep freed memory for later allocations.

    glibc gives back the end of its heap as soon as it is free. In training that is most of the
    gradients, in every step, and the kernel clears all their pages again in the next step: 6,000 of
    them, a twentieth of a step of MiniLM on a virtual machine.
    """
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # Where glibc's own choice ends after a while.


def return_freed_memory() -> None:
    """Returns freed memory that the C library still keeps to the system.

    Packed batches differ a little in size from step to step, and glibc's heap fragments over that:
    a small BERT on a CPU grew to ten times its live memory within some hundred steps.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def _c_function(name: str) -> Any:
    """A function of Linux's C library, or None if there is none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


SPIN_COUNT = "10000"
"""Spins on a lock before an idle thread sleeps: under a millisecond, see `share_cores`."""


def share_cores() -> None:
    """Lets idle threads sleep after a short spin, unless the user set a policy. Call before torch
    loads.

    GNU's OpenMP waits by spinning. Where anything else wants the cores, the threads of a matrix
    product then spin against each other and a step takes four times as long; threads that sleep at
    once must be woken hundreds of times in a step, which on idle cores takes nearly twice as long
    (docs/log.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
