"""The interface of a runtime that has loaded a graph."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Session(Protocol):
    """A graph, ready to run, from any thread."""

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs for padded inputs."""


Open = Callable[[bytes | Path, int], Session]
"""Opens a graph, its bytes or its file, for so many calls at once: 1 gives every core to a call,
more share the cores."""
