"""Charts drawn into a page."""

import re

from compressor.drawing.charts import (
    SHAPES,
    Bar,
    BarChart,
    Chart,
    HeatMap,
    Mark,
    Panel,
    PointChart,
    Series,
)
from compressor.drawing.files import to_svg
from compressor.drawing.plots import draw_figure
from compressor.drawing.svg import inline


def draw(chart: Chart, *, narrow: bool = False) -> str:
    figure = draw_figure(chart, narrow=narrow)
    return "".join(inline(chart, figure, to_svg(figure, chart)).pictures)


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
        panels=(Panel(title="P", bars=(Bar(label="dense", value=1, low=0.5, high=2, text="1.0", note="n"),)),),
    )
    for one in (points, bars):
        wide, narrow = draw(one), draw(one, narrow=True)
        assert re.search(r'viewBox="0 [\d.]+ 540 ', wide)
        assert re.search(r'viewBox="0 0 270 ', narrow)
        assert wide.count("data-note") == narrow.count("data-note") == 1
        assert "font-size:9px" in wide
        assert set(re.findall(r"font-size:\d+px", narrow)) == set(re.findall(r"font-size:\d+px", wide))
    assert "longer than<" in draw(bars, narrow=True)


def test_long_names_of_bars_are_not_cut_off() -> None:
    name = "pruned-openvino-fp32"
    panel = Panel(title="P", bars=(Bar(label=name, value=1, text="1.0"), Bar(label="dense", value=2, text="2.0")))
    wide = draw(BarChart(stem="b", title="T", caption="", alt="A", x_label="x", panels=(panel,)))
    ends = [float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor:end', wide)]
    assert len(ends) == 2
    assert min(ends) >= 5 * len(name)
    starts = [float(x) for x in re.findall(r'<path d="M([\d.]+) [^"]*" style="fill:var\(--muted\)"', wide)]
    assert len(starts) == 2
    assert min(starts) > max(ends)


def test_nothing_stays_that_loads_or_that_another_picture_could_have_too() -> None:
    marks = tuple(Mark(x=n, y=n, low=n - 1, high=n + 1, label=str(n), note=f"note {n}") for n in range(5))
    shapes = [Series(name=shape, marks=marks, color=n, shape=shape) for n, shape in enumerate(SHAPES)]
    svg = draw(chart(*shapes))
    assert not re.search(r"http|\bid=|href|url\(|<metadata|<defs|<style|clip-path", svg)
    assert not re.search("#[0-9a-f]{6}", svg)  # colours are the page's
    assert re.findall('data-note="(.*?)"', svg) == [f"note {n}" for n in range(5)] * len(SHAPES)


def test_notes_lie_on_what_they_are_about() -> None:
    marks = (Mark(x=0, y=0, note="low"), Mark(x=10, y=10, note="high"))
    places = re.findall(
        r'<circle cx="(.*?)" cy="(.*?)" r="[\d.]+" data-note="(.*?)"', draw(chart(Series(name="", marks=marks)))
    )
    (x, y, first), (right, top, second) = places
    assert (first, second) == ("low", "high")
    assert float(x) < float(right)
    assert float(y) > float(top)
    cells = HeatMap(
        stem="h",
        title="T",
        caption="",
        alt="",
        row_title="r",
        column_title="c",
        rows=("a", "b"),
        columns=("0", "1"),
        shares=((1.0, 0.5), (0.25, 0.0)),
        texts=(("4", "2"), ("1", "0")),
        notes=(("a0", "a1"), ("b0", "b1")),
    )
    drawn = re.findall(
        r'<path d="[^"]*" style="fill:([^;"]*)(?:;fill-opacity:([\d.]+))?[^"]*" data-note="(.*?)"', draw(cells)
    )
    assert [(opacity, note) for _, opacity, note in drawn] == [("", "a0"), ("0.5", "a1"), ("0.25", "b0"), ("", "b1")]
    assert [color for color, *_ in drawn] == [*["var(--c0)"] * 3, "none"]


def test_many_points_are_one_path() -> None:
    marks = tuple(Mark(x=n, y=n % 7, note="n") for n in range(701))
    svg = draw(chart(Series(name="", marks=marks, size=3)))
    assert "data-note" not in svg
    assert svg.count("h0") == 701
    assert len(svg) < 30_000


def test_names_are_escaped() -> None:
    svg = draw(chart(Series(name="<b>", marks=(Mark(x=1, y=2, label="<b>", note='"n"'),), color=0)))
    assert "<b>" not in svg
    assert "&lt;b&gt;</text>" in svg
    assert 'data-note="&#34;n&#34;"' in svg


def test_a_legend_shows_line_and_mark_of_each_series() -> None:
    marks = (Mark(x=1, y=2), Mark(x=2, y=1))
    lines = Series(name="lines", marks=marks, color=0, line="steps", dashed=True, size=0)
    both = Series(name="both", marks=marks, color=1, line="straight", shape="square")
    one = chart(lines, Series(name="", marks=marks), both, Series(name="marks", marks=marks))
    figure = draw_figure(one)
    first, second, third = inline(one, figure, to_svg(figure, one)).keys
    assert ("dasharray" in first, "dasharray" in second) == (True, False)
    assert ["transform" in each or "circle" in each for each in (first, second, third)] == [False, True, True]
    assert ["fill:none" in each for each in (first, second, third)] == [True, True, False]
