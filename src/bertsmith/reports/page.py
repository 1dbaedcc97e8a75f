"""A report page: tables, texts and charts in one self-contained HTML file, without any script.

A report is a list of sections. Everything put in is escaped; charts are inlined SVG. The page
reads well on light and dark screens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from bertsmith.core.storage import write_bytes
from bertsmith.reports.language import current_language, t
from bertsmith.reports.svg import PALETTE

# An unmarked part of a text longer than _UNCUT characters keeps only _SIDE of them at each end.
_UNCUT, _SIDE = 700, 300


@dataclass(frozen=True)
class Fact:
    """A number for the top of the page."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Blank:
    """A sentence with a blank (`[MASK]`) and the model's predictions for it."""

    text: str
    guesses: Sequence[tuple[str, float]]
    """Token and probability, best first."""
    answer: str = ""
    """The original word, if known; a prediction equal to it is set in bold."""


@dataclass(frozen=True)
class Stretch:
    """A highlighted span of a text, in characters; spans may overlap."""

    start: int
    end: int
    label: str = ""
    """Shown small after it, e.g. the type of an entity."""
    tone: int = 0
    """Index into `svg.PALETTE`; starts over after its end."""


@dataclass(frozen=True)
class Passage:
    """A text to read, with or without highlighted spans."""

    text: str
    stretches: Sequence[Stretch] = ()
    name: str = ""
    """Role of the text in the example, e.g. `question`."""


@dataclass(frozen=True)
class Card:
    """An example: a heading and its texts."""

    title: str
    """E.g. `true: neutral, predicted: entailment (98%)`."""
    passages: Sequence[Passage]


@dataclass
class Report:
    """A page that is filled section by section and written once, in the current language.

    Args:
        title: heading and window title.
        subtitle: one or two sentences under the heading.
    """

    title: str
    subtitle: str = ""
    language: str = field(default_factory=current_language, init=False)
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

    def links(self, targets: Sequence[tuple[str, str]]) -> None:
        """A list of links: names, and targets relative to the page's folder."""
        items = "".join(
            f'<li><a href="{escape(quote(target), quote=True)}">{escape(name)}</a></li>'
            for name, target in targets
        )
        self._parts.append(f"<ul>{items}</ul>")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = ""
    ) -> None:
        """A table; numbers are aligned right, None is shown as a dash.

        Raises:
            ValueError: a row does not have one cell per column.
        """
        if any(len(row) != len(columns) for row in rows):
            raise ValueError(f"every row of the table needs {len(columns)} cells")
        numeric = [
            any(isinstance(row[i], int | float) for row in rows)
            and all(isinstance(row[i], int | float | None) for row in rows)
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
        """Sentences with a blank, each with its ranked predictions as bars, two in a row."""
        cards = "".join(map(_blank_card, blanks))
        self._parts.append(f'<div class="blanks">{cards}</div>')

    def texts(self, cards: Sequence[Card]) -> None:
        """Examples to read, one below the other; long parts without highlights are shortened.

        Raises:
            ValueError: a highlight is outside its text.
        """
        self._parts.append("".join(map(_text_card, cards)))

    def picture(self, svg: str, caption: str = "") -> None:
        """A chart made by `reports.charts`."""
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
        """Writes the page atomically.

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
    original = t("original: {word}", word=blank.answer)
    answer = f'<p class="answer">{escape(original)}</p>' if blank.answer else ""
    sentence = escape(blank.text).replace("[MASK]", gap)
    return f'<div class="blank"><p>{sentence}</p>{answer}<ol>{bars}</ol></div>'


def _text_card(card: Card) -> str:
    passages = "".join(
        (f'<p class="name">{escape(passage.name)}</p>' if passage.name else "")
        + f'<p class="passage" dir="auto">{_highlighted(passage)}</p>'
        for passage in card.passages
    )
    return f'<div class="card"><h3>{escape(card.title)}</h3>{passages}</div>'


def _highlighted(passage: Passage) -> str:
    """The text as HTML, cut wherever a highlight starts or ends, so that they may overlap."""
    text, stretches = passage.text, passage.stretches
    for part in stretches:
        if not 0 <= part.start < part.end <= len(text):
            raise ValueError(f"{part} is not in a text of {len(text)} characters")
    cuts = sorted({0, len(text)}.union(*((part.start, part.end) for part in stretches)))
    html = []
    for start, end in pairwise(cuts):
        over = [part for part in stretches if part.start <= start and end <= part.end]
        if over:
            html.append(f'<mark style="{_tones(over)}">{escape(text[start:end])}</mark>')
        else:
            html.append(escape(_shortened(text[start:end])))
        html += [
            f'<small style="--tone:{_tone(part)}">{escape(part.label)}</small>'
            for part in stretches
            if part.end == end and part.label
        ]
    return "".join(html)


def _tone(part: Stretch) -> str:
    return PALETTE[part.tone % len(PALETTE)]


def _tones(over: Sequence[Stretch]) -> str:
    """CSS for overlapping highlights: the first one's background, and a line below for each."""
    lines = ",".join(f"0 {2 + 3 * place}px {_tone(part)}" for place, part in enumerate(over))
    return f"--tone:{_tone(over[0])};box-shadow:{lines}"


def _shortened(text: str) -> str:
    return text if len(text) <= _UNCUT else f"{text[:_SIDE].rstrip()} […] {text[-_SIDE:].lstrip()}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return t("yes") if value else t("no")
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
.fact,.blank,.card,figure{background:var(--card);border:1px solid var(--line);border-radius:10px}
.fact{padding:.9rem 1rem;display:flex;flex-direction:column}
.fact b{font-size:1.7rem;line-height:1.2;color:var(--accent);font-variant-numeric:tabular-nums}
.fact small{color:var(--soft)}
figure{margin:1rem 0;padding:1rem;overflow-x:auto}
figure svg{width:100%;height:auto;display:block}
figure svg text{font-family:inherit!important}
figcaption,caption{color:var(--soft);font-size:.9rem;text-align:left;padding:.3rem 0}
.wide{overflow-x:auto;background:
linear-gradient(to right,var(--page) 40%,transparent) left/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--page) 40%,transparent) right/2.5rem 100% no-repeat local,
linear-gradient(to right,#0003,transparent) left/.8rem 100% no-repeat scroll,
linear-gradient(to left,#0003,transparent) right/.8rem 100% no-repeat scroll}
table{border-collapse:collapse;width:100%;margin:.8rem 0;font-size:.95rem}
th,td{text-align:left;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{color:var(--soft);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
.blanks{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:.8rem;
margin:1rem 0}.blank{padding:.8rem 1rem;display:flex;flex-direction:column}
.blank ol{margin-top:auto}
.blank p{margin:0 0 .5rem}
.blank .answer{color:var(--soft);font-size:.9rem}
mark{background:var(--accent);color:var(--card);border-radius:4px;padding:0 .15rem}
.blank ol{list-style:none;margin-bottom:0;padding:0}
.blank li{display:grid;grid-template-columns:7rem 1fr 3.6rem;align-items:center;gap:.6rem}
.blank li i{height:.6rem;background:var(--accent);border-radius:3px;opacity:.55;min-width:2px}
.blank li em{font-style:normal;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums}
.blank .hit{font-weight:650}.blank .hit i{opacity:1}
.card{padding:.8rem 1rem;margin:.8rem 0}.card p{max-width:none;margin:.3rem 0 0}
.card h3{font-size:1rem;margin:0 0 .4rem}.card .name{color:var(--soft);font-size:.85rem}
.card .passage{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.85}
.card mark{background:color-mix(in srgb,var(--tone) 22%,transparent);color:inherit;
border-radius:3px 3px 0 0;padding:.1rem 0}
.card small{font-size:.75rem;line-height:1;margin:0 .15rem 0 .2rem;padding:0 .3rem;
white-space:nowrap;user-select:none;border:1px solid var(--tone);
border-radius:4px;vertical-align:.1em}
a{color:var(--accent)}
@media(max-width:40rem){main{padding:1.5rem .9rem 3rem}figure{padding:.6rem .4rem}
figure svg text{font-size:10.5px!important}.wide td,.wide th{padding-right:.9rem}
.n,th{white-space:nowrap}}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem;
overflow-x:auto;font-size:.9rem}
""".strip()
