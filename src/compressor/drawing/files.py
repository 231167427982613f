"""Charts as PNG and SVG files for papers and slides, by matplotlib; the same descriptions as on the page."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.drawing.charts import (
    MUTED,
    PALETTE,
    BarChart,
    Chart,
    HeatMap,
    Mark,
    PointChart,
    Series,
    outline,
    polyline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^", "star": "*"}
_INK = "#1f2933"
_HOT_FROM = 0.8
"""The share from which on a cell is so dark that its number is white."""
_LABEL_WIDTH, _LABEL_HEIGHT = 0.03, 0.04
"""The size of a short label, as shares of the axes."""
_LEGEND_WIDTH = 110
"""Characters that fit beside each other."""
"""Characters in a line."""


def save_figures(chart: Chart, folder: Path) -> list[Path]:
    """Save the chart as `<stem>.png` and `<stem>.svg` in a folder, laid out once."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw_figure(chart)
    paths = [_save(figure, chart, folder / f"{chart.stem}.png")]
    figure.set_layout_engine("none")
    return [*paths, _save(figure, chart, folder / f"{chart.stem}.svg")]


@contextmanager
def plain_texts() -> Iterator[None]:
    """Have text in pictures be no formula, and a letter that the font lacks no warning, for the time of the block."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def legend_name(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


@plain_texts()
def draw_figure(chart: Chart) -> "Figure":
    """Draw a chart as matplotlib's figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [series.name for series in chart.series if series.name] if isinstance(chart, PointChart) else []
    columns = max(1, min(3, _LEGEND_WIDTH // max(map(len, names), default=1)))
    if isinstance(chart, PointChart):
        size = (7.5, 4.7 + 0.22 * -(-len(names) // columns))
    elif isinstance(chart, BarChart):
        size = (7.5, 0.7 + sum(0.45 + 0.26 * len(panel.bars) for panel in chart.panels))
    else:
        size = (max(4.0, 2.2 + 0.5 * len(chart.columns)), 1.2 + 0.27 * len(chart.rows))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if isinstance(chart, PointChart):
        _draw_points(chart, figure.subplots())
        if names:
            figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    elif isinstance(chart, BarChart):
        _draw_bars(chart, figure)
    else:
        _draw_heat_map(chart, figure.subplots())
    return figure


def save_figure(chart: Chart, path: Path) -> Path:
    """Save a chart as a file; the name's end tells which kind. The same chart gives the same file."""
    return _save(draw_figure(chart), chart, path)


@plain_texts()
def _save(figure: "Figure", chart: Chart, path: Path) -> Path:
    import matplotlib

    metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": chart.stem}):
        figure.savefig(path, metadata=metadata)
    return path


def _draw_points(chart: PointChart, axes: "Axes") -> None:
    for band in chart.bands:
        x, y = zip(*outline(band, chart.x_range, chart.y_range), strict=True)
        axes.fill(x, y, color=_color(band.color), alpha=0.18, linewidth=0)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label, xlim=chart.x_range, ylim=chart.y_range)
    for order, series in enumerate(chart.series):
        _draw_series(series, axes, 2 + order)
    _set_title(chart, axes)
    axes.grid(alpha=0.25)


def _draw_series(series: Series, axes: "Axes", order: int) -> None:
    color = _color(series.color)
    style = "none" if series.line == "none" else "--" if series.dashed else "-"
    if series.line != "none":
        x, y = zip(*polyline(series), strict=True)
        axes.plot(x, y, color=color, linewidth=1.4, linestyle=style, zorder=order)
    for mark in series.marks:
        if mark.low is not None and mark.high is not None:
            axes.vlines(mark.x, mark.low, mark.high, color=color, linewidth=1, alpha=0.55, zorder=order)
    for mark in _spaced(series.marks, axes):
        axes.annotate(mark.label, mark.point, xytext=(4, 4), textcoords="offset points", fontsize=8, color=_INK)
    if series.size:
        axes.scatter(
            [mark.x for mark in series.marks],
            [mark.y for mark in series.marks],
            s=(1.7 * series.size) ** 2,
            color=color,
            marker=_MARKERS[series.shape],
            zorder=order,
            linewidths=0,
        )
    if series.name:  # an entry with both line and mark
        marker = _MARKERS[series.shape] if series.size else ""
        axes.plot([], [], color=color, linestyle=style, marker=marker, markersize=6, label=legend_name(series.name))


def _spaced(marks: Sequence[Mark], axes: "Axes") -> list[Mark]:
    """Return the marks with a label, without those whose label would touch that of one before."""
    kept: list[tuple[float, float]] = []
    chosen = []
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for mark in marks:
        x, y = (mark.x - left) / (right - left), (mark.y - bottom) / (top - bottom)
        if mark.label and all(abs(x - a) > _LABEL_WIDTH or abs(y - b) > _LABEL_HEIGHT for a, b in kept):
            kept.append((x, y))
            chosen.append(mark)
    return chosen


def _draw_bars(chart: BarChart, figure: "Figure") -> None:
    heights = [0.45 + 0.26 * len(panel.bars) for panel in chart.panels]
    grid = figure.add_gridspec(len(chart.panels), 1, height_ratios=heights)
    for number, panel in enumerate(chart.panels):
        axes = figure.add_subplot(grid[number])
        places = list(range(len(panel.bars)))
        axes.barh(
            places, [bar.value for bar in panel.bars], color=[_color(bar.color) for bar in panel.bars], height=0.7
        )
        for place, bar in enumerate(panel.bars):
            if bar.low is not None and bar.high is not None:
                axes.hlines(place, bar.low, bar.high, color=_INK, linewidth=1.2)
            end = max(bar.value, bar.high or 0.0)
            axes.annotate(bar.text, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(places, [bar.label for bar in panel.bars], fontsize=9)
        axes.set_xlim(0, 1.45 * chart.scale(panel))
        axes.invert_yaxis()
        axes.set_title(panel.title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(chart.x_label)
    figure.suptitle(chart.title, fontsize=11)


def _draw_heat_map(chart: HeatMap, axes: "Axes") -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("share", ["#ffffff", _color(chart.color)])
    axes.imshow(chart.shares, cmap=colors, vmin=0, vmax=1, aspect="auto")
    for row, texts in enumerate(chart.texts):
        for column, text in enumerate(texts):
            ink = "white" if chart.shares[row][column] > _HOT_FROM else _INK
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(chart.columns)), chart.columns, fontsize=8)
    axes.set_yticks(range(len(chart.rows)), chart.rows, fontsize=8)
    axes.set(xlabel=chart.column_title, ylabel=chart.row_title)
    _set_title(chart, axes)


def _set_title(chart: Chart, axes: "Axes") -> None:
    """Title the picture; matplotlib takes two dollar signs for a formula when it wraps lines, whatever is set."""
    axes.set_title(chart.title, fontsize=11, wrap="$" not in chart.title)


def _color(color: int | None) -> str:
    return MUTED[0] if color is None else PALETTE[color % len(PALETTE)][0]
