"""ONNX Runtime on a CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from bertsmith.core.errors import FolderError
from bertsmith.core.extras import require
from bertsmith.inference.backends.session import Arrays


class OnnxSession:
    """A graph in ONNX Runtime."""

    def __init__(self, graph: bytes | Path, calls: int) -> None:
        """Of a graph, for so many calls at once.

        Raises:
            MissingExtra: ONNX Runtime is not installed.
            FolderError: it cannot read the file.
        """
        runtime = require("onnxruntime", extra="onnx", purpose="The ONNX Runtime backend")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = max(1, torch.get_num_threads() // calls)
        options.log_severity_level = 3  # Errors: others are of no use to anyone here.
        try:
            self._session = runtime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime has a class of its own for each status.
            if isinstance(graph, bytes):
                raise
            reason = str(error).splitlines()[0]
            raise FolderError(
                f"{graph}: ONNX Runtime cannot load it ({reason}); export the model again."
            ) from error

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """As `Session.run`."""
        found: list[NDArray[Any]] = self._session.run(list(outputs), dict(inputs))
        return found
