import xml.etree.ElementTree as ET

import pytest

from bertsmith.reports.calibration import Bin, calibration, calibration_chart


def test_bins_and_error_are_these():
    sure = [0.55, 0.6, 0.65, 0.92, 0.98, 0.96, 1.0]
    right = [True, False, True, True, True, False, True]
    bins, error = calibration(sure, right)
    assert [(part.low, part.high, part.count) for part in bins] == [
        (0.5, 0.6, 2),
        (0.6, 0.7, 1),
        (0.9, 1.0, 4),
    ]
    assert [part.confidence for part in bins] == pytest.approx([0.575, 0.65, 0.965])
    assert [part.accuracy for part in bins] == [0.5, 1.0, 0.75]
    assert error == pytest.approx((2 * 0.075 + 1 * 0.35 + 4 * 0.215) / 7)


@pytest.mark.parametrize("place", range(1, 10))
def test_a_bin_has_its_upper_edge_and_not_its_lower(place):
    [part], _ = calibration([place / 10], [True])
    assert part.high == place / 10


def test_zero_and_a_rounded_one_have_a_bin():
    bins, error = calibration([0.0, 1.000001], [False, True], bins=2)
    assert [(part.low, part.high) for part in bins] == [(0.0, 0.5), (0.5, 1.0)]
    assert error == pytest.approx(0, abs=1e-6)


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    _, error = calibration([0.75] * 4, [True, True, True, False])
    assert error == 0


@pytest.mark.parametrize(
    ("confidences", "rights", "words"),
    [
        ([], [], "found 0 confidences and 0 answers"),
        ([0.5], [True, False], "found 1 confidences and 2 answers"),
        ([1.2], [True], "outside 0 to 1"),
        ([float("nan")], [True], "outside 0 to 1"),
    ],
)
def test_what_is_not_a_confidence_is_refused(confidences, rights, words):
    with pytest.raises(ValueError, match=words):
        calibration(confidences, rights)


def test_the_chart_shows_the_sizes_of_the_bins_from_the_first_on():
    bins = [Bin(0.5, 0.6, 12, 0.55, 0.7), Bin(0.9, 1.0, 3456, 0.97, 0.95)]
    svg = calibration_chart(bins, title="How sure")
    texts = ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if "text" in node.tag]
    assert {"12", "3,456", "50%", "100%", "confidence"} <= set(texts)
    assert "40%" not in texts
    assert calibration_chart(bins, title="How sure") == svg


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs a bin"):
        calibration_chart([], title="t")
