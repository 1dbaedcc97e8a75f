"""A heat map as an SVG element, e.g. of attention weights between tokens."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bertsmith.reports.svg import (
    FONT,
    PALETTE,
    POINTS,
    WIDTH,
    canvas,
    em,
    matplotlib,
    name_edges,
    short,
    to_svg,
)

_CELL = 0.27  # inches, at most
_SLANT = 0.75


def heat_chart(
    weights: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    row_label: str,
    column_label: str,
) -> str:
    """A grid of squares; a stronger colour is a larger weight, relative to the largest one.

    Args:
        weights: weight of each column's token for each row's token, at least 0 [rows, columns].
        rows: the tokens at the side.
        columns: the tokens below.
        title: text for screen readers.
        row_label: label of the rows.
        column_label: label of the columns.

    Raises:
        ValueError: the shape does not fit the names, or there is no weight.
        MissingExtra: matplotlib is not installed.
    """
    values = np.asarray(weights, np.float64)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise ValueError(f"found weights of shape {values.shape} for {len(rows)}, {len(columns)}")
    shares = values / (values.max() or 1.0)
    names, below_names = [short(name) for name in rows], [short(name) for name in columns]
    left = 0.35 + max(map(em, names)) * FONT / POINTS
    below = 0.4 + _SLANT * max(map(em, below_names)) * FONT / POINTS
    cell = min(_CELL, (WIDTH - left - 0.1) / len(columns))
    # Unused width is left free at the right, so that cells are square.
    right = WIDTH - left - cell * len(columns)
    height = cell * len(rows) + below + 0.1
    with canvas(title, height, margins=(left, below, right, 0.1)) as figure:
        axes = figure.add_subplot()
        rectangle = matplotlib("patches").Rectangle
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                style = {"color": PALETTE[0], "alpha": round(0.04 + 0.9 * float(share), 3)}
                axes.add_patch(rectangle((x + 0.04, y + 0.04), 0.92, 0.92, linewidth=0, **style))
        axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        axes.set_yticks([place + 0.5 for place in range(len(rows))], names)
        axes.set_xticks(
            [place + 0.5 for place in range(len(columns))],
            below_names,
            rotation=45,
            ha="right",
            rotation_mode="anchor",
        )
        name_edges(figure, axes, column_label, row_label)
        return to_svg(figure, title, grid="", spines=())
