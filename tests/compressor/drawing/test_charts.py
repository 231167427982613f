"""Descriptions of pictures."""

from compressor.drawing.charts import (
    Band,
    Mark,
    PointChart,
    Series,
    outline,
    polyline,
    to_steps,
)


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


def test_equal_points_have_axes_too() -> None:
    one = chart(Series(name="s", marks=(Mark(x=5, y=0),)))
    assert one.x_range[0] < 5 < one.x_range[1]
    assert one.y_range[0] == 0 < one.y_range[1]


def test_intervals_lie_within_the_axes() -> None:
    one = chart(Series(name="s", marks=(Mark(x=1, y=0.5, low=0.1, high=0.9), Mark(x=2, y=0.4))))
    assert one.y_range[0] <= 0.1
    assert one.y_range[1] >= 0.9
