import re

import pytest

from bertsmith.reports.charts import Series, line_chart
from bertsmith.reports.page import Blank, Card, Fact, Passage, Report, Stretch


def test_a_page_is_self_contained_and_escapes_what_it_is_given(tmp_path):
    page = Report("A <b> report", "sub & title")
    page.facts([Fact("51.2%", "accuracy", "chance 50%")])
    page.section("Numbers", "1 < 2")
    page.table(["name", "count"], [["<i>", 1234567], ["x", 2]], caption="counts")
    curve = line_chart([Series("a", [0, 1], [3, 2])], title="Loss", x_label="x", y_label="y")
    page.picture(curve, "a curve")
    page.texts([Card("true: <a>", [Passage("x < y", [Stretch(2, 3, "<less>")], "<name>")])])
    page.blanks([Blank("Paris is the [MASK] of <France>.", [("capital", 0.75), ("city", 0.1)])])
    page.commands(["bertsmith info <folder>"])
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>A &lt;b&gt; report</title>" in html
    assert '<td class="n">1,234,567</td>' in html
    assert "<td>&lt;i&gt;</td>" in html
    assert "of &lt;France&gt;" in html
    assert 'style="width:75.0%"' in html
    assert "<h3>true: &lt;a&gt;</h3>" in html
    assert '<p class="name">&lt;name&gt;</p>' in html
    assert ">&lt;</mark>" in html
    assert ">&lt;less&gt;</small> y</p>" in html
    body = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in body
    assert not re.search(r"<(script|link|img|iframe)\b|@import|src=", body)
    assert not re.search(r'url\((?!#)|href="(?!#)', body)


def test_the_guess_that_stood_in_the_text_is_marked():
    page = Report("r")
    page.blanks([Blank("a [MASK]", [("dog", 0.5), ("cat", 0.25)], answer="cat")])
    html = page.html()
    assert html.count("class=hit") == 1
    assert "class=hit><span>cat</span>" in html


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="needs 2 cells"):
        Report("r").table(["a", "b"], [[1]])


def test_a_cell_that_is_not_known_is_a_dash_and_leaves_its_column_numeric():
    page = Report("r")
    page.table(["seed", "score", "why", "gone"], [[1, 0.5, None, None], [2, None, "nan", None]])
    html = page.html()
    assert '<td class="n">0.500</td><td>–</td><td>–</td></tr>' in html
    assert '<td class="n">–</td><td>nan</td><td>–</td></tr>' in html


def _passage(text, *stretches):
    page = Report("r")
    page.texts([Card("t", [Passage(text, stretches)])])
    [passage] = re.findall(r'<p class="passage" dir="auto">(.*?)</p>', page.html(), re.DOTALL)
    return passage


def test_a_stretch_is_highlighted_with_its_label_behind_it():
    assert _passage("在上海举行", Stretch(1, 3, "地点", tone=2)) == (
        '在<mark style="--tone:#2e8f5e;box-shadow:0 2px #2e8f5e">上海</mark>'
        '<small style="--tone:#2e8f5e">地点</small>举行'
    )


def test_stretches_may_overlap_and_touch_the_ends():
    html = _passage("abcdef", Stretch(0, 4, "one"), Stretch(2, 6, "two", tone=9))
    assert re.findall(r"<mark[^>]*>(\w+)</mark>", html) == ["ab", "cd", "ef"]
    assert re.sub(r"<[^>]+>", "", html) == "abcdoneeftwo"
    blue, orange = "#3577c2", "#c8601f"
    assert f'"--tone:{blue};box-shadow:0 2px {blue},0 5px {orange}">cd' in html
    assert f'"--tone:{orange};box-shadow:0 2px {orange}">ef' in html


def test_the_text_is_whole_whatever_is_highlighted():
    text = "line one\n\tline <two> & 三"
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            html = _passage(text, Stretch(start, end), Stretch(3, 12))
            shown = re.sub(r"<[^>]+>", "", html)
            assert shown == "line one\n\tline &lt;two&gt; &amp; 三"


def test_long_parts_without_a_stretch_lose_their_middle():
    shown = _passage("a" * 2000 + "HERE" + "b" * 700, Stretch(2000, 2004))
    plain = re.sub(r"<[^>]+>", "", shown)
    assert plain == "a" * 300 + " […] " + "a" * 300 + "HERE" + "b" * 700


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 2), (3, 2), (0, 4)])
def test_a_stretch_outside_its_text_is_refused(start, end):
    with pytest.raises(ValueError, match="in a text of 3 characters"):
        _passage("abc", Stretch(start, end))


def test_a_page_fits_a_phone_by_its_style(tmp_path):
    page = Report("t", "s")
    page.table(["a"], [[1]])
    text = page.html()
    assert "min-width:34rem" not in text
    assert "@media(max-width:40rem)" in text
    assert '<div class="wide"><table>' in text
    assert "scroll" in text.split(".wide{")[1].split("}")[0]
