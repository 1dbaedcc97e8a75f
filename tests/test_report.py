import re
import xml.etree.ElementTree as ET

import pytest

from bertsmith.report import Blank, Fact, Mark, Report, Series, line_chart


def _chart(**changes):
    arguments = {"title": "Loss", "x_label": "step", "y_label": "nats"} | changes
    return line_chart([Series("held-out", [0, 1, 2], [3.0, 2.0, 1.5])], **arguments)


def test_a_chart_is_one_svg_element_that_takes_its_colours_from_the_page():
    svg = _chart(marks=[Mark("unigram entropy", 2.5)])
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("aria-label") == "Loss"
    assert "unigram entropy" in svg
    assert "currentColor" in svg
    assert "var(--line)" in svg
    assert "#0d0e0f" not in svg


def test_the_same_chart_gives_the_same_bytes_and_other_titles_other_ids():
    assert _chart() == _chart()

    def used(svg):
        return set(re.findall(r"url\(#(\w+)\)", svg))

    assert used(_chart()).isdisjoint(used(_chart(title="Accuracy")))
    assert used(_chart())


def test_values_that_are_not_finite_are_left_out():
    svg = line_chart(
        [Series("a", [0, 1, 2], [1.0, float("nan"), 2.0])], title="t", x_label="x", y_label="y"
    )
    assert "nan" not in svg.lower().replace("finance", "")


def test_percent_axis_and_legend():
    svg = line_chart(
        [Series("one", [0, 1], [0.1, 0.2]), Series("two", [0, 1], [0.3, 0.4])],
        title="t",
        x_label="x",
        y_label="y",
        percent=True,
    )
    assert "20%" in svg
    assert "one" in svg
    assert "two" in svg


def test_a_page_is_self_contained_and_escapes_what_it_is_given(tmp_path):
    page = Report("A <b> report", "sub & title", language="zh")
    page.facts([Fact("51.2%", "accuracy", "chance 50%")])
    page.section("Numbers", "1 < 2")
    page.table(["name", "count"], [["<i>", 1234567], ["x", 2]], caption="counts")
    page.picture(_chart(), "a curve")
    page.blanks([Blank("Paris is the [MASK] of <France>.", [("capital", 0.75), ("city", 0.1)])])
    page.commands(["bertsmith info <folder>"])
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith('<!doctype html>\n<html lang="zh">')
    assert "<title>A &lt;b&gt; report</title>" in html
    assert '<td class="n">1,234,567</td>' in html
    assert "<td>&lt;i&gt;</td>" in html
    assert "of &lt;France&gt;" in html
    assert 'style="width:75.0%"' in html
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
