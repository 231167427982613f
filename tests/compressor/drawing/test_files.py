"""Charts drawn as files."""

from pathlib import Path

from compressor.drawing.charts import (
    Bar,
    BarChart,
    Mark,
    Panel,
    PointChart,
    Series,
)
from compressor.drawing.files import save_figures
from compressor.drawing.svg import draw, legend
from exporters.figures import write_latency_png
from samples import sample_benchmark, sample_latency, sample_model


def chart(*series: Series) -> PointChart:
    return PointChart(stem="c", title="T", caption="", alt="A", x_label="x", y_label="y", series=series)


HOSTILE = "_$\\frac{$ 中 <b>"


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
        _, svg = save_figures(one, tmp_path)
        assert svg.stat().st_size > 1000
    model = sample_model(Path("model.onnx"), error=None, error_interval=None)
    benchmark = sample_benchmark({HOSTILE: model}, [sample_latency(HOSTILE)], cpu=HOSTILE)
    assert write_latency_png(benchmark, tmp_path / "latency.png").stat().st_size > 1000


def test_names_are_escaped_and_files_repeat_exactly(tmp_path: Path) -> None:
    one = chart(Series(name="<b>", marks=(Mark(x=1, y=2, note='"n"'),), color=0))
    assert "<b>" not in draw(one) + legend(one)
    assert 'data-note="&quot;n&quot;"' in draw(one)
    first, second = (save_figures(one, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["c.png", "c.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
