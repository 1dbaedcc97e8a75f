"""Where a process computes: its rank, its device, and what all processes agree on."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from bertsmith.core.errors import RESUME, BertsmithError, SystemFault, UsageError
from bertsmith.core.runtime import Precision, World, world_from_environment
from bertsmith.training.parallel.precision import choose_precision

T = TypeVar("T")


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

    def together(self, action: Callable[[], object]) -> None:
        """Every process acts; where one fails, all fail with its error."""
        failure: BertsmithError | None = None
        try:
            action()
        except BertsmithError as error:
            failure = error
        messages = [None if failure is None else failure.message] * self.world.size
        if self.world.size > 1:
            dist.all_gather_object(messages, messages[0])
        if failure is not None:
            raise failure
        for message in messages:
            if message is not None:
                raise BertsmithError(message)


@contextlib.contextmanager
def join(precision: Precision) -> Iterator[Place]:
    """Joins the processes that `torchrun` started (or none) and yields this one's place.

    Raises:
        UsageError: bf16 is demanded of hardware that would only imitate it, there are more
            processes than GPUs, or the environment is none that `torchrun` makes.
        SystemFault: another process ended, or the network to it did.
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
    timeout = timedelta(seconds=world.timeout_seconds)
    with _explained_loss():
        store, rank, size = next(iter(rendezvous("env://", timeout=timeout)))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # Keys of an attempt that was killed stay in the launcher's store; the next attempt must
            # not read them, or gloo connects to processes that are gone and hangs. Without that
            # store (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1) every attempt has one of its own, and
            # machines need not have counted the same number of attempts.
            attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
            store = PrefixStore(f"bertsmith/attempt-{attempt}", store)
        backend = "nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        try:
            # All compute alike, whatever each has measured.
            yield dataclasses.replace(place, precision=place.first_decides(lambda: place.precision))
        finally:
            dist.destroy_process_group()


@contextlib.contextmanager
def _explained_loss() -> Iterator[None]:
    """Around everything that processes do together.

    Raises:
        SystemFault: another process ended, or the network to it did.
    """
    try:
        yield
    except RuntimeError as error:
        # What gloo raises has no class of its own.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise SystemFault(
            "The connection to another process of this run was lost. What it had saved is kept: "
            f"run the same command with {RESUME}; `torchrun --max-restarts 10` does so by itself."
        ) from error
