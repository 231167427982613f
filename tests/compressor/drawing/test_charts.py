"""Descriptions of pictures, and that page and paper draw what they say."""

import pytest

from compressor.drawing.charts import (
    Band,
    Mark,
    PointChart,
    Series,
    nice_ticks,
    outline,
    polyline,
    to_steps,
)
from compressor.drawing.svg import draw


def chart(*series: Series) -> PointChart:
    return PointChart(stem="c", title="T", caption="", alt="A", x_label="x", y_label="y", series=series)


def test_a_front_is_attained_to_the_right_of_its_points() -> None:
    """From (1, 3) what is attained keeps error 3 until (2, 1) brings it down."""
    assert to_steps([(1, 3), (2, 1)]) == [(1, 3), (2, 3), (2, 1)]
    marks = (Mark(x=2, y=1), Mark(x=1, y=3))
    assert polyline(Series(name="", marks=marks, line="steps")) == [(1, 3), (2, 3), (2, 1)]
    assert polyline(Series(name="", marks=marks, line="straight")) == [(1, 3), (2, 1)]


def test_a_band_reaches_from_the_top_to_the_right() -> None:
    band = Band(best=((1.0, 1.0),), worst=((2.0, 2.0),), color=0)
    assert outline(band, (0, 4), (0, 4)) == [(1, 4), (1, 1), (4, 1), (4, 2), (2, 2), (2, 4)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.17, 0.53, [0.2, 0.3, 0.4, 0.5]), (-3, 9, [-2, 0, 2, 4, 6, 8])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_equal_points_have_axes_too() -> None:
    one = chart(Series(name="s", marks=(Mark(x=5, y=0),)))
    assert one.x_range[0] < 5 < one.x_range[1]
    assert one.y_range[0] == 0 < one.y_range[1]


def test_intervals_lie_within_the_axes() -> None:
    one = chart(Series(name="s", marks=(Mark(x=1, y=0.5, low=0.1, high=0.9), Mark(x=2, y=0.4))))
    assert one.y_range[0] <= 0.1
    assert one.y_range[1] >= 0.9


def test_labels_that_would_overlap_stay_away() -> None:
    apart = tuple(Mark(x=x, y=x, label=f"l{x}") for x in (1, 5, 9))
    same = tuple(Mark(x=5, y=5, label=f"l{n}") for n in range(9))
    assert draw(chart(Series(name="", marks=apart, color=0))).count('class="label"') == 3
    assert draw(chart(Series(name="", marks=same, color=0))).count('class="label"') < 5


"""A name that is half a formula, which matplotlib would fail on, with a letter that its font lacks."""
