"""How a run uses its hardware, applied to a model from outside and in one order.

1. *Processes*: `torchrun` says how many; each joins the others and takes its device.
2. *Device*: the model moves there.
3. *Precision*: weights stay fp32; forward passes run under bf16 autocast where hardware has bf16.
4. *Compile*: the repeated blocks, on CUDA only (on a CPU it gains nothing in training).
5. *DDP*, or *FSDP2* where the weights are to be sharded, last, so that its hooks see the parameters
   in their final place.

Nothing inside a model knows of any of this.
"""

import contextlib
import copy
import warnings
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bertsmith.training.parallel import sharding
from bertsmith.training.parallel.place import Place

ModelT = TypeVar("ModelT", bound=nn.Module)


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


class Losses(nn.Module):
    """`model.losses` as a forward pass, which is what DDP and its hooks attach to."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of the losses, scalar each, by the keys of `batch.counts`."""
        losses: dict[str, Tensor] = self.model.losses(batch)  # type: ignore[operator]
        return losses


class Parallel(Generic[ModelT]):
    """A model on its place: call it on a micro-batch for the sums of its losses."""

    def __init__(self, model: ModelT, place: Place, *, shard: bool = False) -> None:
        """Applies steps 2 to 5 of the order above, in place.

        With `shard`, and more than one process, `model` computes as usual inside `gathered` only,
        and is read from `whole_model`.
        """
        self.model = model
        self.place = place
        self.sharded = shard and place.world.size > 1
        # Only DDP has something to settle.
        self._settled = place.world.size == 1 or self.sharded
        # Before anything is done to it.
        self._whole = copy.deepcopy(model) if self.sharded and place.world.first else model
        if place.device.type == "cuda":
            compile_blocks(model)
        self._losses: nn.Module = Losses(model)
        if self.sharded:
            # On the way to the device, block by block: the whole model need not fit there.
            sharding.shard(model)
            return
        model.to(place.device)
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

    def gathered(self) -> AbstractContextManager[None]:
        """Around what evaluates the model outside of a training step, in every process."""
        return sharding.gathered(self.model) if self.sharded else contextlib.nullcontext()

    def whole_model(self) -> ModelT:
        """The model for the first process to write; called by every process.

        Of a sharded one it is a copy in the first process's main memory.
        """
        if self.sharded:
            copies = dict(self._whole.named_parameters()) if self.place.world.first else {}
            for name, parameter in self.model.named_parameters():
                values = sharding.whole(parameter.detach())
                if name in copies:
                    copies[name].data.copy_(values)
        return self._whole

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
