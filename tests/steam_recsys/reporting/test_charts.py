import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.reporting.charts import (
    HEIGHT,
    WIDTH,
    Axis,
    Bar,
    Series,
    bar_chart,
    line_chart,
    scatter_chart,
    sparkline,
)
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>&'
POINTS = [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]
X, Y = Axis("across"), Axis("up")

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-1000, 1000).map(float)


def texts(svg: str) -> list[str]:
    return [text.strip() for text in Page(svg).texts if text.strip()]


@pytest.mark.parametrize(
    "svg",
    [
        bar_chart("A title", "label", ["one"], [("row", [(0, Bar(0.5, 0.4, 0.6))])]),
        line_chart("A title", X, Y, [Series("one", POINTS)]),
        scatter_chart("A title", X, Y, [Series("one", POINTS)]),
    ],
)
def test_a_chart_has_a_title_for_screen_readers(svg: str) -> None:
    page = Page(svg)
    assert page.all("svg")[0]["role"] == "img"
    assert page.elements[1][0] == "title"
    assert page.texts[0] == "A title"


def test_every_text_is_escaped() -> None:
    series = [Series(HOSTILE, POINTS, [HOSTILE] * 3), Series(HOSTILE, [])]
    axis = Axis(HOSTILE, [(1.0, HOSTILE)])
    for svg in (
        bar_chart(HOSTILE, HOSTILE, [HOSTILE, HOSTILE], [(HOSTILE, [(0, Bar(1, 1, 1))])]),
        line_chart(HOSTILE, axis, axis, series),
        scatter_chart(HOSTILE, axis, axis, series, [HOSTILE]),
    ):
        assert "<script" not in svg
        assert HOSTILE in Page(svg).texts


def test_bars_are_as_long_as_their_values_and_their_whiskers_as_their_intervals() -> None:
    rows = [("first", [(0, Bar(0.5, 0.25, 1.0)), (1, Bar(0.25, 0.0, 0.5))])]
    svg = bar_chart("Title", "label", ["ours", "theirs"], rows)
    _, _, long, short = (float(rect["width"] or 0) for rect in Page(svg).all("rect"))
    assert long == pytest.approx(2 * short, abs=0.1)
    low, high = map(float, re.findall(r'class="whisker" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)[0])
    assert high - low == pytest.approx(1.5 * long, abs=0.2)
    assert {"0.5000", "0.2500", "ours", "theirs", "first"} <= set(texts(svg))


def test_a_bar_below_zero_goes_the_other_way() -> None:
    svg = bar_chart("Title", "label", ["ours"], [("row", [(0, Bar(-0.5, -1.0, 0.5))])])
    (rect,) = Page(svg).all("rect")
    low, high = map(float, re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)"', svg)[0])
    assert low < float(rect["x"] or 0) < high
    assert float(rect["width"] or 0) == pytest.approx((high - low) / 3, abs=0.2)


def test_a_row_without_bars_says_that_nothing_was_measured() -> None:
    assert "not measured" in texts(bar_chart("Title", "label", ["ours"], [("row", [])]))


def test_a_sparkline_ends_with_a_dot_at_the_last_value() -> None:
    svg = sparkline("Title", [1.0, 3.0, 2.0])
    path = re.findall(r'class="line series-0" d="M([^"]+)"', svg)[0]
    places = [tuple(map(float, place.split())) for place in path.split("L")]
    (dot,) = Page(svg).all("circle")
    assert (float(dot["cx"] or 0), float(dot["cy"] or 0)) == places[-1]
    assert places[0][1] > places[2][1] > places[1][1]


def test_the_labels_of_an_axis_stay_within_the_picture() -> None:
    axis = Axis("across", [(0.0, "2024-03-01"), (2.0, "2024-03-31")])
    svg = line_chart("Title", axis, Y, [Series("one", POINTS)])
    (middle,) = re.findall(r'<text class="middle" x="([\d.]+)" y="[\d.]+">2024-03-31', svg)
    assert float(middle) < WIDTH - 30


def test_points_lie_where_their_numbers_are() -> None:
    svg = scatter_chart("Title", X, Y, [Series("one", POINTS)])
    places = [(float(dot["cx"] or 0), float(dot["cy"] or 0)) for dot in Page(svg).all("circle")]
    (left, bottom), (middle, top), (right, between) = places
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert between == pytest.approx((top + bottom) / 2, abs=0.1)
    assert top < bottom


def test_intervals_stand_at_their_points_and_within_the_frame() -> None:
    svg = line_chart("Title", X, Y, [Series("one", POINTS, intervals=[(0.0, 4.0), (2.0, 2.0), (1.0, 3.0)])])
    line = re.findall(r'class="line series-0" d="M([^"]+)"', svg)[0]
    places = [tuple(map(float, place.split())) for place in line.split("L")]
    whiskers = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", svg.partition('class="line faint series-0"')[2])
    (first, bottom, top), (third, low, high) = (tuple(map(float, whisker)) for whisker in whiskers)  # none of no length
    assert (first, third) == (places[0][0], places[2][0])
    assert low - high == pytest.approx((bottom - top) / 2, abs=0.2)
    assert 0 < top < places[0][1] < bottom < HEIGHT + 8
    assert not Page(svg).all("circle")


def test_named_points_of_a_line_are_labelled_dots() -> None:
    svg = line_chart("Title", X, Y, [Series("one", POINTS, ["a", "b", "c"])])
    assert len(Page(svg).all("circle")) == 3
    assert {"a", "b", "c"} <= set(texts(svg))


def test_ticks_are_round_numbers_or_those_that_are_given() -> None:
    svg = line_chart("Title", X, Axis("up", [(1.0, "low"), (3.0, "high")]), [Series("one", POINTS)])
    assert {"0.0", "0.5", "1.0", "1.5", "2.0", "low", "high"} <= set(texts(svg))


def test_labels_are_placed_by_importance_where_there_is_room() -> None:
    series = Series("one", [(0, 0), (0.01, 0.01), (1, 1)], ["first", "second", "third"])
    svg = scatter_chart("Title", X, Y, [series], ["first", "second", "third", "nowhere"])
    assert [texts(svg).count(name) for name in ("first", "second", "third", "nowhere")] == [2, 1, 2, 0]


def test_every_label_is_placed_above_or_below_if_there_is_no_room_and_points_to_its_dot() -> None:
    names = ["popularity", "recent popularity", "tuned recent popularity", "EASE"]
    series = Series("one", [(0, 0), (0.01, 0.01), (0.01, 0.01), (1, 1)], names)
    svg = scatter_chart("Title", X, Y, [series], names, every_label=True)
    assert [texts(svg).count(name) for name in names] == [2] * 4
    places = sorted(float(y) for y in re.findall(r'<text class="small" x="[\d.]+" y="([\d.]+)"', svg))
    assert all(second - first > 14 for first, second in pairwise(places))
    lines = re.findall(r'<path class="grid" d="M([\d.]+) ([\d.]+)L', svg)
    dots = [(dot["cx"], dot["cy"]) for dot in Page(svg).all("circle")]
    assert lines == dots[1:3]


def test_a_ninth_series_and_those_after_it_are_grey() -> None:
    svg = line_chart("Title", X, Y, [Series(f"line {number}", POINTS) for number in range(10)])
    assert svg.count('class="line series-7"') == 3
    assert "series-8" not in svg


@given(st.lists(st.tuples(numbers, numbers), max_size=6), st.lists(st.tuples(numbers, numbers, numbers), max_size=4))
def test_any_numbers_make_a_chart_within_its_frame(
    points: list[tuple[float, float]], bars: list[tuple[float, float, float]]
) -> None:
    names = [f"point {number}" for number in range(len(points))]
    series = [Series("one", points, names), Series("none", [])]
    assert not re.search("nan|inf", sparkline("Title", [y for _, y in points] or [0.0]))
    for svg in (line_chart("Title", X, Y, series), scatter_chart("Title", X, Y, series, names)):
        assert not re.search("nan|inf", svg)
        for dot in Page(svg).all("circle"):
            assert 0 <= float(dot["cx"] or 0) <= WIDTH
            assert 0 <= float(dot["cy"] or 0) <= HEIGHT + 60
    svg = bar_chart("Title", "label", [], [("row", [(0, Bar(*bar)) for bar in bars])])
    assert not re.search("nan|inf", svg)
    missing = sum(not all(abs(number) <= 1e12 for number in bar) for bar in bars)
    assert texts(svg).count("not measured") == (missing if bars else 1)
