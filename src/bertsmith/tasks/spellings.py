"""Labels that are one label to a reader and several to a program: found, and joined if asked for.

Two are alike if they differ in nothing but case, white space, quotes around them, characters that
are not seen, how accents are encoded, or how a number is written (`1`, `1.0`, `01`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from bertsmith.tasks.entities import is_entity_tag
from bertsmith.tasks.examples import Example

_QUOTES = "'\"`´‘’“”„«»"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
_SHOWN = 5
"""Groups."""


def alike(label: str) -> str:
    """What labels that are alike have in common."""
    seen = "".join(sign for sign in label if sign.isspace() or _is_seen(sign))
    words = " ".join(unicodedata.normalize("NFC", seen).split()).strip(_QUOTES).strip()
    if _NUMBER.fullmatch(words):
        return str(float(words) + 0.0)  # -0 is 0
    return unicodedata.normalize("NFC", words.casefold()) or label


def groups(examples: Sequence[Example]) -> list[dict[str, int]]:
    """Labels that are alike, several in each group, with their counts, the most frequent first.

    Of tags of entities these are the types, whose mark is no part of the name.
    """
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update(_name(label) for label in example.labels)
    found: dict[str, dict[str, int]] = {}
    for label, count in counts.most_common():
        found.setdefault(alike(label), {})[label] = count
    return [group for group in found.values() if len(group) > 1]


def joining(found: Sequence[Mapping[str, int]]) -> dict[str, str]:
    """Label -> the most frequent one of its group."""
    return {label: next(iter(group)) for group in found for label in group}


def joined(examples: Sequence[Example], names: Mapping[str, str]) -> list[Example]:
    """Examples with the labels that stand for theirs."""

    def other(label: str) -> str:
        mark = label[: len(label) - len(_name(label))]
        return mark + names.get(_name(label), _name(label))

    return [example.renamed(other) for example in examples]


def told(found: Sequence[Mapping[str, int]], *, are_joined: bool) -> str:
    """The groups as a line."""
    shown = [
        ", ".join(f"'{_visible(label)}' ({count:,})" for label, count in group.items())
        for group in found[:_SHOWN]
    ]
    more = f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    listed = "; ".join(shown) + more
    differ = "differ only in case, spaces, quotes, unseen characters or the writing of numbers"
    if are_joined:
        return f"labels that {differ} are joined to the first of each: {listed}"
    return f"labels that {differ}: {listed}. merge_labels makes one of each group"


def told_of_several(labels: Sequence[str]) -> str | None:
    """A line on labels that look like several in one (`a|b` beside `a`, `[0, 1]`); None: none."""
    singles, line = set(labels), "each is one class here; the kind multi-label gives a text several"
    for mark in "|;,":
        for label in labels:
            if mark in label and any(part.strip() in singles for part in label.split(mark)):
                return f"labels like '{label[:40]}' look like several joined by '{mark}': {line}"
    lists = [label for label in labels if label.startswith("[") and label.endswith("]")]
    if lists:
        return f"labels like '{lists[0][:40]}' look like lists of several: {line}"
    return None


def _name(label: str) -> str:
    return label.partition("-")[2] if is_entity_tag(label) else label


def _is_seen(sign: str) -> bool:
    return unicodedata.category(sign) not in ("Cf", "Cc", "Co", "Cn")


def _visible(label: str) -> str:
    """With the codes of what is not seen and of marks, by which two labels may look the same."""
    return "".join(
        sign
        if sign == " " or (sign.isprintable() and not unicodedata.category(sign).startswith("M"))
        else sign.encode("unicode_escape").decode()
        for sign in label
    )


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Names sorted, whole numbers by value."""
    return tuple(sorted(names, key=_rank))


def _rank(name: str) -> tuple[bool, int, str]:
    is_number = name.isdecimal()
    return not is_number, int(name) if is_number else 0, name
