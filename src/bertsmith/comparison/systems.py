"""The systems: BERT, GPT, ELMo, and ablations of BERT (paper, section 5.1 and appendix C.2).

A system differs from `bert` only in what its row says.
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
    """The context from which a word is predicted."""
    objective: str
    tuned_as: str = "all layers and a new output layer"
    """What fine-tuning trains."""
    pretraining: dict[str, Any] = field(default_factory=dict)
    """Pre-training settings that differ from BERT's."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """Fine-tuning settings that differ from BERT's."""
    trained_as: str = ""
    """Name of another system whose pre-trained model it uses; empty: it has its own."""
    is_trained: bool = True

    @property
    def knows_masks(self) -> bool:
        """Whether it has seen `[MASK]` in pre-training, which scoring words needs."""
        return bool(self.pretraining.get("mask_mix", (1,))[0])

    @property
    def pretrained(self) -> str:
        """Name of the system whose pre-trained model it uses."""
        return self.trained_as or self.name


REFERENCE = "bert"
"""The system that all others are compared with."""

_BOTH, _LEFT = "both sides", "the left side"
_MLM = "masked words"

MODELS = {
    "bert": System(name="bert", title="BERT", direction=_BOTH, objective=f"{_MLM}, next sentence"),
    "gpt": System(
        name="gpt",
        title="GPT",
        direction=_LEFT,
        objective="next word",
        tuned_as="all layers and a new output layer, plus half the language-model loss; symmetric "
        "pairs in both orders",
        pretraining={"model": "gpt"},
    ),
    "elmo": System(
        name="elmo",
        title="ELMo",
        direction="the left side and, separately, the right side",
        objective="next word, previous word",
        tuned_as="only a task network (BiLSTM and attention) on the frozen model, learning rate "
        "1e-3",
        pretraining={"model": "elmo"},
    ),
}


def _mix(mask: int, same: int, random: int) -> System:
    """A row of the paper's table 8, in its order of the three shares."""
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

# `untrained` has the initial weights of `bert`, so the difference is what pre-training taught.
ABLATIONS: dict[str, list[System]] = {
    "untrained": [
        System(
            name="untrained",
            title="BERT without pre-training",
            direction=_BOTH,
            objective="none",
            is_trained=False,
        )
    ],
    "paper-weights": [
        System(
            name="paper-weights",
            title="BERT with the paper's initial weights",
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
            title="BERT, left to right, with a BiLSTM",
            direction="the left side; the BiLSTM added in fine-tuning sees both sides",
            objective="next word",
            tuned_as="all layers, a new BiLSTM and a new output layer",
            pretraining={"left_to_right": True},
            tuning={"bilstm": True},
            trained_as="left-to-right",
        )
    ],
    "masking": _MASKING,
}


def chosen(models: Sequence[str], ablations: Sequence[str]) -> list[System]:
    """The systems with these names, models first.

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
            f"{option('ablations')} need the unchanged BERT to compare with; add bert to "
            f"{option('models')}."
        )
    if not models:
        raise UsageError(
            f"{option('models')} is empty; name some of {', '.join(MODELS)}, separated by commas."
        )
    if len(systems) < 2:
        raise UsageError(
            f"There is only one system; name at least two {option('models')}, or add "
            f"{option('ablations')}."
        )
    return list(systems.values())


def _unknown(flag: str, name: str, known: Iterable[str]) -> str:
    return (
        f"{flag}: unknown name '{name}'{nearest(name, known)}; choose from {', '.join(known)}, "
        "separated by commas."
    )
