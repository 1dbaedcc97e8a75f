"""OpenVINO on a CPU: one call after the other, each with every core.

Its Python API allows calls from several threads, but where these meet new shapes at once they wait
for each other for good, seen on two cores with version 2026.4.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.core.errors import FolderError
from bertsmith.core.extras import require
from bertsmith.inference.backends.session import Arrays


class OpenVinoSession:
    """A graph in OpenVINO."""

    def __init__(self, graph: bytes | Path, *, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        """Of a graph: ONNX, or OpenVINO's .xml.

        Raises:
            MissingExtra: OpenVINO is not installed.
            FolderError: it cannot read the file.
        """
        openvino = require("openvino", extra="openvino", purpose="The OpenVINO backend")
        core = openvino.Core()
        try:
            if isinstance(graph, bytes):
                model = core.read_model(graph, b"")
            else:
                model = core.read_model(str(graph))
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    # Left to itself it takes bf16 where the processor has it.
                    "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                    "NUM_STREAMS": 1,
                    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                },
            )
        except RuntimeError as error:
            if isinstance(graph, bytes):
                raise
            reason = str(error).strip().splitlines()[-1]
            raise FolderError(
                f"{graph}: OpenVINO cannot load it ({reason}); export the model again."
            ) from error
        self._request: Any = compiled.create_infer_request()
        self._lock = Lock()

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """As `Session.run`; another thread's call waits."""
        with self._lock:
            found = self._request.infer(dict(inputs))
            return [np.array(found[name]) for name in outputs]
