"""Tables and pictures to one self-contained HTML file: no network, no script, one inline style.

A report is a list of sections; what is put in is escaped. Pictures are matplotlib's SVG, inlined,
with their ink and grid taken from the page, so that they read well on light and on dark screens.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from bertsmith.extras import require
from bertsmith.files import write_bytes

# Two colours that nothing else uses; the SVG text is searched for them and the page's own put in.
_INK = "#0d0e0f"
_GRID = "#d1d2d3"
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_PALETTE = ("#2563a8", "#c2571a", "#2f8f5b", "#8a4fa3", "#a1872b")


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    """Drawn thin and pale: raw values behind a smoothed line."""


@dataclass(frozen=True)
class Mark:
    """A horizontal line to compare with: a baseline or chance."""

    name: str
    y: float


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    marks: Sequence[Mark] = (),
    percent: bool = False,
) -> str:
    """A line chart as an SVG element; values that are not finite are left out.

    Args:
        series: lines, drawn in order.
        title: said by screen readers and shown above.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        marks: dashed horizontal lines with their name at the right.
        percent: y is a share; the axis shows percent.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure_kind = require("matplotlib.figure", extra="report", purpose="Drawing a chart").Figure
    figure = figure_kind(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    solid = 0
    for line in series:
        points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        colour = _PALETTE[solid % len(_PALETTE)]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            linewidth=0.8 if line.faint else 2.0,
            alpha=0.35 if line.faint else 1.0,
            marker="o" if not line.faint and len(points) < 3 else None,
            label=None if line.faint else line.name,
        )
        solid += not line.faint
    for mark in marks:
        axes.axhline(mark.y, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.65)
        axes.annotate(
            mark.name,
            xy=(1.0, mark.y),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 4),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=_INK,
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.margins(x=0.01, y=0.08)
    if percent:
        ticker = require("matplotlib.ticker", extra="report", purpose="Drawing a chart")
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(xmax=1, decimals=0))
    if sum(not line.faint for line in series) > 1:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
    return _to_svg(figure, axes, title)


def _to_svg(figure: Any, axes: Any, title: str) -> str:
    matplotlib = require("matplotlib", extra="report", purpose="Drawing a chart")
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_GRID)
    axes.tick_params(colors=_INK, length=0, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    buffer = io.StringIO()
    # Text stays text (small, selectable, any script); a fixed salt makes the same chart the same
    # bytes, another one per title keeps the ids of two charts on a page apart.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = _METADATA.sub("", buffer.getvalue())
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace(_GRID, "var(--line)")
    label = escape(title, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


@dataclass(frozen=True)
class Fact:
    """A number for the top of the page."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Blank:
    """A sentence with a blank (`[MASK]`) and what was guessed for it."""

    text: str
    guesses: Sequence[tuple[str, float]]
    """Token and probability, best first."""
    answer: str = ""
    """The word that stood there, if known; the guess that equals it is set in bold."""


@dataclass
class Report:
    """A page that grows section by section and is written once.

    Args:
        title: heading and window title.
        subtitle: one or two sentences under the heading.
        language: the page's language, e.g. `en` or `zh`.
    """

    title: str
    subtitle: str = ""
    language: str = "en"
    _parts: list[str] = field(default_factory=list)

    def facts(self, facts: Sequence[Fact]) -> None:
        """A row of large numbers."""
        tiles = "".join(
            f'<div class="fact"><b>{escape(fact.value)}</b><span>{escape(fact.label)}</span>'
            f"<small>{escape(fact.note)}</small></div>"
            for fact in facts
        )
        self._parts.append(f'<div class="facts">{tiles}</div>')

    def section(self, heading: str, text: str = "") -> None:
        """Starts a section, with an optional paragraph."""
        self._parts.append(f"<h2>{escape(heading)}</h2>")
        if text:
            self.text(text)

    def text(self, paragraph: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{escape(paragraph)}</p>")

    def commands(self, lines: Sequence[str]) -> None:
        """Commands to copy."""
        self._parts.append(f"<pre>{escape(chr(10).join(lines))}</pre>")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = ""
    ) -> None:
        """A table; numbers (and columns that hold only numbers) are set to the right.

        Raises:
            ValueError: a row has another number of cells than there are columns.
        """
        if any(len(row) != len(columns) for row in rows):
            raise ValueError(f"every row of the table needs {len(columns)} cells")
        numeric = [
            bool(rows) and all(isinstance(row[i], int | float) for row in rows)
            for i in range(len(columns))
        ]
        kind = [' class="n"' if number else "" for number in numeric]
        head = "".join(f"<th{k}>{escape(name)}</th>" for k, name in zip(kind, columns, strict=True))
        body = "".join(
            "<tr>"
            + "".join(
                f"<td{k}>{escape(_cell(cell))}</td>" for k, cell in zip(kind, row, strict=True)
            )
            + "</tr>"
            for row in rows
        )
        self._parts.append(
            '<div class="wide"><table>'
            + (f"<caption>{escape(caption)}</caption>" if caption else "")
            + f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def blanks(self, blanks: Sequence[Blank]) -> None:
        """Sentences with a blank, each with its ranked guesses as bars, two in a row."""
        cards = "".join(map(_blank_card, blanks))
        self._parts.append(f'<div class="blanks">{cards}</div>')

    def picture(self, svg: str, caption: str = "") -> None:
        """A picture made by `line_chart`."""
        note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f"<figure>{svg}{note}</figure>")

    def html(self) -> str:
        """The page."""
        return (
            f'<!doctype html>\n<html lang="{escape(self.language, quote=True)}"><head>'
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body><main>"
            f'<h1>{escape(self.title)}</h1><p class="lead">{escape(self.subtitle)}</p>\n'
            + "\n".join(self._parts)
            + "\n</main></body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all.

        Raises:
            SystemFault: the file cannot be written.
        """
        write_bytes(path, self.html().encode())


def _blank_card(blank: Blank) -> str:
    gap = "<mark>&nbsp;?&nbsp;</mark>"
    bars = "".join(
        f"<li{' class=hit' if token == blank.answer else ''}><span>{escape(token)}</span>"
        f'<i style="width:{100 * share:.1f}%"></i><em>{100 * share:.1f}%</em></li>'
        for token, share in blank.guesses
    )
    told = f'<p class="answer">{escape(blank.answer)}</p>' if blank.answer else ""
    sentence = escape(blank.text).replace("[MASK]", gap)
    return f'<div class="blank"><p>{sentence}</p>{told}<ol>{bars}</ol></div>'


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


_STYLE = """
:root{--ink:#1c2024;--soft:#5d6670;--line:#dde1e6;--page:#fbfbfa;--card:#fff;--accent:#2563a8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#9aa4af;--line:#363c43;--page:#16181b;
--card:#1e2125;--accent:#6ba4e0}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.55;font-size:16px;
font-family:system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK SC",sans-serif}
main{max-width:52rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.25rem;margin:2.6rem 0 .4rem;padding-top:1.2rem;border-top:1px solid var(--line)}
p{margin:.5rem 0;max-width:44rem}.lead{color:var(--soft);margin-bottom:1.4rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem;
margin:1rem 0}
.fact,.blank,figure{background:var(--card);border:1px solid var(--line);border-radius:10px}
.fact{padding:.9rem 1rem;display:flex;flex-direction:column}
.fact b{font-size:1.7rem;line-height:1.2;color:var(--accent);font-variant-numeric:tabular-nums}
.fact small{color:var(--soft)}
figure{margin:1rem 0;padding:1rem}figure svg{width:100%;height:auto;display:block}
figure svg text{font-family:inherit!important}
figcaption,caption{color:var(--soft);font-size:.9rem;text-align:left;padding:.3rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.8rem 0;font-size:.95rem}
th,td{text-align:left;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{color:var(--soft);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
.blanks{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:.8rem;
margin:1rem 0}.blank{padding:.8rem 1rem;display:flex;flex-direction:column}
.blank ol{margin-top:auto}
.blank p{margin:0 0 .5rem}
.blank .answer{color:var(--soft);font-size:.9rem}.blank .answer:before{content:"meant: "}
mark{background:var(--accent);color:var(--card);border-radius:4px;padding:0 .15rem}
.blank ol{list-style:none;margin-bottom:0;padding:0}
.blank li{display:grid;grid-template-columns:7rem 1fr 3.6rem;align-items:center;gap:.6rem}
.blank li i{height:.6rem;background:var(--accent);border-radius:3px;opacity:.55;min-width:2px}
.blank li em{font-style:normal;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums}
.blank .hit{font-weight:650}.blank .hit i{opacity:1}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem;
overflow-x:auto;font-size:.9rem}
""".strip()
