"""Arrays that grow in a file, and ranges."""

import io
from pathlib import Path

import numpy as np
import pytest

from bertsmith.core.arrays import GrowingArray, ranges, write_array


@pytest.mark.parametrize("row", [(), (3,)])
def test_a_growing_array_is_what_numpy_saves(tmp_path: Path, row: tuple[int, ...]) -> None:
    kind = np.dtype("<f4")
    with (tmp_path / "grown.npy").open("wb") as file:
        array = GrowingArray(file, kind, row)
        for count in (2, 0, 5):
            array.append(np.full((count, *row), count, np.float64))
        array.finish()
    want = np.repeat([2, 5], [2, 5]).reshape(7, *(1 for _ in row)) * np.ones((7, *row), kind)
    np.save(tmp_path / "saved.npy", want.astype(kind))
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_arrays_one_after_the_other_are_read_back() -> None:
    file = io.BytesIO()
    arrays = [np.arange(5, dtype=np.uint16), np.zeros(0), np.ones((2, 2), np.bool_)]
    for array in arrays:
        write_array(file, array)
    file.seek(0)
    for array in arrays:
        assert np.array_equal(np.lib.format.read_array(file), array)


def test_ranges_are_laid_end_to_end() -> None:
    index = ranges(np.array([7, 0, 3], np.int32), np.array([2, 0, 3]))
    assert index.tolist() == [7, 8, 3, 4, 5]
    assert index.dtype == np.int64
    assert ranges(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)
