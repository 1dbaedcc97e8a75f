"""What minimal pairs say of a model: by paradigm, by phenomenon and in all, with intervals."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from bertsmith.core.terminal import columns

CHANCE = 0.5

AGREEMENT = ("anaphor_agreement", "determiner_noun_agreement", "subject_verb_agreement")
"""BLiMP's phenomena of agreement, whose mean is a score beside the whole."""

# The normal distribution's quantile of 95% intervals.
_Z = 1.959964


class ParadigmScore(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs of one `UID`."""

    name: str
    phenomenon: str
    pairs: int
    right: int
    """The grammatical sentence is the likelier one."""
    ties: int
    """Both are equally likely, which is wrong."""
    score: float
    interval: tuple[float, float]
    """95%; see `mean_interval`."""


class MeanScore(msgspec.Struct, frozen=True, kw_only=True):
    """The mean over paradigms, whatever their numbers of pairs."""

    name: str
    paradigms: int
    pairs: int
    score: float
    interval: tuple[float, float]
    """95%; see `mean_interval`."""


class MinimalPairsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a model prefers."""

    model: str
    data: str
    measure: str
    """How a sentence is scored."""
    precision: Literal["fp32", "bf16"]
    limit: int | None
    """Pairs of each paradigm at most, the first ones; None: all."""
    fingerprint: str
    """Of the pairs in the model's pieces."""
    chance: float
    overall: MeanScore
    agreement: MeanScore | None
    """The mean over the paradigms of `AGREEMENT`; None where the data has none of them."""
    phenomena: list[MeanScore]
    """In the order of the data; none where the data names none."""
    paradigms: list[ParadigmScore]
    """By phenomenon, then in the order of the data."""

    def lines(self) -> list[str]:
        """The same in words."""
        names = [one.name for one in self.phenomena] + [one.name for one in self.paradigms]
        width = 2 + max(map(columns, names))
        lines = [f"{'':{width}} {'pairs':>7} {'right':>7}   95% interval"]
        for phenomenon in self.phenomena:
            lines.append(_line(phenomenon.name, width, phenomenon))
            lines += [
                _line(f"  {one.name}", width, one)
                for one in self.paradigms
                if one.phenomenon == phenomenon.name
            ]
        lines += [_line(one.name, width, one) for one in self.paradigms if not one.phenomenon]
        lines.append("")
        if self.agreement is not None:
            lines.append(_line("agreement", width, self.agreement))
        lines += [
            _line("all", width, self.overall),
            f"Chance is {CHANCE:.1%}. Means are over paradigms. {self._ties()}",
            f"A sentence's score: {self.measure}.",
        ]
        if self.limit is not None:
            lines.append(f"The first {self.limit:,} pairs of each paradigm.")
        return lines

    def _ties(self) -> str:
        ties = sum(one.ties for one in self.paradigms)
        return f"Ties are wrong: {ties:,} of {self.overall.pairs:,} pairs."


def _line(name: str, width: int, one: MeanScore | ParadigmScore) -> str:
    low, high = one.interval
    name += " " * (width - columns(name))
    return f"{name} {one.pairs:>7,} {one.score:>7.1%}   {low:.1%} to {high:.1%}"


def mean_score(name: str, scored: Sequence[ParadigmScore]) -> MeanScore:
    """The mean over paradigms and its interval."""
    return MeanScore(
        name=name,
        paradigms=len(scored),
        pairs=sum(one.pairs for one in scored),
        score=float(np.mean([one.score for one in scored])),
        interval=mean_interval([(one.right, one.pairs) for one in scored]),
    )


def mean_interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """95% interval of a mean of K proportions, over the draw of the pairs of each.

    Of one proportion it is Wilson's (1927). Of several their Wilson limits are combined by squares
    of the distances to the proportions (Newcombe 1998's method 10 for two; Zou and Donner 2008).

    Args:
        counts: right and all of each, K.
    """
    right_K, all_K = np.array(counts, dtype=np.float64).T
    share_K = right_K / all_K
    widening_K = _Z**2 / all_K
    centre_K = (share_K + widening_K / 2) / (1 + widening_K)
    variance_K = share_K * (1 - share_K) / all_K + (widening_K / (2 * _Z)) ** 2
    half_K = _Z * np.sqrt(variance_K) / (1 + widening_K)
    below = np.sqrt(((share_K - (centre_K - half_K)) ** 2).sum()) / len(counts)
    above = np.sqrt(((centre_K + half_K - share_K) ** 2).sum()) / len(counts)
    return max(0.0, float(share_K.mean() - below)), min(1.0, float(share_K.mean() + above))
