"""Makes a matplotlib figure into an SVG element of a page.

Text and grid colours are the page's own, and the palette reads well on light and dark screens.
Text stays text, in the page's font. The same chart is always the same bytes: the user's matplotlib
settings are ignored.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from bertsmith.core.extras import require

PALETTE = (
    "#3577c2",
    "#c8601f",
    "#2e8f5e",
    "#9a5fb5",
    "#97792a",
    "#1f8a99",
    "#c24a7b",
    "#6d7782",
)
"""Tones with a contrast of 3:1 (WCAG 2.2, graphics) on the page's light and dark cards."""

# Placeholders that no chart uses otherwise; `to_svg` replaces them by the page's own colours.
INK = "#0d0e0f"
GRID = "#d1d2d3"

DASHED: dict[str, Any] = {
    "color": INK,
    "linewidth": 1.0,
    "linestyle": (0, (4, 3)),
    "alpha": 0.65,
}
"""Style of reference lines."""

WIDTH = 7.2
"""Inches. Every chart fills the width of the page, so text has one size in all of them."""

FONT = 9.0
"""Points."""

POINTS = 72.0
"""Points per inch."""

# What matplotlib writes besides the picture, and ids of groups, which repeat in every chart.
_METADATA = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->\n?", re.DOTALL)
_GROUP = re.compile(r'<g id="[^"]*"(/?)>')


def matplotlib(module: str) -> Any:
    """A module of matplotlib.

    Raises:
        MissingExtra: it is not installed.
    """
    return require(f"matplotlib.{module}", extra="report", purpose="Drawing a chart")


@contextmanager
def canvas(
    title: str,
    height: float,
    *,
    margins: tuple[float, float, float, float] | None = None,
) -> Iterator[Any]:
    """A figure without axes: add axes, draw, and call `to_svg`, all inside the block.

    Args:
        title: seed of the element ids, which must be unique on a page.
        height: inches.
        margins: inches at the left, bottom, right and top for labels; None: as matplotlib
            measures. It has no Chinese font, so user labels at the left or below need a margin
            from `em`.
    """
    settings = {
        "font.sans-serif": "DejaVu Sans",
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "text.parse_math": False,
    }
    with matplotlib("style").context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        layout = None if margins else "constrained"
        figure = matplotlib("figure").Figure(figsize=(WIDTH, height), layout=layout)
        if margins:
            left, bottom, right, top = margins
            figure.subplots_adjust(
                left=left / WIDTH,
                bottom=bottom / height,
                right=1 - right / WIDTH,
                top=1 - top / height,
            )
        yield figure


def to_svg(
    figure: Any, title: str, *, grid: str = "y", spines: Sequence[str] = ("left", "bottom")
) -> str:
    """The figure as an SVG element.

    Args:
        figure: made by `canvas`.
        title: text for screen readers.
        grid: axes with grid lines: `x`, `y`, `both` or none (``).
        spines: edges to draw.
    """
    for axes in figure.axes:
        for name, spine in axes.spines.items():
            spine.set_visible(name in spines)
            spine.set_color(GRID)
        axes.tick_params(colors=INK, length=0, labelsize=FONT)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        if grid:
            axes.grid(axis=grid, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = _GROUP.sub(r"<g\1>", _METADATA.sub("", buffer.getvalue()))
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(GRID, "var(--line)")
    label = escape(title, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def note(
    axes: Any,
    text: str,
    at: tuple[float, float],
    within: Any,
    away: tuple[float, float],
    **alignment: str,
) -> None:
    """Writes a few words beside a point.

    Args:
        axes: axes to write on.
        text: the words.
        at: the point.
        within: coordinate system of the point, as in `Axes.annotate`.
        away: offset from it in points.
        alignment: `ha` and `va`.
    """
    axes.annotate(
        text,
        xy=at,
        xycoords=within,
        xytext=away,
        textcoords="offset points",
        fontsize=FONT,
        color=INK,
        annotation_clip=False,
        **alignment,
    )


def name_edges(figure: Any, axes: Any, below: str, left: str) -> None:
    """Writes the names of the axes at the edges of the figure, clear of long labels."""
    box, height = axes.get_position(), figure.get_figheight()
    style: dict[str, Any] = {"fontsize": 10, "color": INK}
    middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    figure.text(middle_x, 0.05 / height, below, ha="center", va="bottom", **style)
    figure.text(0.05 / WIDTH, middle_y, left, ha="left", va="center", rotation=90, **style)


def as_percent(axis: Any) -> None:
    """Shows shares as percent, with as many digits as the ticks need."""
    axis.set_major_formatter(matplotlib("ticker").FuncFormatter(lambda x, _: f"{100 * x:.4g}%"))


def em(text: str) -> float:
    """The approximate width of a text in units of its font size."""
    return sum(1.05 if unicodedata.east_asian_width(c) in "WF" else 0.62 for c in text)


def short(text: str, *, most: float = 15) -> str:
    """A label on one line of at most `most` em; a longer one loses its middle."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if em(line) <= most:
        return line
    middle = len(line) // 2
    head, tail = line[:middle], line[middle:]
    while em(head + tail) > most - 1:
        head, tail = (head[:-1], tail) if em(head) > em(tail) else (head, tail[1:])
    return f"{head.rstrip()}…{tail.lstrip()}"


def padded(text: str) -> str:
    """A label with extra room at its end, as matplotlib measures Chinese too narrow."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return text + "\N{NO-BREAK SPACE}" * round(1.3 * wide)
