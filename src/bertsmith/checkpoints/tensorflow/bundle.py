"""The tensors of a TensorFlow checkpoint (a "tensor bundle"): an index, and shards of plain bytes.

Each value of the index is a protocol buffer, `BundleEntryProto`: type, shape, shard, offset, size
and checksum of a tensor. The key "" has a `BundleHeaderProto`. Nothing is allocated before its size
is compared with the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.checkpoints.tensorflow.crc32c import masked_crc32c
from bertsmith.checkpoints.tensorflow.snappy import read_varint
from bertsmith.checkpoints.tensorflow.sstable import read_table
from bertsmith.core.errors import FolderError, explain_os_error

INDEX = ".index"
_FLOATS = {1: torch.float32, 2: torch.float64, 14: torch.bfloat16, 19: torch.float16}
"""By TensorFlow's number of the type."""
_MOST_DIMENSIONS = 8
_MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Entry:
    """What the index says of a tensor."""

    name: str
    dtype: int
    """TensorFlow's number."""
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    """Bytes."""
    checksum: int
    sliced: bool
    """Whether it is stored in parts (a partitioned variable)."""

    @property
    def is_float(self) -> bool:
        """Whether it holds plain floating-point numbers, as parameters do."""
        return self.dtype in _FLOATS


class Bundle:
    """A checkpoint by its prefix, `.../bert_model.ckpt`; opening it reads the index alone.

    Raises:
        FolderError: the index or a shard is missing or damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.index = prefix.with_name(prefix.name + INDEX)
        table = read_table(self.index)
        try:
            shards = _shards(table.pop(b"", b""))
            self.entries = {entry.name: entry for entry in map(_entry, table.items())}
        except ValueError as error:
            raise FolderError(
                f"{self.index} is damaged ({error}); restore it from a good copy."
            ) from error
        self.shards = [
            prefix.with_name(f"{prefix.name}.data-{number:05}-of-{shards:05}")
            for number in range(shards)
        ]
        for path in self.shards:
            if not path.is_file():
                raise FolderError(
                    f"{path} is missing; the checkpoint has {shards} data files. Restore it."
                )

    def check(self, entry: Entry) -> None:
        """Compares what the index says of a tensor with its shard.

        Raises:
            FolderError: it is stored in parts, of a type that is not read, or the sizes disagree.
        """
        where = f"{self.index}: {entry.name}"
        if entry.sliced:
            raise FolderError(
                f"{where} is a partitioned variable, stored in slices; only whole tensors are "
                "supported. Save the checkpoint again without a partitioner."
            )
        if not entry.is_float:
            raise FolderError(
                f"{where} has TensorFlow's type {entry.dtype}, expected floating-point numbers; "
                "the file is damaged or not Google's."
            )
        expected = prod(entry.shape) * _FLOATS[entry.dtype].itemsize
        if entry.size != expected:
            raise FolderError(
                f"{where} has shape {entry.shape} and {entry.size:,} bytes, expected "
                f"{expected:,}; restore the file from a good copy."
            )
        if not 0 <= entry.shard < len(self.shards):
            raise FolderError(
                f"{where} is in data file {entry.shard}, and there are {len(self.shards)}; "
                "restore the file from a good copy."
            )
        path = self.shards[entry.shard]
        length = path.stat().st_size
        if entry.offset + entry.size > length:
            raise FolderError(
                f"{path} has {length:,} bytes, but {entry.name} ends at byte "
                f"{entry.offset + entry.size:,}; the file was cut short. Restore it from a good "
                "copy."
            )

    def read(self, entry: Entry) -> Tensor:
        """A tensor, in its own type; the checksum is verified.

        Raises:
            FolderError: as `check`, or the checksum is wrong.
            SystemFault: the file cannot be read.
        """
        self.check(entry)
        path, data = self.shards[entry.shard], bytearray(entry.size)
        try:
            with path.open("rb") as file:
                file.seek(entry.offset)
                got = file.readinto(data)
        except OSError as error:
            raise explain_os_error(error, "read", path) from error
        if got != entry.size or masked_crc32c(data) != entry.checksum:
            raise FolderError(
                f"{path}: the checksum of {entry.name} (bytes {entry.offset:,} to "
                f"{entry.offset + entry.size:,}) is wrong, so the file is damaged. Restore it "
                "from a good copy."
            )
        dtype = _FLOATS[entry.dtype]
        if not data:
            return torch.empty(entry.shape, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype).view(entry.shape)


def _shards(header: bytes) -> int:
    """The number of data files that a BundleHeaderProto says; its numbers must be little-endian."""
    count = 1
    for field, value in _fields(header):
        if field == 1 and isinstance(value, int):
            count = value
        if field == 2 and value != 0:
            raise ValueError("its tensors are big-endian, which is not supported")
    if not header or not 1 <= count <= _MOST_SHARDS:
        raise ValueError("it has no header" if not header else f"it has {count:,} data files")
    return count


def _entry(item: tuple[bytes, bytes]) -> Entry:
    key, value = item
    name = key.decode("utf-8", errors="backslashreplace")
    numbers = dict.fromkeys((1, 3, 4, 5, 6), 0)
    shape: tuple[int, ...] = ()
    sliced = False
    for field, content in _fields(value):
        if isinstance(content, int):
            numbers[field] = content
        elif field == 2:
            shape = _shape(content)
        elif field == 7:
            sliced = True
    # Protocol buffers write a negative number as one of 64 bits, which no file is as long as.
    return Entry(name, numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], sliced)


def _shape(data: bytes) -> tuple[int, ...]:
    sizes = []
    for field, dimension in _fields(data):
        if field == 2 and isinstance(dimension, bytes):
            size = 0
            for inner, value in _fields(dimension):
                if inner == 1 and isinstance(value, int):
                    size = value
            sizes.append(size)
    if len(sizes) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor has {len(sizes)} dimensions")
    return tuple(sizes)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of each field of a protocol buffer: an integer, or bytes."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"an entry has a field of kind {kind}")
        if at + size > len(data):
            raise ValueError("an entry is cut short")
        content = data[at : at + size]
        at += size
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")
