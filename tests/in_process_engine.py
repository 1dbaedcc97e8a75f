"""An engine without a worker process: for tests of the service that are not about workers."""

from bertsmith.serving import models
from bertsmith.serving.engine import Engine
from bertsmith.serving.operations import Batch, Load, Loaded, Refused, Served


class InProcessEngine(Engine):
    """Computes in the event loop, so that many models cost one process."""

    async def start(self) -> Served:
        load = Load(self.source.name, self.source.folder, precision="fp32", cores=1, share=1)
        self._loaded = Loaded(load)
        self.served = self._loaded.served
        return self.served

    async def answer(self, batch: Batch) -> list[bytes | Refused]:
        return self._loaded.answer(batch)


def use() -> None:
    """Makes the services of this process use it."""
    vars(models)["Engine"] = InProcessEngine
