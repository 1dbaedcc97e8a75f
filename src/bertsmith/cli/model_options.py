"""Where and how a command computes with a model: the flags, and the model opened with them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bertsmith.cli.command import Command
from bertsmith.cli.options import Option, flag
from bertsmith.core.runtime import Precision

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model

BackendFlag = Literal["auto", "torch", "onnx", "openvino"]
_LAST = ("device", "precision", "backend", "json")
"""Flags that the help shows last of their group: few people need them."""


@dataclass(kw_only=True)
class ModelOptions(Command):
    """The flags of every command that computes with a model, whose name is in `model`."""

    device: str = flag(
        "Where to compute: cpu, cuda, cuda:1; auto takes a GPU where there is one.",
        group="Model",
        default="auto",
    )
    precision: Precision = flag(
        "BF16 is faster on hardware that has it and changes answers slightly; auto is fp32.",
        group="Model",
        default="fp32",
    )

    @classmethod
    def options(cls) -> list[Option]:
        """These last."""
        return sorted(super().options(), key=lambda one: one.name in _LAST)

    def open_model(self, name: str) -> "Model":
        """The model, ready to answer."""
        from bertsmith.inference.predictor import Model

        return Model(name, device=self.device, precision=self.precision)


@dataclass(kw_only=True)
class BackendOptions(ModelOptions):
    """The same, of commands that an exported model can do too."""

    precision: Precision = flag(
        "BF16 is faster on hardware that has it and changes answers slightly; auto is fp32, and "
        "with --backend auto the faster one.",
        group="Model",
        default="auto",
    )
    backend: BackendFlag | None = flag(
        "What computes: torch, ONNX Runtime or OpenVINO; auto measures which is the fastest here "
        "and remembers it.",
        group="Model",
        default=None,
        shown="torch, or what the model was exported to",
    )

    def open_model(self, name: str) -> "Model":
        """The model in that backend; says on standard error which one `auto` chose."""
        from bertsmith.core.terminal import say
        from bertsmith.inference.predictor import Model

        model = Model(name, device=self.device, precision=self.precision, backend=self.backend)
        if model.choice is not None:
            say(str(model.choice))
        return model
