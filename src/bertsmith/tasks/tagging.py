"""Tags as a model is taught them: entities in a scheme that says where each begins, checked.

The marks of BMES (usual for Chinese) and BILOU are those of BIOES by other names, and are read so.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from bertsmith.core.errors import DataError, nearest, option
from bertsmith.tasks.entities import (
    OTHER_NAMES,
    Scheme,
    convert,
    detect_scheme,
    is_entity_tag,
    scheme_faults,
)
from bertsmith.tasks.examples import Example, TagExample
from bertsmith.tasks.notes import Notes


def name_entities(tags: Iterable[str]) -> bool:
    """Whether tags are those of entities (`O`, `B-PER`); else they are of any other kind (`NN`)."""
    marked = [tag for tag in tags if tag != "O"]
    return bool(marked) and all(map(is_entity_tag, marked))


def taught_scheme(train: Sequence[Example]) -> Scheme | None:
    """The scheme that a model is taught: BIOES if the tags came so, else IOB2; None for other tags.

    IOB1 writes B only between entities that touch, which a model sees too rarely to learn.

    Raises:
        DataError: most words with another tag than O have one of entities, but not all, by file and
            line.
    """
    tags = _tags(train)
    if not name_entities(tag for row in tags for tag in row):
        _refuse_slips(cast(Sequence[TagExample], train))
        return None
    return "BIOES" if detect_scheme(tags) == "BIOES" else "IOB2"


def known_scheme(labels: Iterable[str]) -> Scheme | None:
    """The scheme that a model was taught, by its labels."""
    names = list(labels)
    if not name_entities(names):
        return None
    return "BIOES" if any(name[:2] in ("E-", "S-") for name in names) else "IOB2"


def in_scheme(
    examples: Sequence[Example],
    scheme: Scheme | None,
    *,
    strict: bool = False,
    notes: Notes | None = None,
) -> list[Example]:
    """Labelled sentences of one part in a scheme, whatever the part's own; None: as they are.

    Args:
        examples: the sentences.
        scheme: what their tags become.
        strict: refuse tags that the part's own scheme does not allow where they are; else their
            entities are read by conlleval's rules.
        notes: are told of such tags.

    Raises:
        DataError: there is one, and `strict`; by file and line.
    """
    tags = _tags(examples)
    if scheme is None or not name_entities(tag for row in tags for tag in row):
        return list(examples)
    sentences = cast(Sequence[TagExample], examples)
    own = detect_scheme(tags)
    for sentence, row in zip(sentences, tags, strict=True):
        for position, what in scheme_faults(row, own):
            where = sentence.where_is(position)
            if strict:
                raise DataError(
                    f"{where}: the tag of word {position + 1}, '{sentence.words[position]}', is "
                    f"not allowed: {what}; correct it, or remove {option('strict_tags')}."
                )
            if notes is not None:
                notes.add(
                    f"tags that {own} does not allow at their position, read by conlleval's rules "
                    "(strict_tags refuses them)",
                    where,
                )
    return [
        replace(sentence, tags=tuple(convert(row, scheme)))
        for sentence, row in zip(sentences, tags, strict=True)
    ]


def _refuse_slips(train: Sequence[TagExample]) -> None:
    """Refuses a tag like `B_PER` among those of entities; others may be of any kind (`NN`)."""
    counts = Counter(tag for sentence in train for tag in sentence.tags or () if tag != "O")
    known = [tag for tag in counts if is_entity_tag(tag)]
    if counts and all(tag == "o" or is_entity_tag(tag[:1].upper() + tag[1:]) for tag in counts):
        # Marks in lower case: nobody means classes by all of them.
        known = [tag[:1].upper() + tag[1:] for tag in counts]
    elif 2 * sum(counts[tag] for tag in known) <= counts.total():
        return
    for sentence in train:
        for position, tag in enumerate(sentence.tags or ()):
            if tag != "O" and not is_entity_tag(tag):
                raise DataError(
                    f"{sentence.where_is(position)}: the tag of word {position + 1}, "
                    f"'{sentence.words[position]}', is '{tag}'{nearest(tag, known)}, expected O or "
                    "a mark (B, I, E, S), a hyphen and a type, as most others are; correct it."
                )


def _tags(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """The tags of each sentence; those of entities with the marks of `entities.MARKS`."""
    tags = [sentence.tags or () for sentence in cast(Sequence[TagExample], examples)]
    if not name_entities(tag for row in tags for tag in row):
        return tags
    return [tuple(map(_with_usual_mark, row)) for row in tags]


def _with_usual_mark(tag: str) -> str:
    mark, _, kind = tag.partition("-")
    return f"{OTHER_NAMES[mark]}-{kind}" if mark in OTHER_NAMES else tag
