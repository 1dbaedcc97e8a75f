"""A LevelDB table (SSTable), as TensorFlow writes the `.index` of a checkpoint.

The file is data blocks, an index block with the place of each, and a footer with the place of the
index. A block holds sorted keys, each without what it shares with the one before; behind it stand
how it is compressed and a checksum.
"""

from collections.abc import Iterator
from pathlib import Path

from bertsmith.checkpoints.tensorflow.crc32c import masked_crc32c
from bertsmith.checkpoints.tensorflow.snappy import decompress, read_varint
from bertsmith.core.errors import FolderError, explain_os_error

MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
# The index of a BERT-large with its optimizer's slots has 0.1 MB, and its keys as much again.
_LARGEST_FILE = 64 << 20
_LARGEST_KEYS = 64 << 20


def read_table(path: Path) -> dict[bytes, bytes]:
    """Every key of the table with its value, in order; all checksums are verified.

    Raises:
        FolderError: the file is missing, cut short, damaged, or not a table.
        SystemFault: it cannot be read.
    """
    data = _read(path)
    try:
        return dict(_entries(data))
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({error}); restore it from a good copy.") from error


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise FolderError(
                f"{path} has {size:,} bytes; the index of a checkpoint has fewer than "
                f"{_LARGEST_FILE:,}. Check that it is one."
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FolderError(
            f"{path} is missing; a checkpoint consists of an .index and .data files. Restore it."
        ) from error
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise FolderError(
            f"{path} does not end like the index of a TensorFlow checkpoint; it was cut short, or "
            "it is another kind of file. Restore it from a good copy."
        )
    return data


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = memoryview(data)[-_FOOTER:]
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    held, end, last = 0, 0, None
    for _, value in _block_entries(_block(data, index)):
        place, _ = _handle(value, 0)
        # Each block once: otherwise a small file could name one block a million times.
        if place[0] < end:
            raise ValueError("its blocks overlap")
        end = sum(place) + _TRAILER
        for key, entry in _block_entries(_block(data, place)):
            if last is not None and key <= last:
                raise ValueError("its keys are not sorted")
            last = key
            held += len(key)
            if held > _LARGEST_KEYS:
                raise ValueError(f"its keys have more than {_LARGEST_KEYS:,} bytes")
            yield key, entry


def _handle(data: bytes | memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where the pair ends."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(data: bytes, place: tuple[int, int]) -> bytes:
    offset, size = place
    if offset + size + _TRAILER > len(data) - _FOOTER:
        raise ValueError(f"a block of {size:,} bytes at {offset:,} goes beyond the end")
    contents = memoryview(data)[offset : offset + size + 1]
    stored = int.from_bytes(data[offset + size + 1 : offset + size + _TRAILER], "little")
    if masked_crc32c(contents) != stored:
        raise ValueError(f"the checksum of the block at byte {offset:,} is wrong")
    compression = contents[-1]
    if compression not in (0, 1):
        raise ValueError(f"the block at byte {offset:,} has compression {compression}, not 0 or 1")
    return decompress(bytes(contents[:-1])) if compression else bytes(contents[:-1])


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("a block is too small for its restart points")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        added, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or at + added + length > end:
            raise ValueError("an entry goes beyond its block")
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + length]
        at += added + length
