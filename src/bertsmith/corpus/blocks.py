"""The plan of a corpus and where it cuts the input: a pure function of the files and settings."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bertsmith.core import storage
from bertsmith.core.errors import explain_os_error
from bertsmith.corpus.parts import Block
from bertsmith.text import documents

BLOCK_CHARACTERS = 1 << 22
"""A block ends with the document that reaches this size."""

# What a document weighs in a block beside its characters; a text file may hold millions of one.
_DOCUMENT_WEIGHT = 256
# For the progress bar only: bytes of file per character of text in a packed file.
_PACKED_RATIO = 0.35
_PACKED = (".gz", ".zst", ".parquet")


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input file, with what tells that it is still the same; None for a URL."""

    path: str
    bytes: int | None
    modified: int | None


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the bytes of every part; a rerun must have the same."""

    version: int
    tokenizer: str
    language: str
    segmenter: str
    text_field: str
    held_out: float
    block_characters: int
    inputs: list[Input]
    near_duplicates: float | None = None


def missing_blocks(plan: Plan, work: Path) -> Iterator[Block]:
    """The blocks whose parts are missing, in order."""
    position = 0
    for number, group in enumerate(_groups(plan)):
        # How many parts the group has, noted once it was read to its end.
        count = work / f"{number:06d}.count"
        if not (count.exists() and _all_there(work, number, storage.read_json(count, int))):
            index = -1
            for index, block in enumerate(_cut(group, plan, position)):
                part = _part(work, number, index)
                if not part.exists():
                    yield Block(part, *block)
            storage.write_json(count, index + 1)
        position += total_bytes(group) or 0


def _groups(plan: Plan) -> Iterator[list[Input]]:
    """Small files together, a large one alone: a folder of a million notes is not a million parts.

    Decided by the sizes on disk, so that a group can be skipped without reading it.
    """
    group: list[Input] = []
    size = 0
    for source in plan.inputs:
        own = plan.block_characters if source.bytes is None else source.bytes
        own += _DOCUMENT_WEIGHT
        if group and size + own > plan.block_characters:
            yield group
            group, size = [], 0
        group.append(source)
        size += own
    yield group


def _cut(
    group: list[Input], plan: Plan, position: int
) -> Iterator[tuple[list[str], list[str], int, int, int]]:
    """The fields of a `Block` without its part, a block each time."""
    texts: list[str] = []
    wheres: list[str] = []
    weight = read = cut = 0
    continues = False
    for source in group:
        ratio = _PACKED_RATIO if source.path.endswith(_PACKED) else 1.0
        limit = source.bytes or 0
        characters = 0
        for document in documents.read(source.path, text_field=plan.text_field):
            texts.append(document.text)
            wheres.append(document.where)
            read += not continues
            cut += document.cut and not continues
            continues = document.cut
            characters += len(document.text)
            weight += len(document.text) + _DOCUMENT_WEIGHT
            if weight >= plan.block_characters:
                yield texts, wheres, read, cut, position + min(limit, int(characters * ratio))
                texts, wheres, weight, read, cut = [], [], 0, 0, 0
        position += limit
    if texts:
        yield texts, wheres, read, cut, position


def _part(work: Path, group: int, index: int) -> Path:
    return work / f"{group:06d}-{index:08d}.part"


def _all_there(work: Path, group: int, count: int) -> bool:
    return all(_part(work, group, index).exists() for index in range(count))


def look_at(path: str) -> Input:
    """Size and time of an input file."""
    if "://" in path:
        return Input(path, None, None)
    try:
        found = Path(path).stat()
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    return Input(path, found.st_size, found.st_mtime_ns)


def total_bytes(inputs: list[Input]) -> int | None:
    """Size of all inputs; None where one is not known."""
    known = [source.bytes for source in inputs if source.bytes is not None]
    return sum(known) if len(known) == len(inputs) else None
