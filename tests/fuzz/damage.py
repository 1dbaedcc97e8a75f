"""Ways in which a file gets damaged, drawn by number: the same number gives the same damage."""

import random

_WORDS = (
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff" * 7 + b"\x7f",
    b'"',
    b"[" * 5000,
    b"{" * 5000,
    b"1e999",
    b"-1",
    b"null",
    b"\\ud800",
    b"\r",
    b"\n\n",
    b"\t\t",
    b"999999999999999999999",
    b"\xef\xbb\xbf",
    "\u200b\u0301".encode(),
    b"../",
)


def damaged(data: bytes, number: int) -> bytes:
    """`data` with one kind of damage; never equal to it where it has a byte."""
    draw = random.Random(number)
    for _ in range(20):
        found = _damaged(bytearray(data), draw)
        if found != data:
            return found
    return data + b"\0"


def _damaged(data: bytearray, draw: random.Random) -> bytes:
    length = len(data)
    place = draw.randrange(length + 1)
    match draw.randrange(9):
        case 0:  # Turned bits.
            for _ in range(draw.randrange(1, 4) if length else 0):
                data[draw.randrange(length)] ^= 1 << draw.randrange(8)
        case 1:  # Bytes of noise.
            for _ in range(draw.randrange(1, 20) if length else 0):
                data[draw.randrange(length)] = draw.randrange(256)
        case 2:  # Cut short.
            del data[place:]
        case 3:  # A hole.
            del data[place : place + draw.randrange(1, 64)]
        case 4:  # Written over by another part of itself.
            other, size = draw.randrange(length + 1), draw.randrange(1, 200)
            data[place : place + size] = data[other : other + size]
        case 5:  # Twice.
            data[place:place] = data[: draw.randrange(length + 1)]
        case 6:  # Something put in.
            data[place:place] = draw.choice(_WORDS)
        case 7:  # Something written over.
            word = draw.choice(_WORDS)
            data[place : place + len(word)] = word
        case _:  # One byte near the end or the beginning, where formats keep their tables.
            near = draw.randrange(min(length, 3000)) if length else 0
            if length:
                data[near if draw.random() < 0.5 else -1 - near] = draw.randrange(256)
    return bytes(data)
