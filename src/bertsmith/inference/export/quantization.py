"""A graph on disk, in fp32 or int8, for ONNX Runtime or OpenVINO.

int8 is done by each runtime's own tool, which knows what its kernels compute fast. ONNX Runtime
quantizes activations while it runs, by the range of each batch. For OpenVINO NNCF fixes their
ranges beforehand, from the inputs given, and smooths activations with outliers (SmoothQuant, Xiao
et al., arXiv 2211.10438). The output layer of a task stays in fp32 in both: it is small.
"""

import contextlib
import io
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from bertsmith.core.extras import require
from bertsmith.inference.backends.opening import Runtime
from bertsmith.inference.backends.session import Arrays
from bertsmith.inference.export.folder import GRAPHS, graph_files

_HEADS = ("pooler/", "classifier/", "span/")
"""What the names of operations in a task's output layer begin with."""


def write_graph(graph: bytes, folder: Path, to: Runtime) -> None:
    """Writes a graph in fp32.

    Raises:
        MissingExtra: OpenVINO is needed and not installed.
    """
    _remove(folder, to)
    if to == "onnx":
        (folder / GRAPHS[to]).write_bytes(graph)
        return
    openvino = require("openvino", extra="openvino", purpose="Export to OpenVINO")
    model = openvino.Core().read_model(graph, b"")
    openvino.save_model(model, str(folder / GRAPHS[to]), compress_to_fp16=False)


def write_int8(
    graph: bytes, folder: Path, to: Runtime, samples: Sequence[Arrays], fp32_layers: Collection[int]
) -> None:
    """Writes a graph whose large products are in int8.

    Args:
        graph: in fp32.
        folder: to write in.
        to: the runtime that will compute it.
        samples: inputs of the kind that the model is for.
        fp32_layers: layers to leave as they are, from 0.

    Raises:
        MissingExtra: a package for it is not installed.
    """
    kept = (*_HEADS, *(f"layer.{layer}/" for layer in fp32_layers))
    _remove(folder, to)
    with _quiet():
        if to == "onnx":
            _write_onnx(graph, folder / GRAPHS[to], kept)
        else:
            _write_openvino(graph, folder / GRAPHS[to], samples, kept)


def _write_onnx(graph: bytes, path: Path, kept: tuple[str, ...]) -> None:
    onnx = require("onnx", extra="onnx", purpose="Export in int8")
    tool = require("onnxruntime.quantization", extra="onnx", purpose="Export in int8")
    model = onnx.load_from_string(graph)
    tool.quantize_dynamic(
        model,
        str(path),
        per_channel=True,
        weight_type=tool.QuantType.QInt8,
        nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(kept)],
    )


def _write_openvino(
    graph: bytes, path: Path, samples: Sequence[Arrays], kept: tuple[str, ...]
) -> None:
    openvino = require("openvino", extra="openvino", purpose="Export to OpenVINO")
    # NNCF would report its use to its makers.
    os.environ.setdefault("NNCF_CI", "1")
    nncf = require("nncf", extra="openvino", purpose="Export in int8")
    model = openvino.Core().read_model(graph, b"")
    names = [op.get_friendly_name() for op in model.get_ops()]
    scope = nncf.IgnoredScope(
        names=[name for name in names if name.startswith(kept)], validate=False
    )
    quantized = nncf.quantize(
        model,
        nncf.Dataset([dict(sample) for sample in samples]),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
        ignored_scope=scope,
    )
    openvino.save_model(quantized, str(path), compress_to_fp16=False)


def _remove(folder: Path, to: Runtime) -> None:
    """A runtime may still have the old files mapped into memory: new ones must be other files."""
    for path in graph_files(folder, to):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and advice of the tools, which speak to their own users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
