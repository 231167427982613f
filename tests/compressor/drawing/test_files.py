"""Charts drawn as files."""

import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compressor.drawing.charts import (
    Bar,
    BarChart,
    Mark,
    Panel,
    PointChart,
    Series,
)
from compressor.drawing.files import save_figure, save_figures, to_svg
from compressor.drawing.plots import draw_figure
from exporters.figures import error_chart
from samples import sample_benchmark, sample_latency, sample_model


def texts_of(svg: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg)]


def chart(*series: Series) -> PointChart:
    return PointChart(stem="c", title="T", caption="", alt="A", x_label="x", y_label="y", series=series)


HOSTILE = "_$\\frac{$ 中 <b>\x1b"
"""A name that is half a formula, which matplotlib would fail on, with a letter that its font lacks, and no XML."""


def test_names_in_pictures_are_no_formulas(tmp_path: Path) -> None:
    series = (Series(name=HOSTILE, marks=(Mark(x=1, y=2, label=HOSTILE),), color=0),)
    texts = {"title": HOSTILE, "caption": "", "alt": "", "x_label": HOSTILE, "y_label": HOSTILE}
    points = PointChart(stem="p", series=series, **texts)
    bars = BarChart(
        stem="b",
        title=HOSTILE,
        caption="",
        alt="",
        x_label=HOSTILE,
        panels=(Panel(title=HOSTILE, bars=(Bar(label=HOSTILE, value=1, text=HOSTILE),)),),
    )
    for one in (points, bars):
        save_figures(draw_figure(one), one, tmp_path)
        svg = tmp_path / f"{one.stem}.svg"
        assert svg.stat().st_size > 1000
        assert HOSTILE.replace("\x1b", "\ufffd") in "".join(ElementTree.parse(svg).getroot().itertext())
    model = sample_model(Path("model.onnx"), error=None, error_interval=None)
    benchmark = sample_benchmark({HOSTILE: model}, [sample_latency(HOSTILE)], cpu=HOSTILE)
    assert save_figure(error_chart(benchmark), tmp_path / "latency.png").stat().st_size > 1000


def test_files_repeat_exactly(tmp_path: Path) -> None:
    one = chart(Series(name="<b>", marks=(Mark(x=1, y=2, note='"n"'),), color=0))
    for name in ("a", "b"):
        save_figures(draw_figure(one), one, tmp_path / name)
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert [path.name for path in first] == ["c.png", "c.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.17, 0.53, ["0.2", "0.3", "0.4", "0.5"]),
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-2.4, 8.4, ["-2", "0", "2", "4", "6", "8"]),
        (2e6, 2.5e6, ["2e+06", "2.1e+06", "2.2e+06", "2.3e+06", "2.4e+06", "2.5e+06"]),
    ],
)
def test_ticks_are_round_and_written_out(low: float, high: float, ticks: list[str]) -> None:
    one = chart(Series(name="", marks=(Mark(x=1, y=low), Mark(x=1, y=high)), size=0))
    texts = texts_of(to_svg(draw_figure(one), one))
    assert texts[texts.index("x") + 1 : texts.index("y")] == ticks


def test_labels_that_would_overlap_stay_away() -> None:
    def count(*marks: Mark) -> int:
        one = chart(Series(name="", marks=marks, color=0))
        return len([text for text in texts_of(to_svg(draw_figure(one), one)) if text.startswith("l")])

    assert count(*(Mark(x=x, y=x, label=f"l{x}") for x in (1, 5, 9))) == 3
    assert 0 < count(*(Mark(x=5, y=5, label=f"l{n}") for n in range(9))) < 5
