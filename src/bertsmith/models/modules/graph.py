"""A writer of ONNX graphs: an operation is a call, which returns the name of its output.

Operations are named by the part of the model they belong to (`layer.3/feed_forward/MatMul`), so
that a quantizer can be told which ones to leave out. Shapes: B sequences, L length, both of any
size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from bertsmith.core.extras import require
from bertsmith.models.config import Activation

OPSET = 17
"""The first version of the operations with LayerNormalization."""
_IR_VERSION = 8
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""int64 [B, L] each, as `transformers` names them."""
VectorPooling = Literal["mean", "cls"]
"""The mean over a text's tokens, or its first token."""


@dataclass(frozen=True)
class Output:
    """What a graph gives."""

    name: str
    shape: tuple[str | int, ...]
    """A word is a dimension of any size."""
    exact: bool = False
    """Whether it is float64, else float32."""


@dataclass(frozen=True)
class Vectors:
    """How the states of a text become its vector."""

    pooling: VectorPooling = "mean"
    layers: tuple[int, ...] = (-1,)
    """Averaged; 0: the embeddings; negative from the last, -1."""


class Graph:
    """An ONNX graph while it is written.

    Raises:
        MissingExtra: `onnx` is not installed.
    """

    def __init__(self) -> None:
        self._onnx = require("onnx", extra="onnx", purpose="Writing an ONNX graph")
        self._nodes: list[Any] = []
        self._tensors: dict[str, NDArray[Any]] = {}
        self._parts: list[str] = []
        self._names: set[str] = set()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is added inside belongs to this part of the model."""
        self._parts.append(name)
        yield
        self._parts.pop()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation; the name of its first output."""
        name = self._unused(kind)
        node = self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self._nodes.append(node)
        return name

    def output(self, name: str, value: str) -> None:
        """Makes a value an output of the graph."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))

    def weight(self, tensor: Tensor, name: str) -> str:
        """Adds a weight of the current part in fp32."""
        name = self._unused(name)
        self._tensors[name] = tensor.detach().float().cpu().numpy()
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of int64."""
        return self._constant(np.array(values, dtype=np.int64))

    def integer(self, value: int) -> str:
        """A constant of int64 without dimensions."""
        return self._constant(np.array(value, dtype=np.int64))

    def number(self, value: float) -> str:
        """A constant of float32 without dimensions."""
        return self._constant(np.array(value, dtype=np.float32))

    def linear(self, x: str, layer: nn.Linear, *, rows: slice = slice(None)) -> str:
        """A linear layer, or those of its output columns that `rows` of the weight make."""
        weight = self.weight(layer.weight[rows].mT, "weight")
        product = self.op("MatMul", x, weight)
        if layer.bias is None:
            return product
        return self.op("Add", product, self.weight(layer.bias[rows], "bias"))

    def norm(self, x: str, layer: nn.LayerNorm) -> str:
        """LayerNorm over the last dimension."""
        parameters = self.weight(layer.weight, "scale"), self.weight(layer.bias, "bias")
        return self.op("LayerNormalization", x, *parameters, axis=-1, epsilon=layer.eps)

    def activation(self, x: str, name: Activation) -> str:
        """The function that `models.modules.layers.activate` computes."""
        match name:
            case "gelu" | "gelu_python":
                # The order of operations that runtimes know and compute as one.
                error = self.op("Erf", self.op("Div", x, self.number(2**0.5)))
                grown = self.op("Mul", x, self.op("Add", error, self.number(1.0)))
                return self.op("Mul", grown, self.number(0.5))
            case "relu":
                return self.op("Relu", x)
            case "silu" | "swish":
                return self.op("Mul", x, self.op("Sigmoid", x))
            case "tanh":
                return self.op("Tanh", x)
            case _:
                cubed = self.op("Mul", x, self.op("Mul", x, x))
                inner = self.op("Add", x, self.op("Mul", cubed, self.number(0.044715)))
                inner = self.op("Tanh", self.op("Mul", inner, self.number((2 / np.pi) ** 0.5)))
                grown = self.op("Mul", x, self.op("Add", inner, self.number(1.0)))
                return self.op("Mul", grown, self.number(0.5))

    def finish(self, outputs: Sequence[Output]) -> bytes:
        """The finished graph, checked; its inputs are `INPUTS`."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            "bertsmith",
            [info(name, types.INT64, ["batch", "sequence"]) for name in INPUTS],
            [
                info(one.name, types.DOUBLE if one.exact else types.FLOAT, list(one.shape))
                for one in outputs
            ],
            [
                self._onnx.numpy_helper.from_array(np.asarray(values, order="C"), name)
                for name, values in self._tensors.items()
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="bertsmith",
        )
        self._onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data

    def _constant(self, values: NDArray[Any]) -> str:
        """Equal constants are one tensor."""
        shown = ".".join(str(value) for value in values.ravel().tolist())
        name = f"{values.dtype}.{values.ndim}d.{shown}"
        self._tensors[name] = values
        return name

    def _unused(self, kind: str) -> str:
        name = "/".join([*self._parts, kind])
        number, found = 1, name
        while found in self._names:
            number += 1
            found = f"{name}.{number}"
        self._names.add(found)
        return found
