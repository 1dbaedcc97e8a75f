"""Snappy's block format, decompressed: short runs of literal bytes and copies of earlier ones.

Only an index is compressed with it, so a plain loop is fast enough.
"""

_MOST_EXPANSION = 22
"""A copy of 3 bytes yields 64 at most."""


def decompress(data: bytes) -> bytes:
    """The uncompressed bytes; nothing is allocated beyond what `data` can yield.

    Raises:
        ValueError: the data is cut short, copies from before its start or yields another length
            than it says.
    """
    length, at = read_varint(data, 0)
    if length > _MOST_EXPANSION * len(data):
        raise ValueError(f"{len(data):,} compressed bytes cannot hold {length:,}")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            size = tag >> 2
            if size >= 60:
                extra = size - 59
                size = _number(data, at, extra)
                at += extra
            size += 1
            if at + size > len(data):
                raise ValueError("a literal is cut short")
            out += data[at : at + size]
            at += size
        else:
            if kind == 1:
                size, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | _number(data, at, 1)
                at += 1
            else:
                width = 2 if kind == 2 else 4
                size, offset = (tag >> 2) + 1, _number(data, at, width)
                at += width
            if not 1 <= offset <= len(out):
                raise ValueError("a copy begins before the data")
            # The copy may overlap what it writes: then it repeats.
            source = bytes(out[-offset:])[:size]
            out += (source * -(-size // len(source)))[:size]
        if len(out) > length:
            break
    if len(out) != length:
        raise ValueError(f"expected {length:,} uncompressed bytes, found {len(out):,}")
    return bytes(out)


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise ValueError("a length or offset is cut short")
    return int.from_bytes(data[at : at + width], "little")


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of up to 64 bits in groups of 7 (LevelDB, protocol buffers), and where it ends.

    Raises:
        ValueError: it is cut short or longer than 64 bits.
    """
    value = 0
    for position in range(10):
        if at + position >= len(data):
            raise ValueError("a number is cut short")
        byte = data[at + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + position + 1
    raise ValueError("a number has more than 64 bits")
