"""Calibration: whether a model's confidence matches its accuracy, as numbers and as a diagram."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertsmith.reports.language import t
from bertsmith.reports.svg import DASHED, PALETTE, as_percent, canvas, note, to_svg

_RIGHT, _WRONG = PALETTE[:2]


@dataclass(frozen=True)
class Bin:
    """The predictions with a confidence above `low`, up to `high`."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence of these predictions."""
    accuracy: float
    """Share of correct ones among them."""


def calibration(
    confidences: Sequence[float], rights: Sequence[bool], bins: int = 10
) -> tuple[list[Bin], float]:
    """Bins of equal width, and the expected calibration error.

    The error is the gap between confidence and accuracy, averaged over the predictions (Guo et al.
    2017, arXiv 1706.04599, section 2).

    Args:
        confidences: the probability of each prediction, 0 to 1.
        rights: whether the prediction is correct.
        bins: number of bins; empty ones are not returned.

    Raises:
        ValueError: there is no prediction, the lengths differ, or a confidence is not a
            probability.
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(rights, bool)
    if sure.shape != right.shape or not sure.size:
        raise ValueError(f"found {sure.size} confidences and {right.size} answers, expected pairs")
    # A softmax in single precision may slightly exceed one.
    if not bool(np.all((sure >= 0) & (sure <= 1 + 1e-5))):
        raise ValueError("a confidence is outside 0 to 1")
    edges = np.arange(bins + 1) / bins
    number = np.searchsorted(edges[1:-1], sure)
    found = [
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(inside.sum()),
            float(sure[inside].mean()),
            float(right[inside].mean()),
        )
        for place in range(bins)
        if (inside := number == place).any()
    ]
    gap = sum(part.count * abs(part.confidence - part.accuracy) for part in found)
    return found, gap / sure.size


def calibration_chart(bins: Sequence[Bin], *, title: str) -> str:
    """A reliability diagram: accuracy by confidence, above the number of predictions.

    A well-calibrated model is on the diagonal; gaps to it are orange. The size of a dot shows how
    many predictions it stands for; the count is written below it.

    Raises:
        ValueError: there are no bins.
        MissingExtra: matplotlib is not installed.
    """
    if not bins:
        raise ValueError("a calibration chart needs a bin")
    sure, right = [part.confidence for part in bins], [part.accuracy for part in bins]
    low = min(bins[0].low, math.floor(10 * min(right)) / 10)
    with canvas(title, 4.4) as figure:
        axes, sizes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([low, 1], [low, 1], **DASHED)
        axes.vlines(sure, sure, right, color=_WRONG, linewidth=3, alpha=0.6)
        axes.plot(sure, right, color=_RIGHT, linewidth=1.2, alpha=0.5)
        most = max(part.count for part in bins)
        areas = [12 + 60 * part.count / most for part in bins]
        axes.scatter(sure, right, s=areas, color=_RIGHT, linewidth=0, clip_on=False, zorder=3)
        hint = t("below the line: overconfident")
        note(axes, hint, (1, 1), "axes fraction", (0, 7), ha="right")
        axes.set(xlim=(low, 1), ylim=(low, 1), ylabel=t("accuracy"))
        for part in bins:
            middle, width = (part.low + part.high) / 2, part.high - part.low
            sizes.bar(middle, part.count, width=0.92 * width, color=_RIGHT, alpha=0.55)
            note(sizes, f"{part.count:,}", (middle, part.count), "data", (0, 3), ha="center")
        sizes.margins(y=0.35)
        sizes.set(xlabel=t("confidence"), ylabel=t("predictions"), yticks=[])
        for axis in (axes.xaxis, axes.yaxis, sizes.xaxis):
            as_percent(axis)
        return to_svg(figure, title)
