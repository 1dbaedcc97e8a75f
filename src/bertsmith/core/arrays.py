"""Arrays in files and stretches of arrays: a `.npy` that grows, many ranges laid end to end."""

import io
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """As `numpy.save`, by ordinary writes: `ndarray.tofile` hides why the system refused."""
    file.write(_header(array.dtype, array.shape))
    file.write(np.ascontiguousarray(array).view(np.uint8).data)


class GrowingArray:
    """A `.npy` that grows along its first axis."""

    def __init__(self, file: IO[bytes], kind: np.dtype[Any], row: Sequence[int] = ()) -> None:
        """Begins the array in an empty file; `row` is the shape of one entry."""
        self.file = file
        self._kind, self._row, self._length = kind, tuple(row), 0
        file.write(_header(kind, (0, *row)))

    def append(self, values: NDArray[Any]) -> None:
        """Adds entries [n, *row], converted to the array's type."""
        self.file.write(np.ascontiguousarray(values, dtype=self._kind).view(np.uint8).data)
        self._length += len(values)

    def finish(self) -> None:
        """Writes the final length into the header; the file stays open."""
        self.file.seek(0)
        self.file.write(_header(self._kind, (self._length, *self._row)))


def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    # numpy pads it so that a longer first axis still fits: its size does not depend on that.
    stream = io.BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, layout)
    return stream.getvalue()


def ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """The indices of N ranges, laid end to end: int64 [sum(lengths)].

    Args:
        starts: first index of each range [N].
        lengths: how many each has [N].
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    index: NDArray[np.int64] = np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)
    index += np.arange(len(index), dtype=np.int64)
    return index
