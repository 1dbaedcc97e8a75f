"""`bertsmith serve`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.command import MODEL, Command, Result
from bertsmith.cli.options import flag, word
from bertsmith.core.runtime import Precision


@dataclass(kw_only=True)
class Serve(Command):
    """Serve models over HTTP, with a playground at /."""

    examples = ("serve", "serve tiny-en reviews=runs/reviews --port 8000")

    models: tuple[str, ...] = word(
        f"{MODEL} NAME=MODEL serves it under another name. Default: the models of the package.",
        metavar="MODEL...",
        default=(),
    )
    host: str = flag(
        "Address to listen on; 0.0.0.0 opens it to the network.",
        group="Serving",
        default="127.0.0.1",
    )
    port: int = flag("Port to listen on; 0 takes a free one.", group="Serving", default=8000)
    key_file: Path | None = flag(
        "File with the key that requests must bring (or BERTSMITH_API_KEY).",
        group="Serving",
        default=None,
    )
    timeout: float = flag("Seconds until a request's deadline.", group="Serving", default=30.0)
    threads: int = flag("Cores that each model computes with; 0: all.", group="Serving", default=0)
    workers: int = flag(
        "Processes of each model; 0: as many as there are cores for, at most 4.",
        group="Serving",
        default=0,
    )
    precision: Precision = flag(
        "auto: fp32; bf16 is faster on hardware that has it, and answers change slightly.",
        group="Serving",
        default="fp32",
    )
    runs: Path | None = flag(
        "Folder of trainings whose curves the playground draws.", group="Serving", default=None
    )

    def run(self) -> Result:
        """Serves until a signal."""
        from bertsmith.checkpoints.sources import STARTERS
        from bertsmith.core.extras import require

        for module in ("fastapi", "uvicorn", "prometheus_client"):
            require(module, extra="serve", purpose="Serving models")
        from bertsmith.serving.models import Limits
        from bertsmith.serving.run import serve

        serve(
            self.models or tuple(STARTERS),
            host=self.host,
            port=self.port,
            key_file=self.key_file,
            threads=self.threads,
            workers=self.workers,
            precision=self.precision,
            runs=() if self.runs is None else (self.runs,),
            limits=Limits(seconds=self.timeout),
        )
        return Result({}, "")
