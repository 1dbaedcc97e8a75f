"""Minimal pairs as a task of the comparison: each pre-trained model is scored once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import msgspec

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.plan import POSITIONS, Plan
from bertsmith.comparison.result import PAIRS
from bertsmith.comparison.runs import model_folder
from bertsmith.comparison.systems import System
from bertsmith.core.storage import read_json, write_sealed
from bertsmith.core.terminal import Bar
from bertsmith.inference.minimal_pairs import minimal_pairs, read_pairs
from bertsmith.inference.pair_scores import MinimalPairsResult
from bertsmith.inference.predictor import Model
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_FOLDER = "minimal-pairs"


def scored(systems: list[System]) -> list[System]:
    """The systems that have their own pre-trained model and have seen `[MASK]`."""
    return [one for one in systems if not one.trained_as and one.knows_masks]


@dataclass(frozen=True)
class CheckedPairs:
    """Pairs that every system can score."""

    count: int
    fingerprint: str


def check_pairs(plan: Plan, tokenizer: Tokenizer) -> CheckedPairs | None:
    """Reads and checks all pairs; None if the plan has none.

    Raises:
        DataError, UsageError: as `read_pairs`.
    """
    if plan.minimal_pairs is None:
        return None
    read = read_pairs(plan.minimal_pairs, plan.limit, tokenizer, max_length=POSITIONS)
    return CheckedPairs(len(read.good), read.fingerprint)


def score_pairs(
    plan: Plan, out: Path, pairs: CheckedPairs, say: Callable[[str], object]
) -> dict[str, MinimalPairsResult]:
    """System -> result. Results are stored in `out/minimal-pairs/` and not computed twice.

    Args:
        plan: plan with minimal pairs.
        out: folder of the comparison, with all pre-trainings finished.
        pairs: the checked pairs.
        say: called with a line for each system.

    Raises:
        DataError: a sentence is longer than a model's maximum.
        FolderError: a model is damaged.
    """
    assert plan.minimal_pairs is not None
    found = {}
    for system in scored(plan.systems):
        file, model = out / _FOLDER / f"{system.name}.json", model_folder(out, system)
        if file.is_file():
            kept = read_json(file, MinimalPairsResult, sealed=True)
            if kept.fingerprint == pairs.fingerprint:
                # The folder may have been moved.
                found[system.name] = msgspec.structs.replace(kept, model=str(model))
                continue
        say(f"{system.title}: {pairs.count:,} minimal pairs")
        predictor = Model(model)
        with Bar(score="tokens") as bar:
            result = minimal_pairs(
                predictor,
                plan.minimal_pairs,
                limit=plan.limit,
                progress=lambda done, total: bar("score", done, total),
            )
        file.parent.mkdir(exist_ok=True)
        write_sealed(file, result)
        found[system.name] = result
    return found


def pair_differences(found: Mapping[str, MinimalPairsResult]) -> list[Difference]:
    """Differences of every pair of systems in their mean over paradigms.

    The 95% interval over the choice of the pairs combines both systems' intervals (Newcombe 1998,
    method 10; Zou and Donner 2008) as if they were independent. Models mostly agree on the same
    pairs, so it is rather too wide than too narrow.
    """
    differences = []
    for (first, one), (second, other) in combinations(found.items(), 2):
        value = one.overall.score - other.overall.score
        (low, high), (other_low, other_high) = one.overall.interval, other.overall.interval
        below = math.hypot(one.overall.score - low, other_high - other.overall.score)
        above = math.hypot(high - one.overall.score, other.overall.score - other_low)
        differences.append(
            Difference(
                task=PAIRS,
                first=first,
                second=second,
                value=value,
                interval=(value - below, value + above),
            )
        )
    return differences
