"""Charts drawn into a page."""

import re

from compressor.drawing.charts import (
    Bar,
    BarChart,
    Mark,
    Panel,
    PointChart,
    Series,
)
from compressor.drawing.svg import draw


def chart(*series: Series) -> PointChart:
    return PointChart(stem="c", title="T", caption="", alt="A", x_label="x", y_label="y", series=series)


def test_a_phone_gets_a_drawing_with_text_of_the_same_size() -> None:
    points = chart(Series(name="s", marks=(Mark(x=1, y=2, label="1", note="n"),), color=0))
    bars = BarChart(
        stem="b",
        title="T",
        caption="",
        alt="A",
        x_label="a name of the axis that is longer than a phone is wide, so it has lines",
        panels=(Panel(title="P", bars=(Bar(label="dense", value=1, low=0.5, high=2, text="1.0"),)),),
    )
    for one in (points, bars):
        wide, narrow = draw(one), draw(one, narrow=True)
        assert 'viewBox="0 0 560 ' in wide
        assert 'viewBox="0 0 350 ' in narrow
        assert wide.count('class="mark') == narrow.count('class="mark')
        assert wide.count('class="bar') == narrow.count('class="bar')
    assert "longer than a phone is<" in draw(bars, narrow=True)


def test_long_names_of_bars_are_not_cut_off() -> None:
    name = "pruned-openvino-fp32"
    panel = Panel(title="P", bars=(Bar(label=name, value=1, text="1.0"), Bar(label="dense", value=2, text="2.0")))
    wide = draw(BarChart(stem="b", title="T", caption="", alt="A", x_label="x", panels=(panel,)))
    ends = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="end">', wide)]
    assert len(ends) == 2
    assert min(ends) >= 7.5 * len(name)
    starts = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', wide)]
    assert min(starts) > max(ends)
