"""`bertsmith bench`."""

from dataclasses import dataclass

from bertsmith.cli.command import MODEL, Command, Result
from bertsmith.cli.flags import in_flags
from bertsmith.cli.options import flag, word
from bertsmith.core.errors import UsageError

_SIZES = ("tiny", "mini", "small", "base")


@dataclass(kw_only=True)
class Bench(Command):
    """Measure this machine: matrix products, training and inference by size and backend."""

    examples = ("bench", "bench my-classifier", "bench --sizes tiny,mini --json")

    model: str | None = word(
        f"Measure the inference of this model alone. {MODEL}", metavar="MODEL", default=None
    )
    sizes: tuple[str, ...] | None = flag(
        "Presets to measure: tiny, mini, small, medium, base, large.",
        group="Model",
        default=None,
        metavar="SIZE,...",
        shown=",".join(_SIZES),
    )

    def run(self) -> Result:
        """Measures."""
        from bertsmith.comparison.machine import bench
        from bertsmith.core.terminal import say

        if self.model is not None and self.sizes is not None:
            raise UsageError("MODEL and --sizes exclude each other. Leave one of them out.")
        found = bench(self.model, sizes=self.sizes or _SIZES, say=lambda line: say(in_flags(line)))
        return Result(found, "\n".join(found.lines()))
