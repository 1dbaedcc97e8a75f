"""Writes checkpoints in TensorFlow's byte format, as its own writer does; for tests alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAGIC = 0xDB4775248B80FB57
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def crc32c(data: bytes) -> int:
    """By the definition, a bit at a time from a table of bytes."""
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ BYTES[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


def _byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


BYTES = [_byte(value) for value in range(256)]


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def snappy(data: bytes) -> bytes:
    """Literals, and copies of runs that occurred at most 2 KB before (also overlapping ones)."""
    out, at, literal = bytearray(varint(len(data))), 0, bytearray()

    def flush() -> None:
        while literal:
            part = bytes(literal[:300])
            del literal[:300]
            size = len(part) - 1
            out.extend([size << 2] if size < 60 else [61 << 2, *size.to_bytes(2, "little")])
            out.extend(part)

    while at < len(data):
        found = (
            data.rfind(data[at : at + 4], max(0, at - 2000), at + 3) if at + 4 < len(data) else 0
        )
        offset = at - found
        if not 1 <= offset <= 2000 or data[found : found + 4] != data[at : at + 4]:
            literal.append(data[at])
            at += 1
            continue
        size = 4
        while size < 60 and at + size < len(data) and data[found + size] == data[at + size]:
            size += 1
        flush()
        if size < 12:
            out.extend([offset >> 8 << 5 | size - 4 << 2 | 1, offset & 0xFF])
        elif at % 2:
            out.extend([size - 1 << 2 | 2, *offset.to_bytes(2, "little")])
        else:
            out.extend([size - 1 << 2 | 3, *offset.to_bytes(4, "little")])
        at += size
    flush()
    return bytes(out)


def block(entries: list[tuple[bytes, bytes]], *, compressed: bool, interval: int = 16) -> bytes:
    """A block with its trailer; every `interval` keys one is written whole."""
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    for restart in restarts or [0]:
        out += restart.to_bytes(4, "little")
    out += len(restarts or [0]).to_bytes(4, "little")
    contents = snappy(bytes(out)) + b"\1" if compressed else bytes(out) + b"\0"
    return contents + masked(contents)


def table(
    entries: Mapping[bytes, bytes], *, compressed: bool = False, per_block: int = 20
) -> bytes:
    """A whole table: data blocks, an empty metaindex block, the index block, the footer."""
    rows, data, index = sorted(entries.items()), bytearray(), []
    for start in range(0, len(rows), per_block):
        some = rows[start : start + per_block]
        written = block(some, compressed=compressed)
        index.append((some[-1][0], varint(len(data)) + varint(len(written) - 5)))
        data += written
    handles = b""
    for written in (block([], compressed=False), block(index, compressed=compressed, interval=1)):
        handles += varint(len(data)) + varint(len(written) - 5)
        data += written
    return bytes(data) + handles.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array: np.ndarray, *, shard: int, offset: int, **changes: int | bytes) -> bytes:
    """A BundleEntryProto; zeros are left out, as protocol buffers do."""
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    data = array.tobytes()
    dtype = changes.get("dtype", DTYPES[array.dtype.name])
    out = field(1, dtype) + field(2, changes.get("shape", shape))
    for number, value in ((3, shard), (4, offset), (5, changes.get("size", len(data)))):
        out += field(number, value) if value else b""
    return out + b"\x35" + masked(data) + changes.get("more", b"")


def write_checkpoint(
    prefix: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    shards: int = 1,
    compressed: bool = False,
    per_block: int = 20,
    changes: Mapping[str, Mapping[str, int | bytes]] = {},
    header: bytes = b"",
) -> None:
    """`prefix`.index, .data-* and .meta; `changes` falsify what the index says of a tensor."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    version = field(3, field(1, 1))
    rows = {b"": header or field(1, shards) + version}
    data = [bytearray() for _ in range(shards)]
    for number, name in enumerate(sorted(arrays)):
        shard = number % shards
        place = {"shard": shard, "offset": len(data[shard])}
        rows[name.encode()] = entry(arrays[name], **(place | dict(changes.get(name, {}))))
        data[shard] += arrays[name].tobytes()
    whole = table(rows, compressed=compressed, per_block=per_block)
    prefix.with_name(f"{prefix.name}.index").write_bytes(whole)
    for shard, bytes_ in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}").write_bytes(bytes_)
    prefix.with_name(f"{prefix.name}.meta").write_bytes(b"\x0a\x00")
