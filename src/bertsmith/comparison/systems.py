"""What is compared: the three systems, and BERT's ablations (paper, section 5.1 and appendix C.2).

A system differs from `bert` in what its row says and in nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertsmith.core.errors import UsageError, nearest, option


@dataclass(frozen=True, kw_only=True)
class System:
    """One row of the comparison."""

    name: str
    title: str
    direction: str
    """What a word is predicted from."""
    objective: str
    tuned_as: str = "all of it, with one new layer"
    """What is trained in fine-tuning."""
    pretraining: dict[str, Any] = field(default_factory=dict)
    """Settings that differ from the BERT's."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """The same, of the fine-tuning."""
    trained_as: str = ""
    """Another system whose pre-trained model it uses; empty: it has its own."""
    is_trained: bool = True

    @property
    def knows_masks(self) -> bool:
        """Whether it has seen `[MASK]` in pre-training, so that it can be asked with it."""
        return bool(self.pretraining.get("mask_mix", (1,))[0])

    @property
    def pretrained(self) -> str:
        """The system whose pre-training this one begins with."""
        return self.trained_as or self.name


REFERENCE = "bert"
"""The system that the others are compared with."""

_BOTH, _LEFT = "both sides at once", "the left"
_MLM = "masked words"

MODELS = {
    "bert": System(name="bert", title="BERT", direction=_BOTH, objective=f"{_MLM}, next sentence"),
    "gpt": System(
        name="gpt",
        title="GPT",
        direction=_LEFT,
        objective="next word",
        tuned_as="all of it, with one new layer, and half the loss of the next word; both orders "
        "of a pair where none comes first",
        pretraining={"model": "gpt"},
    ),
    "elmo": System(
        name="elmo",
        title="ELMo",
        direction="the left, and apart from it the right",
        objective="next word, and word before",
        tuned_as="nothing of it, but a network of the task's own (BiLSTM and attention), at a rate "
        "of 1e-3",
        pretraining={"model": "elmo"},
    ),
}


def _mix(mask: int, same: int, random: int) -> System:
    """A row of the paper's table 8, whose order of the three is this one."""
    return System(
        name=f"masking-{mask}-{same}-{random}",
        title=f"BERT, {mask}% [MASK], {same}% kept, {random}% random",
        direction=_BOTH,
        objective=f"{_MLM}, next sentence",
        pretraining={"mask_mix": (mask / 100, random / 100, same / 100)},
    )


_MASKING = [
    _mix(100, 0, 0),
    _mix(80, 0, 20),
    _mix(80, 20, 0),
    _mix(0, 20, 80),
    _mix(0, 0, 100),
]

# `untrained` has the initial weights of `bert`, so what lies between the two was learned.
ABLATIONS: dict[str, list[System]] = {
    "untrained": [
        System(
            name="untrained",
            title="BERT, initial weights only",
            direction=_BOTH,
            objective="none",
            is_trained=False,
        )
    ],
    "paper-weights": [
        System(
            name="paper-weights",
            title="BERT from the paper's initial weights",
            direction=_BOTH,
            objective=f"{_MLM}, next sentence",
            pretraining={"initial_weights": "paper"},
        )
    ],
    "no-nsp": [
        System(
            name="no-nsp",
            title="BERT without next sentence",
            direction=_BOTH,
            objective=_MLM,
            pretraining={"pair_task": "none"},
        )
    ],
    "sop": [
        System(
            name="sop",
            title="BERT with sentence order",
            direction=_BOTH,
            objective=f"{_MLM}, sentence order",
            pretraining={"pair_task": "sop"},
        )
    ],
    "left-to-right": [
        System(
            name="left-to-right",
            title="BERT, left to right",
            direction=_LEFT,
            objective="next word",
            pretraining={"left_to_right": True},
        )
    ],
    "left-to-right+bilstm": [
        System(
            name="left-to-right+bilstm",
            title="BERT, left to right, and a BiLSTM",
            direction="the left; the BiLSTM of the fine-tuning sees both sides",
            objective="next word",
            tuned_as="all of it, with a new BiLSTM and one new layer",
            pretraining={"left_to_right": True},
            tuning={"bilstm": True},
            trained_as="left-to-right",
        )
    ],
    "masking": _MASKING,
}


def chosen(models: Sequence[str], ablations: Sequence[str]) -> list[System]:
    """The systems by the names that a user gives, each once, the models first.

    Raises:
        UsageError: a name is unknown, or there is nothing to compare.
    """
    systems: dict[str, System] = {}
    for name in models:
        if name not in MODELS:
            raise UsageError(_unknown(option("models"), name, MODELS))
        systems[name] = MODELS[name]
    for name in ablations:
        if name not in ABLATIONS:
            raise UsageError(_unknown(option("ablations"), name, ABLATIONS))
        systems |= {system.name: system for system in ABLATIONS[name]}
    if ablations and REFERENCE not in systems:
        raise UsageError(
            f"{option('ablations')} are of the BERT, which is not in {option('models')}; name "
            "bert too."
        )
    if not models:
        raise UsageError(
            f"{option('models')} is empty; choose from {', '.join(MODELS)}, with commas."
        )
    if len(systems) < 2:
        raise UsageError(
            f"One system is no comparison; name two {option('models')}, or {option('ablations')}."
        )
    return list(systems.values())


def _unknown(flag: str, name: str, known: Iterable[str]) -> str:
    return (
        f"{flag}: '{name}' is none{nearest(name, known)}; choose from {', '.join(known)}, with "
        "commas between them."
    )
