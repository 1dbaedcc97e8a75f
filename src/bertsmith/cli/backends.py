"""The flag `--backend`, and a model opened with it."""

from typing import TYPE_CHECKING, Any, Literal

from bertsmith.cli.options import flag

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model

BackendFlag = Literal["auto", "torch", "onnx", "openvino"]


def backend_flag() -> Any:
    """Declares the flag."""
    return flag(
        "What computes: torch, ONNX Runtime or OpenVINO; auto measures which is the fastest here, "
        "bf16 included, and remembers it.",
        group="Model",
        default=None,
        shown="torch, or what the model was exported to",
    )


def load(name: str, backend: BackendFlag | None) -> "Model":
    """The model in that backend; says on standard error which one `auto` chose."""
    from bertsmith.core.terminal import say
    from bertsmith.inference.predictor import Model

    model = Model(name, backend=backend)
    if model.choice is not None:
        say(str(model.choice))
    return model
