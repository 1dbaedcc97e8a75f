"""An exported folder: a graph, `export.json` about it, and config.json, tokenizer and task.

export.json  config.json  tokenizer.json  ...  and model.onnx, or openvino_model.xml and .bin
"""

from pathlib import Path
from typing import Literal

import msgspec

from bertsmith.checkpoints.folder import load_config, load_head
from bertsmith.checkpoints.headers import EXPORT
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.storage import read_json
from bertsmith.inference.backends.backend import BackendName
from bertsmith.inference.backends.graph_backend import GraphBackend
from bertsmith.inference.backends.opening import RUNS, Runtime, most_calls, opener
from bertsmith.models.config import Objective
from bertsmith.models.modules.graph import VectorPooling

GRAPHS: dict[Runtime, str] = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
"""The file of the graph, by its format."""


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder's graph computes: `export.json`."""

    version: Literal[1] = 1
    format: Runtime
    precision: Literal["fp32", "int8"]
    fp32_layers: tuple[int, ...] = ()
    """Layers of an int8 model that were left in fp32."""
    is_tuned: bool = False
    """Whether the graph has the output layer of a task."""
    objective: Objective | None = None
    """What it predicts words from."""
    judges_pairs: bool = False
    """Whether it judges next sentences."""
    layers: tuple[int, ...] | None = None
    """Whose mean its states are, from 0, the embeddings; None: it gives the outputs of heads."""
    pooling: VectorPooling | None = None
    """Of its sentence embedding."""


def graph_files(folder: Path, format: Runtime) -> list[Path]:
    """The files of a graph: OpenVINO keeps its weights apart."""
    graph = folder / GRAPHS[format]
    return [graph] if format == "onnx" else [graph, graph.with_suffix(".bin")]


def is_export(folder: Path) -> bool:
    """Whether a folder was written by an export."""
    return (folder / EXPORT).is_file()


def read_export(folder: Path) -> Export:
    """The `export.json` of a folder.

    Raises:
        FolderError: it is damaged, or the graph is not there.
    """
    export = read_json(folder / EXPORT, Export)
    for path in graph_files(folder, export.format):
        if not path.is_file():
            raise FolderError(f"{path} is missing; export the model again.")
    return export


def open_export(
    folder: Path,
    name: BackendName | None = None,
    *,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> GraphBackend:
    """An exported folder, ready to compute.

    Args:
        folder: of an export.
        name: the backend; None: that of the graph's format.
        precision: of what is not in int8.

    Raises:
        FolderError: the folder is damaged.
        UsageError: the backend cannot run its graph.
        MissingExtra: the backend is not installed.
    """
    export = read_export(folder)
    name = name or export.format
    if name == "torch" or name not in RUNS[export.format]:
        raise UsageError(
            f"{folder} was exported to {export.format}, which {option('backend', name)} cannot "
            f"run; expected one of {', '.join(RUNS[export.format])}."
        )
    config = load_config(folder)

    def graph(layers: tuple[int, ...] | None) -> Path:
        if layers != export.layers:
            raise UsageError(_has_not(folder, export, layers))
        return folder / GRAPHS[export.format]

    return GraphBackend(
        name=name,
        config=config,
        head=load_head(folder) if export.is_tuned else None,
        objective=export.objective,
        judges_pairs=export.judges_pairs,
        state_layers=export.layers,
        graphs=graph,
        open=opener(name, precision),
        most_calls=most_calls(name),
    )


def _has_not(folder: Path, export: Export, layers: tuple[int, ...] | None) -> str:
    """Why the graph cannot be asked for the states of these layers."""
    remedy = f"export the model again with {option('head', 'embedding')}"
    if export.layers is None:
        return f"{folder} gives the outputs of its heads and no vectors; {remedy}."
    return (
        f"{folder} was exported with the states of layers {export.layers}, not {layers}; {remedy} "
        f"and {option('layers')}."
    )
