"""What charts are drawn on: a matplotlib figure that becomes an SVG element of a page.

Ink and grid come from the page and the tones read well on both, so that one chart serves light and
dark screens. Text stays text, in the page's font. The same chart is the same bytes, whatever
matplotlib is told by the user's own settings.
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
"""Tones that stand out (3:1, as WCAG 2.2 asks of graphics) on the page's light and dark cards."""

# Two colours that nothing else uses; the SVG text is searched for them and the page's own put in.
INK = "#0d0e0f"
GRID = "#d1d2d3"

DASHED: dict[str, Any] = {
    "color": INK,
    "linewidth": 1.0,
    "linestyle": (0, (4, 3)),
    "alpha": 0.65,
}
"""How a line looks that is only there to compare with."""

WIDTH = 7.2
"""Inches. A page makes it its full width, so that a point is the same size in every chart."""

FONT = 9.0
"""Points."""

POINTS = 72.0
"""In an inch."""

# What matplotlib writes besides the picture; the ids of groups are the same in every chart.
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
    """A figure without axes; give it some, draw, and end with `to_svg`, inside the block.

    Args:
        title: gives the ids of the chart, which must differ on a page.
        height: inches.
        margins: inches at the left, bottom, right and top that are kept for labels; without, what
            matplotlib measures. It has no Chinese font, so labels of the user's at the left or
            below need a margin from `em`.
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
        title: said by screen readers.
        grid: which axis has lines: `x`, `y`, `both` or none (``).
        spines: the edges that are drawn.
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
    """A few words beside a place.

    Args:
        axes: where.
        text: the words.
        at: the place.
        within: coordinates of the place, as `Axes.annotate` has them.
        away: distance from it, points.
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
    """Names of the axes at the edges of the figure, clear of labels of any length."""
    box, height = axes.get_position(), figure.get_figheight()
    style: dict[str, Any] = {"fontsize": 10, "color": INK}
    middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    figure.text(middle_x, 0.05 / height, below, ha="center", va="bottom", **style)
    figure.text(0.05 / WIDTH, middle_y, left, ha="left", va="center", rotation=90, **style)


def as_percent(axis: Any) -> None:
    """Shows shares as percent, with as many digits as its steps need."""
    axis.set_major_formatter(matplotlib("ticker").FuncFormatter(lambda x, _: f"{100 * x:.4g}%"))


def em(text: str) -> float:
    """The width of a text, roughly, in units of the size of its font."""
    return sum(1.05 if unicodedata.east_asian_width(c) in "WF" else 0.62 for c in text)


def short(text: str, *, most: float = 15) -> str:
    """A label on one line that is at most so wide, in em; its middle, which tells least, goes."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if em(line) <= most:
        return line
    middle = len(line) // 2
    head, tail = line[:middle], line[middle:]
    while em(head + tail) > most - 1:
        head, tail = (head[:-1], tail) if em(head) > em(tail) else (head, tail[1:])
    return f"{head.rstrip()}…{tail.lstrip()}"


def padded(text: str) -> str:
    """A label with the room at its end that matplotlib does not measure (see `canvas`)."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return text + "\N{NO-BREAK SPACE}" * round(1.3 * wide)
