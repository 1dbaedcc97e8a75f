"""How a run uses its hardware, applied to a model from outside and in one order.

1. *Processes*: `torchrun` says how many; each joins the others and takes its device.
2. *Device*: the model moves there.
3. *Precision*: weights stay fp32; forward passes run under bf16 autocast where hardware has bf16.
4. *Compile*: the repeated blocks, on CUDA only (on a CPU it gains nothing in training).
5. *DDP*, last, so that its hooks see the parameters in their final place.

Nothing inside a model knows of any of this.
"""

import contextlib
import dataclasses
import functools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from bertsmith.core.errors import BertsmithError, SystemFault, UsageError, option
from bertsmith.core.runtime import Precision, World, world_from_environment

T = TypeVar("T")


class Batch(Protocol):
    """What the loop asks of a micro-batch."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of predictions by objective."""

    @property
    def tokens(self) -> int:
        """Real tokens."""

    def to(self, device: torch.device) -> Self:
        """The same on `device`."""


@dataclass(frozen=True)
class Place:
    """Where this process computes, and its connection to the others."""

    world: World
    device: torch.device
    precision: Literal["fp32", "bf16"]

    def autocast(self) -> AbstractContextManager[Any]:
        """Around every forward pass."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def seed(self, number: int) -> None:
        """Seeds the default generators that a forward pass here draws from.

        Without a GPU `torch.manual_seed` also queues a call for each, with a stack trace: 2 ms, and
        the queue only grows.
        """
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def total(self, values: Sequence[float]) -> list[float]:
        """Element-wise sums over all processes, exact for whole numbers below 2**53."""
        if self.world.size == 1:
            return list(values)
        row = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(row)
        return [float(value) for value in row.tolist()]

    def total_tensor(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over all processes."""
        if self.world.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def first_decides(self, action: Callable[[], T]) -> T:
        """The first process acts; every process gets its answer, or fails with its error."""
        if self.world.size == 1:
            return action()
        answer: list[Any] = [None, None]
        failure: BertsmithError | None = None
        if self.world.first:
            try:
                answer[0] = action()
            except BertsmithError as error:
                failure = error
                answer[1] = error.message
        dist.broadcast_object_list(answer, src=0)
        if failure is not None:
            raise failure
        if answer[1] is not None:
            raise BertsmithError(answer[1])
        value: T = answer[0]
        return value


@contextlib.contextmanager
def join(precision: Precision) -> Iterator[Place]:
    """Joins the processes that `torchrun` started (or none) and yields this one's place.

    Raises:
        UsageError: bf16 is demanded of hardware that would only imitate it, there are more
            processes than GPUs, or the environment is none that `torchrun` makes.
    """
    world = world_from_environment()
    cuda = torch.cuda.is_available()
    if cuda and world.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{world.local_size} processes were started on this machine, which has "
            f"{torch.cuda.device_count()} GPU(s), and each process needs one; use torchrun "
            f"--nproc-per-node {torch.cuda.device_count()}."
        )
    device = torch.device("cuda", world.local_rank) if cuda else torch.device("cpu")
    place = Place(world, device, choose_precision(precision, device))
    if cuda:
        torch.cuda.set_device(device)
    if world.size == 1:
        yield place
        return
    store, rank, size = next(iter(rendezvous("env://")))
    # Keys of an attempt that was killed stay in the launcher's store; the next attempt must not
    # read them, or gloo connects to processes that are gone and hangs.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"bertsmith/attempt-{attempt}", store)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=size)
    try:
        # All compute alike, whatever each has measured.
        yield dataclasses.replace(place, precision=place.first_decides(lambda: place.precision))
    finally:
        dist.destroy_process_group()


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


class Losses(nn.Module):
    """`model.losses` as a forward pass, which is what DDP and its hooks attach to."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of the losses, scalar each, by the keys of `batch.counts`."""
        losses: dict[str, Tensor] = self.model.losses(batch)  # type: ignore[operator]
        return losses


class Parallel:
    """A model on its place: call it on a micro-batch for the sums of its losses."""

    def __init__(self, model: nn.Module, place: Place) -> None:
        """Applies steps 2 to 5 of the order above; `model` itself stays usable and unwrapped."""
        self.model = model.to(place.device)
        self.place = place
        self._settled = place.world.size == 1
        if place.device.type == "cuda":
            compile_blocks(model)
        self._losses: nn.Module = Losses(model)
        if place.world.size > 1:
            with warnings.catch_warnings():
                # Newer versions of torch call the argument by another name, which older ones lack.
                warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
                self._losses = DistributedDataParallel(
                    self._losses, gradient_as_bucket_view=True, broadcast_buffers=False
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the process group, which `join` is about to end.

        DDP's reducer must not be its last owner: Python would free it with the interpreter's lock
        held, while gloo's threads, which that waits for, may need the lock to free a tensor: 3 of
        22 runs of two processes hung at their end, with this none of 142.
        """
        if isinstance(self._losses, DistributedDataParallel):
            del self._losses.logger, self._losses.reducer

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Forward pass of a micro-batch: the sums of its losses, by the keys of `batch.counts`."""
        with self.place.autocast():
            losses: dict[str, Tensor] = self._losses(batch)
        return losses

    def exchange(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass: only the `last` micro-batch's exchanges gradients."""
        if last or not isinstance(self._losses, DistributedDataParallel):
            return contextlib.nullcontext()
        hold: AbstractContextManager[Any] = self._losses.no_sync()
        return hold

    def settle(self, batch: Batch) -> None:
        """Before the first step, runs a forward and backward pass and throws the gradients away.

        DDP lays out its buckets anew after its first exchange, by the order in which gradients
        arrive, and with more than two processes the layout decides the order of sums. After this
        pass the layout is final, so a resumed run adds in the same order as one never stopped
        (on CPUs to the same bits; some CUDA kernels add in another order every time).
        """
        if self._settled:
            return
        self._settled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses = self.losses(batch.to(self.place.device))
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
        self.model.zero_grad(set_to_none=True)


def compile_blocks(model: nn.Module) -> None:
    """Compiles each repeated block in place; equal blocks share one compilation."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile(dynamic=True)
