"""Charts as SVG elements, drawn by matplotlib in the page's own text and grid colours.

One chart therefore serves light and dark screens. Text stays text, in the page's font. The same
chart is always the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertsmith.reports.language import t
from bertsmith.reports.svg import (
    DASHED,
    FONT,
    INK,
    PALETTE,
    POINTS,
    WIDTH,
    as_percent,
    canvas,
    em,
    matplotlib,
    name_edges,
    note,
    padded,
    short,
    to_svg,
)

_RIGHT, _WRONG = PALETTE[:2]

_FEW_CLASSES, _MOST_CLASSES = 10, 20
_CELLS = np.array([80, 48])
_BARS = 40

_LINE = 0.19  # inches

_TOP = ("data", "axes fraction")
_SIDE = ("axes fraction", "data")


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A dashed reference line across a chart: a baseline, chance or a limit."""

    name: str
    at: float


@dataclass(frozen=True)
class Dots:
    """One row of dots: the scores of several runs of the same setting."""

    name: str
    scores: Sequence[float]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    marks: Sequence[Mark] = (),
    percent: bool = False,
) -> str:
    """A line chart as an SVG element; values that are not finite are skipped.

    Args:
        series: lines, drawn in order.
        title: text for screen readers.
        x_label: label of the x axis, with its unit.
        y_label: label of the y axis, with its unit.
        marks: dashed horizontal lines, named at the right.
        percent: y is a share; the axis shows percent.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with canvas(title, 3.4) as figure:
        axes = figure.add_subplot()
        for number, line in enumerate(series):
            points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=PALETTE[number % len(PALETTE)],
                linewidth=2.0,
                marker="o" if len(points) < 3 else None,
                label=padded(line.name),
            )
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(x=0.01, y=0.08)
        for mark in marks:
            axes.axhline(mark.at, **DASHED)
        low, high = axes.get_ylim()
        for mark in marks:
            crowded = any(0 < other.at - mark.at < 0.08 * (high - low) for other in marks)
            away = (-2, -12 if crowded else 4)
            note(axes, mark.name, (1, mark.at), _SIDE, away, ha="right")
        if percent:
            as_percent(axes.yaxis)
        if len(series) > 1:
            axes.legend(frameon=False, labelcolor=INK, fontsize=FONT)
        return to_svg(figure, title)


def confusion_chart(counts_CC: ArrayLike, labels: Sequence[str], *, title: str) -> str:
    """A confusion matrix with the counts written in its cells.

    Blue is correct, orange wrong; a stronger colour is a larger share of the true class. Of more
    than 20 classes, only the 20 with most mistakes are shown, and the chart says so. With more
    than 10, zeros are left blank and counts from 10,000 on are in thousands.

    Args:
        counts_CC: examples by true class (rows) and predicted class (columns).
        labels: names of the classes, in the order of rows and columns.
        title: text for screen readers.

    Raises:
        ValueError: the counts are not a square of as many classes as labels.
        MissingExtra: matplotlib is not installed.
    """
    counts = np.asarray(counts_CC, np.int64)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"found counts of shape {counts.shape} for {len(labels)} labels")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:_MOST_CLASSES])
    names = [short(labels[place]) for place in shown]
    size, longest = len(names), max(map(em, names))

    left = 0.35 + longest * FONT / POINTS
    cell = (WIDTH - left - 0.1) / size
    slanted = longest * FONT / POINTS > 0.95 * cell
    below = 0.32 + (0.75 * longest if slanted else 1.2) * FONT / POINTS
    height = size * max(0.6 - 0.04 * size, 0.34) + below + 0.1
    written = [[_count(int(count), size) for count in row] for row in counts[shown][:, shown]]
    font = min(10.0, 0.9 * cell * POINTS / max(em(text) for row in written for text in row))
    with canvas(title, height, margins=(left, below, 0.1, 0.1)) as figure:
        axes = figure.add_subplot()
        rectangle = matplotlib("patches").Rectangle
        for y, row in enumerate(shown):
            for x, column in enumerate(shown):
                if not written[y][x]:
                    continue
                colour = _RIGHT if row == column else _WRONG
                # Of the square root; otherwise only the worst mistakes would show.
                alpha = round(0.04 + 0.56 * math.sqrt(shares[row, column]), 3)
                style = {"color": colour, "alpha": alpha, "linewidth": 0, "clip_on": False}
                axes.add_patch(rectangle((x + 0.02, y + 0.03), 0.96, 0.94, **style))
                axes.text(
                    x + 0.5,
                    y + 0.5,
                    written[y][x],
                    ha="center",
                    va="center_baseline",
                    fontsize=font,
                    color=INK,
                )
        axes.set(xlim=(0, size), ylim=(size, 0))
        middles = [place + 0.5 for place in range(size)]
        axes.set_yticks(middles, names)
        slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(middles, names, **slant)
        columns = t("predicted")
        if size < len(labels):
            columns = t(
                "predicted (the {size} of {count} classes with most mistakes)",
                size=size,
                count=len(labels),
            )
        name_edges(figure, axes, columns, t("true"))
        return to_svg(figure, title, grid="", spines=())


def scatter_chart(true: Sequence[float], predicted: Sequence[float], *, title: str) -> str:
    """Predicted against true numbers, with the line where both are equal.

    Points that would cover each other become one at their mean; a stronger colour stands for more
    points. Pairs that are not finite are skipped.

    Raises:
        ValueError: the lengths differ, or no pair is finite.
        MissingExtra: matplotlib is not installed.
    """
    pairs = np.array(list(zip(true, predicted, strict=True)), np.float64).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        raise ValueError("a scatter chart needs a point")
    low, high = _range(pairs.ravel().tolist())
    cells = (_CELLS * (pairs - low) / (high - low)).astype(np.int64)
    _, cell, held = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    means = [np.bincount(cell.ravel(), weights) / held for weights in pairs.T]
    strength = 0.35 + 0.6 * np.log(held) / max(float(np.log(held.max())), 1.0)
    with canvas(title, 4.4) as figure:
        axes = figure.add_subplot()
        axes.scatter(*means, s=18, color=_RIGHT, alpha=strength, linewidth=0)
        if held.max() > 1:
            key = t("each dot: 1 to {most:,} examples", most=int(held.max()))
            note(axes, key, (1, 0), "axes fraction", (-4, 6), ha="right")
        axes.plot([low, high], [low, high], **DASHED)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel=t("true"), ylabel=t("predicted"))
        return to_svg(figure, title, grid="both")


def histogram_chart(
    lengths: Sequence[int],
    *,
    title: str,
    x_label: str,
    y_label: str,
    limit: Mark | None = None,
) -> str:
    """A histogram of lengths, and how many are longer than a limit.

    A long tail is cut off and given as a count, so that the bulk stays readable.

    Raises:
        ValueError: there are no lengths.
        MissingExtra: matplotlib is not installed.
    """
    values = np.asarray(lengths, np.int64)
    if not values.size:
        raise ValueError("a histogram needs a length")
    most = int(values.max())
    near = limit is not None and limit.at <= 2 * most
    border = int(limit.at) if limit and near else int(values.min()) - 1
    least = min(int(values.min()), border + 1)
    top = max(float(np.quantile(values, 0.99)), 1.25 * border)
    top = most if most <= 1.25 * top and not near else max(top, border + 1)
    width = max(1, math.ceil((top - least + 1) / _BARS))
    # Edges are between whole numbers and one is at the limit, so no bar is half too long.
    first = border - width * math.ceil((border - least + 1) / width)
    edges = np.arange(first, top + width, width) + 0.5
    counts, _ = np.histogram(values, edges)
    with canvas(title, 3.0) as figure:
        axes = figure.add_subplot()
        over = edges[:-1] > border if near else np.zeros(len(counts), bool)
        axes.bar(
            edges[:-1] + width / 2,
            counts,
            width=0.92 * width,
            color=[_WRONG if long else _RIGHT for long in over],
        )
        if limit and near:
            axes.axvline(border + 0.5, **DASHED)
            longer = int((values > border).sum())
            words = t(
                "{limit}: {count:,} longer ({share:.1%})",
                limit=limit.name,
                count=longer,
                share=longer / values.size,
            )
            right = border > (edges[0] + edges[-1]) / 2
            away, side = (-5, "right") if right else (5, "left")
            note(axes, words, (border + 0.5, 1), _TOP, (away, -3), ha=side, va="top")
        elif limit:
            note(axes, f"{limit.name} →", (1, 1), "axes fraction", (-2, -3), ha="right", va="top")
        beyond = int((values > edges[-1]).sum())
        if beyond:
            words = t("{count:,} more, up to {most:,} →", count=beyond, most=most)
            note(axes, words, (1, 1), "axes fraction", (-2, 4), ha="right")
        axes.set(xlim=(edges[0], edges[-1]), xlabel=x_label, ylabel=y_label)
        axes.locator_params(integer=True)
        return to_svg(figure, title)


def dots_chart(
    groups: Sequence[Dots],
    *,
    title: str,
    x_label: str,
    marks: Sequence[Mark] = (),
    percent: bool = False,
) -> str:
    """The scores of several runs as dots, one row per group, with mean and standard deviation.

    The deviation is the sample's (n - 1); a single run has none. Scores that are not finite are
    counted as failed.

    Raises:
        ValueError: there are no groups.
        MissingExtra: matplotlib is not installed.
    """
    if not groups:
        raise ValueError("a dots chart needs a group")
    names = [short(group.name, most=18) for group in groups]
    left = 0.2 + max(map(em, names)) * FONT / POINTS
    top = 0.1 + _LINE * len(marks)
    tall = 0.42 * len(groups)
    with canvas(title, 0.5 + tall + top, margins=(left, 0.5, 1.45, top)) as figure:
        axes = figure.add_subplot()
        ends = [mark.at for mark in marks]
        for row, group in enumerate(groups):
            scores = np.asarray(group.scores, np.float64)
            kept = scores[np.isfinite(scores)]
            words = _spread(kept, percent=percent)
            if len(kept) < len(scores):
                failed = len(scores) - len(kept)
                words = t("{scores}, {count} failed", scores=words, count=failed)
            note(axes, words, (1, row), _SIDE, (8, 0), va="center")
            if not len(kept):
                continue
            mean, deviation = float(kept.mean()), float(kept.std(ddof=1)) if len(kept) > 1 else 0.0
            around = [mean - deviation, mean + deviation]
            axes.plot(around, [row, row], color=INK, alpha=0.6)
            axes.plot([mean, mean], [row - 0.28, row + 0.28], color=INK, linewidth=2)
            # Equal scores would hide each other, so the runs of a row are drawn a little apart.
            apart = 0.12 * np.linspace(-1, 1, len(kept)) if len(kept) > 1 else np.zeros(1)
            axes.scatter(kept, row + apart, s=30, color=_RIGHT, alpha=0.7, linewidth=0, zorder=3)
            ends += [*kept.tolist(), *around]
        low, high = _range(ends)
        # Names are stacked, the outermost on top; each ends at its line.
        for level, mark in enumerate(sorted(marks, key=lambda mark: abs(2 * mark.at - low - high))):
            up = 1 + (0.04 + _LINE * level) / tall
            axes.axvline(mark.at, ymax=up + 0.7 * _LINE / tall, clip_on=False, **DASHED)
            away, side = (-4, "right") if 2 * mark.at > low + high else (4, "left")
            note(axes, mark.name, (mark.at, up), _TOP, (away, 2), ha=side)
        axes.set_yticks(range(len(groups)), names)
        axes.set(xlim=(low, high), ylim=(len(groups) - 0.5, -0.5), xlabel=x_label)
        axes.locator_params(axis="x", nbins=6)
        if percent:
            as_percent(axes.xaxis)
        return to_svg(figure, title, grid="x")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The limits of an axis that shows these values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    edge = 0.05 * (high - low) or 0.05 * abs(low) or 0.5
    return low - edge, high + edge


def _count(count: int, classes: int) -> str:
    """The text of a cell; with many classes there is little room."""
    if classes <= _FEW_CLASSES:
        return f"{count:,}"
    return f"{count / 1000:.0f}k" if count >= 10_000 else str(count or "")


def _spread(scores: NDArray[np.float64], *, percent: bool) -> str:
    """Mean and deviation as text."""
    if not len(scores):
        return t("no score")
    scale, digits = (100, 1) if percent else (1, 3)
    mean = f"{scale * scores.mean():.{digits}f}"
    return mean + (f" ± {scale * scores.std(ddof=1):.{digits}f}" if len(scores) > 1 else "")
