import math
import re
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bertsmith.reports.charts import (
    Dots,
    Mark,
    Series,
    confusion_chart,
    dots_chart,
    histogram_chart,
    line_chart,
    scatter_chart,
)
from bertsmith.reports.svg import em, short


def _line(**changes):
    arguments = {"title": "Loss", "x_label": "step", "y_label": "nats"} | changes
    return line_chart([Series("held-out", [0, 1, 2], [3.0, 2.0, 1.5])], **arguments)


def _texts(svg):
    """What is written in a chart, which must be well-formed XML."""
    root = ET.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]


def _filled(svg, colour):
    """Opacities of the shapes of a colour, 1 where none is given."""
    styles = re.findall(rf'style="fill: {colour}([^"]*)"', svg)
    return [float((re.findall(r"opacity: ([\d.]+)", style) or ["1"])[0]) for style in styles]


BLUE, ORANGE = "#3577c2", "#c8601f"

CHARTS = {
    "line": _line,
    "confusion": lambda: confusion_chart([[5, 1], [0, 3]], ["正面", "<b> $x$"], title="c"),
    "scatter": lambda: scatter_chart([1, 2, 5], [1.5, 2, 4], title="s"),
    "histogram": lambda: histogram_chart(
        [3, 4, 4, 9], title="h", x_label="输入长度", y_label="样本"
    ),
    "dots": lambda: dots_chart([Dots("批大小 & 32", [0.8, 0.9])], title="d", x_label="F1"),
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_chart_is_one_quiet_svg_that_takes_its_ink_from_the_page(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = CHARTS[kind]()
    assert svg.startswith('<svg role="img" aria-label=')
    assert svg.endswith("</svg>")
    assert len(_texts(svg)) > 4
    assert "currentColor" in svg
    assert "#0d0e0f" not in svg
    assert "#d1d2d3" not in svg
    assert "<!--" not in svg
    assert svg == CHARTS[kind]()


def test_a_line_chart_has_its_marks_and_the_grid_of_the_page():
    svg = _line(marks=[Mark("unigram entropy", 2.5)])
    assert "unigram entropy" in _texts(svg)
    assert "var(--line)" in svg


def _height(svg, text):
    return float(re.findall(rf'y="([\d.]+)"[^>]*>{text}</text>', svg)[0])


def test_the_names_of_marks_that_are_close_do_not_meet():
    far = _line(marks=[Mark("upper", 2.5), Mark("lower", 2.0)])
    near = _line(marks=[Mark("upper", 2.5), Mark("lower", 2.45)])
    assert _height(near, "upper") == _height(far, "upper")
    assert _height(near, "lower") - _height(near, "upper") > 16


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
    assert {"20%", "one", "two"} <= set(_texts(svg))


def test_percents_have_the_digits_their_steps_need():
    svg = line_chart(
        [Series("one", [0, 1], [0.82, 0.83])], title="t", x_label="x", y_label="y", percent=True
    )
    steps = [text for text in _texts(svg) if text.endswith("%")]
    assert {"82%", "82.2%"} <= set(steps)
    assert len(steps) == len(set(steps))


def test_a_confusion_says_how_often_and_how_bad():
    svg = confusion_chart([[1500, 500], [0, 16]], ["no", "yes"], title="c")
    assert [text for text in _texts(svg) if text[0].isdigit()] == ["1,500", "500", "0", "16"]
    assert _texts(svg)[-2:] == ["predicted", "true"]
    # 0.04 + 0.56 times the root of the share: 3/4 and 1 are right, 1/4 and 0 are not.
    assert _filled(svg, BLUE) == [0.525, 0.6]
    assert _filled(svg, ORANGE) == [0.32, 0.04]


def test_a_class_without_examples_is_an_empty_row():
    svg = confusion_chart([[0, 0], [1, 1]], ["a", "b"], title="c")
    assert _filled(svg, BLUE) == [0.04, 0.436]


def test_of_many_classes_the_most_confused_are_shown_without_zeros():
    counts = 12_345 * np.eye(25, dtype=np.int64)
    counts[np.arange(4, 24), np.arange(5, 25)] = 7
    counts[4, 5] = 1
    labels = [f"class {number}" for number in range(25)]
    texts = _texts(confusion_chart(counts, labels, title="c"))
    # 5 to 24 have the most mistakes: every one of them but the last is taken for the next.
    assert [text for text in texts if text.startswith("class")] == 2 * labels[5:25]
    assert "predicted (the 20 of 25 classes with most mistakes)" in texts
    assert texts.count("12k") == 20
    assert texts.count("7") == 19
    assert "0" not in texts


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize("label", ["n", "negation", "中华人民共和国教育部高等教育司"])
def test_nothing_in_a_confusion_is_cut_off_or_too_small_to_read(count, label):
    labels = [f"{label}{number}" for number in range(count)]
    svg = confusion_chart(np.full((count, count), 1234), labels, title="c")
    assert min(map(float, re.findall(r"font-size: ([\d.]+)px", svg))) >= 6
    height = float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)', svg)[0])
    ends = re.findall(r'<text [^>]*anchor: end[^>]* x="(.+?)" y="(.+?)" .*?rotate\(-(\d+)', svg)
    longest = 9 * max(em(short(name)) for name in labels)
    assert len(ends) in (count, 2 * count)
    for x, y, turned in ends:
        assert float(x) - longest * math.cos(math.radians(int(turned))) >= 10
        assert float(y) + longest * math.sin(math.radians(int(turned))) <= height - 10


def test_counts_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for 3 labels"):
        confusion_chart([[1, 2], [3, 4]], ["a", "b", "c"], title="c")


def test_few_points_are_shown_one_by_one_and_many_stay_readable():
    few = scatter_chart([0, 1, 2, float("nan")], [0, 2, 1, 1], title="s")
    assert _filled(few, BLUE) == [0.35] * 3
    draws = np.random.default_rng(0)
    gold = draws.integers(0, 6, 20_000)
    svg = scatter_chart(gold.tolist(), (gold + draws.normal(0, 0.4, 20_000)).tolist(), title="s")
    assert len(_filled(svg, BLUE)) < 300
    assert len(svg) < 60_000
    [key] = [text for text in _texts(svg) if text.startswith("each dot")]
    assert re.fullmatch(r"each dot: 1 to \d{3} examples", key)


def test_points_of_one_place_are_one_stronger_dot():
    svg = scatter_chart([1, 1, 1, 3], [1, 1, 1, 3], title="s")
    assert _filled(svg, BLUE) == [0.95, 0.35]
    assert "each dot: 1 to 3 examples" in _texts(svg)


def test_a_scatter_without_a_pair_is_refused():
    with pytest.raises(ValueError, match="needs a point"):
        scatter_chart([float("nan")], [1.0], title="s")
    with pytest.raises(ValueError, match="shorter"):
        scatter_chart([1.0, 2.0], [1.0], title="s")


def _histogram(lengths, limit=None):
    mark = None if limit is None else Mark(f"limit {limit}", limit)
    return histogram_chart(lengths, title="h", x_label="tokens", y_label="inputs", limit=mark)


def test_a_histogram_counts_what_is_longer_than_the_limit():
    svg = _histogram([5, 6, 6, 7, 8, 8, 9, 10], limit=8)
    assert "limit 8: 2 longer (25.0%)" in _texts(svg)
    assert len(_filled(svg, BLUE)) == 4
    assert len(_filled(svg, ORANGE)) == 2


@pytest.mark.parametrize(
    ("lengths", "limit", "words"),
    [
        ([5, 6, 7], 512, "limit 512 →"),
        ([5, 6, 7], 2, "limit 2: 3 longer (100.0%)"),
        ([7], 7, "limit 7: 0 longer (0.0%)"),
        ([*range(10, 110), 5000], 64, "1 more, up to 5,000 →"),
        ([*range(10, 110), 5000], None, "1 more, up to 5,000 →"),
    ],
)
def test_limits_and_tails_out_of_view_are_shown(lengths, limit, words):
    assert words in _texts(_histogram(lengths, limit))


def test_every_length_is_in_a_bar_or_counted():
    lengths = [1, 2, 3] * 30 + [40] * 9 + [41]
    svg = _histogram(lengths, limit=20)
    assert "limit 20: 10 longer (10.0%)" in _texts(svg)
    assert not [text for text in _texts(svg) if "more" in text]


def test_a_histogram_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs a length"):
        _histogram([])


def test_runs_are_dots_with_mean_and_deviation():
    groups = [
        Dots("base", [0.81, 0.83, 0.85]),
        Dots("failing", [0.5, float("nan")]),
        Dots("none", [float("nan")]),
    ]
    marks = [Mark("most frequent", 0.6), Mark("paper", 0.86)]
    svg = dots_chart(groups, title="d", x_label="accuracy", marks=marks, percent=True)
    texts = _texts(svg)
    assert {"83.0 ± 2.0", "50.0, 1 failed", "no score, 1 failed"} <= set(texts)
    assert {"base", "failing", "none", "most frequent", "paper", "60%"} <= set(texts)
    assert len(_filled(svg, BLUE)) == 4
    plain = dots_chart(groups[:1], title="d", x_label="F1")
    assert "0.830 ± 0.020" in _texts(plain)


def test_the_names_of_marks_stand_on_lines_of_their_own():
    marks = [Mark("one", 0.85), Mark("two", 0.86), Mark("three", 0.61)]
    svg = dots_chart([Dots("a", [0.6, 0.9])], title="d", x_label="x", marks=marks)
    heights = [_height(svg, name) for name in ("three", "two", "one")]
    assert min(np.diff(heights)) > 13
    assert min(heights) > 9


def test_equal_scores_and_no_groups():
    svg = dots_chart([Dots("a", [0.5, 0.5])], title="d", x_label="x")
    assert len(_filled(svg, BLUE)) == 2
    assert "0.500 ± 0.000" in _texts(svg)
    with pytest.raises(ValueError, match="needs a group"):
        dots_chart([], title="d", x_label="x")
