"""What the hardware can do: whether bf16 pays, and how many tokens fit at once."""

import contextlib
import functools
import math
from collections.abc import Iterator
from time import perf_counter
from typing import Literal

import torch

from bertsmith.core.errors import SystemFault, UsageError, option
from bertsmith.core.runtime import Precision

_BF16_GAIN = 1.1
"""Smallest size of a product at which bf16 pays for its conversions."""


def has_native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices itself.

    A CPU without AVX512-BF16 or AMX imitates bf16, eight times slower than fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@functools.cache
def bf16_is_faster(device: torch.device) -> bool:
    """Whether training should compute in bf16, where nobody says.

    Every GPU with bf16 gains by it. CPUs do not: one with AVX512-BF16 multiplied 1.7 times slower
    in bf16 than in fp32, others twice as fast (docs/log.md), so products of a feed-forward layer's
    size decide, a tenth of a second in all.
    """
    if device.type != "cpu" or not has_native_bf16(device):
        return has_native_bf16(device)
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    operands = {dtype: (torch.ones(2048, 512), torch.ones(512, 2048)) for dtype in seconds}
    # The first round warms up; the fastest of the others is disturbed least.
    for round_ in range(6):
        for dtype, (a, b) in operands.items():
            a, b = a.to(dtype), b.to(dtype)
            begin = perf_counter()
            a @ b
            spent = perf_counter() - begin
            if round_:
                seconds[dtype] = min(seconds[dtype], spent)
    return _BF16_GAIN * seconds[torch.bfloat16] < seconds[torch.float32]


@functools.cache
def matrix_rate(device: torch.device, precision: Literal["fp32", "bf16"]) -> float:
    """Floating-point operations a second of a plain matrix product, the fastest of some.

    It is what model FLOPs utilization (MFU) is reported as a part of: measured, because the peak of
    a data sheet is of another clock, and there is none for two cores of a shared machine.
    """
    size = 8192 if device.type == "cuda" else 512
    # Products of ones draw less power than those of a model, and so run at a higher clock.
    numbers = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    numbers = numbers.to(device, torch.float32 if precision == "fp32" else torch.bfloat16)
    seconds = math.inf
    for _ in range(6):
        begin = perf_counter()
        numbers @ numbers
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = min(seconds, perf_counter() - begin)
    return 2 * size**3 / seconds


_SMALLER_MODEL = f"use a smaller {option('size')}"


def choose_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolves `auto`: the faster one.

    Raises:
        UsageError: bf16 is demanded of hardware that would only imitate it.
    """
    if precision == "auto":
        return "bf16" if bf16_is_faster(device) else "fp32"
    if precision == "bf16" and not has_native_bf16(device):
        raise UsageError(
            f"{option('precision', 'bf16')}: this {device.type} has no bf16 arithmetic and would "
            f"be slower than in fp32; remove {option('precision')}."
        )
    return precision


def choose_micro_tokens(device: torch.device, *, bytes_per_token: int) -> int:
    """Tokens to compute at once when the user does not say.

    On CUDA as many as a third of the free memory holds, from 4,096 to 131,072, where training keeps
    `bytes_per_token` (the shape says so). On a CPU 4,096: activations of a block stay near the
    last-level cache, and the optimizer's and norm's passes are still rare.
    """
    if device.type != "cuda":
        return 4096
    free, _ = torch.cuda.mem_get_info(device)
    fitting = max(free // 3 // bytes_per_token, 1)
    return min(131072, max(4096, 1 << (int(fitting).bit_length() - 1)))


@contextlib.contextmanager
def explaining_memory(
    device: torch.device, micro_tokens: int, *, remedy: str = _SMALLER_MODEL
) -> Iterator[None]:
    """Around what trains: where memory runs out, says what to make smaller; `remedy`: what else.

    Raises:
        SystemFault: torch could not allocate what it needed.
    """
    try:
        yield
    except RuntimeError as error:
        # On a CPU torch has no class of its own for it.
        refused = isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not refused:
            raise
        raise SystemFault(
            f"Memory ran out on {device} with {micro_tokens:,} tokens computed at once; run the "
            f"same command with {option('resume', True)} and fewer, e.g. "
            f"{option('micro_tokens', micro_tokens // 2)}, or {remedy}."
        ) from error
