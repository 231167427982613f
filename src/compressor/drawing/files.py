"""Charts as PNG and SVG files for papers and slides."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compressor.drawing.charts import Chart
from compressor.drawing.plots import draw_figure, plain_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML does not allow."""


def save_figures(figure: "Figure", chart: Chart, folder: Path) -> str:
    """Save a drawn chart as `<stem>.png` and `<stem>.svg` in a folder, and return the SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    folder.mkdir(parents=True, exist_ok=True)
    canvas: Any = FigureCanvasAgg(figure)
    with plain_texts():
        canvas.print_png(folder / f"{chart.stem}.png")
    figure.set_layout_engine("none")  # laid out once
    svg = to_svg(figure, chart)
    (folder / f"{chart.stem}.svg").write_text(svg, encoding="utf-8")
    return svg


def to_svg(figure: "Figure", chart: Chart) -> str:
    """Return the SVG of a drawn chart, text as text. The same chart gives the same SVG."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, canvas = io.StringIO(), cast("Any", FigureCanvasSVG(figure))
    # Without a salt matplotlib draws identifiers at random, and with a date no two files are equal.
    with plain_texts(), matplotlib.rc_context({"svg.hashsalt": chart.stem}):
        canvas.print_svg(buffer, metadata={"Date": None})
    figure.set_layout_engine("none")
    return _NO_XML.sub("\ufffd", buffer.getvalue())


@plain_texts()
def save_figure(chart: Chart, path: Path) -> Path:
    """Save a chart as a file; the name's end tells which kind. The same chart gives the same file."""
    draw_figure(chart).savefig(path)
    return path
