"""Entities in tag sequences by conlleval's rules, and the three schemes such tags are written in.

A tag is `O` or a mark and a type, `B-PER`. The schemes differ in their marks:

- IOB1: words of an entity are I; B where an entity begins right after another of its type.
- IOB2: the first word of every entity is B, the others are I.
- BIOES (also IOBES): B, I, then E on the last word; an entity of one word is S.

A model may write tags that no scheme allows. conlleval, the script of the CoNLL shared tasks (Tjong
Kim Sang, version of 2004), reads entities out of any sequence, and so does `entities`. The script
has no S and knows E from other schemes; both are read here as in its ports to Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["IOB1", "IOB2", "BIOES"]

MARKS = ("B", "I", "E", "S")
"""All marks but O."""
OTHER_NAMES = {"M": "I", "L": "E", "U": "S"}
"""What BMES and BILOU call these marks; see `tagging`."""
_MARKS: dict[Scheme, str] = {"IOB2": "BI", "IOB1": "BI", "BIOES": "BIES"}
"""The more usual first: `detect_scheme` takes the first of those that fit equally well."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Words `start` to `end` of a sentence, from 0, `end` not among them."""

    type: str
    """Empty where the tags have marks only."""
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence in order, legal or not, by conlleval's rules.

    Between two words an entity begins or ends if the second's mark is B or S or it is O, if the
    first's is E or S or it is O, or if their types differ. So an I or E with nothing to continue
    begins an entity. An unknown mark counts as I; a word without a known mark or a type as O.
    """
    found = []
    start = 0
    mark, kind = "O", ""
    for position, tag in enumerate((*tags, "O")):
        mark_before, kind_before = mark, kind
        mark, kind = _split(tag)
        if mark in "BSO" or mark_before in "ESO" or kind != kind_before:
            if mark_before != "O":
                found.append(Entity(kind_before, start, position))
            start = position
    return found


def is_entity_tag(tag: str) -> bool:
    """Whether it is a known mark, by any name, and a type: `B-PER`."""
    mark, _, kind = tag.partition("-")
    return (mark in MARKS or mark in OTHER_NAMES) and kind != ""


def _split(tag: str) -> tuple[str, str]:
    """Mark (one of B, I, O, E, S) and type; a type may hold hyphens."""
    mark, _, kind = tag.partition("-")
    if mark in MARKS:
        return mark, kind
    return ("I", kind) if kind and mark != "O" else ("O", "")


def scheme_faults(tags: Sequence[str], scheme: Scheme) -> list[tuple[int, str]]:
    """What in one sentence's tags the scheme does not allow.

    Returns:
        (position from 0, what is wrong as a clause that names the tag) in order; empty if nothing.
    """
    faults = []
    mark, kind = "O", ""
    for position, tag in enumerate((*tags, "O")):
        mark_before, kind_before = mark, kind
        mark, kind = _split(tag)
        unfinished = mark_before in "BI"
        continues = unfinished and kind == kind_before and mark != "O"
        if scheme == "BIOES" and unfinished and not (continues and mark in "IE"):
            last = position - 1
            where = f"is before '{tag}'" if position < len(tags) else "ends the sentence"
            ends = f"{_tag('E', kind_before)} or is {_tag('S', kind_before)}"
            faults.append(
                (last, f"'{tags[last]}' {where}, but an entity of BIOES ends with {ends}")
            )
        what = _fault(tag, mark, kind, continues=continues, scheme=scheme)
        if what:
            where = f"is after '{tags[position - 1]}'" if position else "begins the sentence"
            faults.append((position, f"'{tag}' {where}, but {what}"))
    return faults


def _fault(tag: str, mark: str, kind: str, *, continues: bool, scheme: Scheme) -> str:
    """What the scheme has instead of this tag here, or an empty string."""
    if tag != "O" and tag.partition("-")[0] not in tuple(_MARKS[scheme]):
        marks = ", ".join(f"{mark}-TYPE" for mark in _MARKS[scheme])
        return f"the tags of {scheme} are O, {marks}"
    if scheme == "IOB1" and mark == "B" and not continues:
        same = f"another {kind}" if kind else "another"
        return f"an entity of IOB1 begins with {_tag('I', kind)} unless it follows {same}"
    if scheme == "IOB2" and mark == "I" and not continues:
        return f"an entity of IOB2 begins with {_tag('B', kind)}"
    if scheme == "BIOES" and mark in "IE" and not continues:
        return f"an entity of BIOES begins with {_tag('B', kind)} or is {_tag('S', kind)}"
    return ""


def detect_scheme(sentences: Sequence[Sequence[str]]) -> Scheme:
    """The scheme with the fewest faults in a file's tags, one sequence a sentence.

    Equally few (every entity has one word and a B, or there are no entities): IOB2 before IOB1
    before BIOES. A file that fits none still gets the nearest; `scheme_faults` then says what and
    where.
    """
    return min(
        _MARKS,
        key=lambda scheme: sum(len(scheme_faults(tags, scheme)) for tags in sentences),
    )


def convert(tags: Sequence[str], to: Scheme = "IOB2") -> list[str]:
    """The same entities in the tags of a scheme, whatever scheme they were written in."""
    written = ["O"] * len(tags)
    before = None
    for entity in entities(tags):
        marks = ["I"] * (entity.end - entity.start)
        if to == "BIOES":
            marks[0], marks[-1] = "B", "E"
            if len(marks) == 1:
                marks = ["S"]
        elif to == "IOB2" or (before and (before.type, before.end) == (entity.type, entity.start)):
            marks[0] = "B"
        written[entity.start : entity.end] = [_tag(mark, entity.type) for mark in marks]
        before = entity
    return written


def _tag(mark: str, kind: str) -> str:
    return f"{mark}-{kind}" if kind else mark
