import re
import sys
import warnings

import matplotlib
import pytest

from bertsmith.core.errors import MissingExtra
from bertsmith.reports.page import _STYLE
from bertsmith.reports.svg import PALETTE, canvas, em, padded, short, to_svg


def _drawn(label, title="t"):
    with canvas(title, 2.0) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1])
        axes.set_xlabel(label)
        return to_svg(figure, title)


def _luminance(colour):
    """Relative luminance, as WCAG 2.2 defines it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares]
    return sum(x * y for x, y in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def _contrast(one, other):
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_tone_stands_out_on_light_and_dark_cards():
    cards = re.findall(r"--card:(#\w+)", _STYLE)
    full = [card if len(card) == 7 else f"#{card[1:] * 2}" for card in cards]
    assert full == ["#ffffff", "#1e2125"]
    least = min(_contrast(tone, card) for tone in PALETTE for card in full)
    assert least > 3.5
    assert len(set(PALETTE)) == 8


def test_labels_are_text_of_any_script_and_never_formulas():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = _drawn("价格 from $5 to $10 & <more>")
    assert ">价格 from $5 to $10 &amp; &lt;more&gt;</text>" in svg


def test_the_settings_of_the_user_change_nothing():
    plain = _drawn("x")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert _drawn("x") == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_two_charts_share_no_id():
    one, other = (
        set(re.findall(r'\bid="([^"]*)"', _drawn("x", title))) for title in ("loss", "accuracy")
    )
    assert one
    assert one.isdisjoint(other)
    assert all(re.fullmatch(r"[mp][0-9a-f]{10}", name) for name in one | other)


def test_a_title_is_escaped():
    assert 'aria-label="&quot;a&quot; &lt;b&gt;"' in _drawn("x", '"a" <b>')


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(MissingExtra, match=r"bertsmith\[report\]"):
        _drawn("x")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("entailment", "entailment"),
        ("two\nlines\tand\x00 more", "two lines and more"),
        ("a very long class name 1", "a very lon…ass name 1"),
        ("中华人民共和国教育部高等教育司", "中华人民共和…部高等教育司"),
        ("", ""),
    ],
)
def test_a_label_is_short_and_on_one_line(label, shown):
    assert short(label, most=14) == shown
    assert em(short(label, most=14)) <= 14


def test_chinese_is_wider_and_gets_room():
    assert em("中文") > 1.6 * em("ab")
    assert padded("ab") == "ab"
    assert padded("中文") == "中文" + 3 * "\N{NO-BREAK SPACE}"
