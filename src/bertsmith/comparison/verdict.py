"""Whether BERT wins: yes, no, or it cannot be told, by the intervals of the differences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.systems import REFERENCE

Answer = Literal["yes", "no", "cannot be told"]

_RIVALS = ("gpt", "elmo", "untrained")
"""Whom BERT must beat: the other models, and itself without pre-training."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of one task."""

    task: str
    answer: Answer
    """`yes`: better than every rival; `no`: worse than one of them."""
    rivals: tuple[str, ...]
    against: dict[str, Answer]
    """Whether BERT is better than each other system that was scored on this task."""


def verdicts(
    tasks: Sequence[str], systems: Sequence[str], differences: Iterable[Difference]
) -> list[Verdict]:
    """A verdict on each task; none where BERT is not compared.

    Rivals are GPT, ELMo and the BERT without pre-training, as far as they are there, or else all.

    Args:
        tasks: as the differences name them.
        systems: names of all that were compared.
        differences: of every pair on every task.
    """
    others = [name for name in systems if name != REFERENCE]
    if REFERENCE not in systems:
        return []
    rivals = tuple(name for name in others if name in _RIVALS) or tuple(others)
    found: dict[str, dict[str, Answer]] = {task: {} for task in tasks}
    for one in differences:
        if REFERENCE in (one.first, one.second) and one.task in found:
            other = one.second if one.first == REFERENCE else one.first
            found[one.task][other] = answer(one, REFERENCE)
    return [
        Verdict(task=task, answer=overall(row, rivals), rivals=rivals, against=row)
        for task, row in found.items()
    ]


def answer(found: Difference, name: str) -> Answer:
    """Whether the system of that name is the better one of the two."""
    if not found.is_sure:
        return "cannot be told"
    return "yes" if (found.value > 0) == (found.first == name) else "no"


def overall(against: Mapping[str, Answer], rivals: Sequence[str]) -> Answer:
    """One answer for all rivals."""
    answers = {against[name] for name in rivals if name in against}
    if "no" in answers:
        return "no"
    return "yes" if answers == {"yes"} else "cannot be told"
