"""Tags as a model is taught them: entities in a scheme that says where each begins, checked."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from bertsmith.errors import DataError
from bertsmith.tasks.entities import Scheme, convert, detect_scheme, scheme_faults
from bertsmith.tasks.task import Example, TagExample

_MARKS = ("B", "I", "E", "S")


def name_entities(tags: Iterable[str]) -> bool:
    """Whether tags are those of entities (`O`, `B-PER`); else they are of any other kind (`NN`)."""
    marked = [tag.partition("-") for tag in tags if tag != "O"]
    return bool(marked) and all(mark in _MARKS and kind for mark, _, kind in marked)


def in_one_scheme(examples: Sequence[Example]) -> list[Example]:
    """Labelled sentences of one part, with entities in IOB2, or in BIOES if they came so.

    IOB1 writes B only between entities that touch, which a model sees too rarely to learn. Other
    tags stay as they are.

    Raises:
        DataError: a tag that the file's scheme does not allow where it stands, by file and line.
    """
    sentences = cast(Sequence[TagExample], examples)
    tags = [sentence.tags or () for sentence in sentences]
    if not name_entities(tag for row in tags for tag in row):
        return list(examples)
    scheme = detect_scheme(tags)
    for sentence, row in zip(sentences, tags, strict=True):
        for position, what in scheme_faults(row, scheme):
            raise DataError(
                f"{sentence.where}: the tag of word {position + 1}, '{sentence.words[position]}', "
                f"is not legal: {what}; correct it."
            )
    to: Scheme = "BIOES" if scheme == "BIOES" else "IOB2"
    return [
        replace(sentence, tags=tuple(convert(row, to)))
        for sentence, row in zip(sentences, tags, strict=True)
    ]
