"""Whether BERT wins: yes, no or undecided, by the intervals of the differences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.systems import REFERENCE

Answer = Literal["yes", "no", "undecided"]

_RIVALS = ("gpt", "elmo", "untrained")
"""The systems BERT must beat: the other models, and itself without pre-training."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether BERT wins on one task."""

    task: str
    answer: Answer
    """`yes`: better than every rival; `no`: worse than one of them."""
    rivals: tuple[str, ...]
    against: dict[str, Answer]
    """Other system -> whether BERT is better."""


def verdicts(
    tasks: Sequence[str], systems: Sequence[str], differences: Iterable[Difference]
) -> list[Verdict]:
    """A verdict on each task; none if BERT is not compared.

    The rivals are those of GPT, ELMo and the BERT without pre-training that are compared; without
    any of them, all other systems.

    Args:
        tasks: tasks, as the differences name them.
        systems: names of all compared systems.
        differences: differences of every pair of systems on every task.
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
    """Whether system `name` is the better one of the two."""
    if not found.is_sure:
        return "undecided"
    return "yes" if (found.value > 0) == (found.first == name) else "no"


def overall(against: Mapping[str, Answer], rivals: Sequence[str]) -> Answer:
    """One answer against all rivals."""
    answers = {against[name] for name in rivals if name in against}
    if "no" in answers:
        return "no"
    return "yes" if answers == {"yes"} else "undecided"
