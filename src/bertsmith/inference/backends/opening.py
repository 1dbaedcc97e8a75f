"""Which backends there are, which are installed, and how to open a model in one."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

import torch

from bertsmith.core.errors import UsageError, option
from bertsmith.inference.backends.backend import Backend, BackendName
from bertsmith.inference.backends.graph_backend import GraphBackend
from bertsmith.inference.backends.onnx_runtime import OnnxSession
from bertsmith.inference.backends.openvino import OpenVinoSession
from bertsmith.inference.backends.session import Open
from bertsmith.inference.backends.torch_backend import Network, TorchBackend
from bertsmith.models.family import onnx_graph
from bertsmith.models.modules.graph import Vectors
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import has_native_bf16

Runtime = Literal["onnx", "openvino"]
"""Of a graph; also the formats of graphs."""
TITLES: dict[BackendName, str] = {
    "torch": "torch",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
}
RUNS: dict[Runtime, tuple[Runtime, ...]] = {
    "onnx": ("onnx", "openvino"),
    "openvino": ("openvino",),
}
"""Format of a graph -> the backends that can run it."""
Variant = tuple[BackendName, Literal["fp32", "bf16"]]
"""A backend and the precision it computes in."""
_PACKAGES: dict[BackendName, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
}


def installed(names: Sequence[BackendName], *, writes_graph: bool) -> list[Variant]:
    """The backends of these that can be used here, in each precision that the CPU has.

    `writes_graph`: for a model that has no graph yet.
    """
    native_bf16 = has_native_bf16(torch.device("cpu"))
    found: list[Variant] = []
    for name in names:
        packages = _PACKAGES[name]
        if writes_graph and name != "torch":
            packages = (*packages, "onnx")
        if all(find_spec(package) is not None for package in packages):
            found.append((name, "fp32"))
            if native_bf16 and name != "onnx":
                found.append((name, "bf16"))
    return found


def opener(name: Runtime, precision: Literal["fp32", "bf16"]) -> Open:
    """Opens graphs in a runtime.

    Raises:
        UsageError: the runtime has no such precision.
    """
    if name == "openvino":
        return lambda graph, calls: OpenVinoSession(graph, precision=precision)
    if precision == "bf16":
        raise UsageError(
            f"ONNX Runtime has no bf16 on a CPU; give {option('precision', 'fp32')}, or "
            f"{option('backend', 'openvino')}."
        )
    return OnnxSession


def most_calls(name: Runtime) -> int:
    """Calls that a runtime computes at once."""
    return torch.get_num_threads() if name == "onnx" else 1


def open_model(name: BackendName, network: Network, place: Place) -> Backend:
    """A model that torch has loaded, in any backend.

    Raises:
        UsageError: the model has no graph, or the backend cannot compute on this device or in this
            precision.
        MissingExtra: the backend is not installed, when it is first used.
    """
    torch_backend = TorchBackend(network, place)
    if name == "torch":
        return torch_backend
    if place.device.type != "cpu":
        raise UsageError(
            f"{option('backend', name)} computes on the CPU, not on {place.device}; give "
            f"{option('device', 'cpu')}."
        )

    def graph(layers: tuple[int, ...] | None) -> bytes:
        return onnx_graph(network, None if layers is None else Vectors(layers=layers))

    return GraphBackend(
        name=name,
        config=torch_backend.config,
        head=torch_backend.head,
        objective=torch_backend.objective,
        judges_pairs=torch_backend.judges_pairs,
        state_layers=torch_backend.state_layers,
        graphs=graph,
        open=opener(name, place.precision),
        most_calls=most_calls(name),
    )
