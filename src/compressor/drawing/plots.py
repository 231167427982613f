"""Charts as figures of matplotlib; `files` saves them, `svg` makes them part of a page."""

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compressor.drawing.charts import (
    GRID,
    INK,
    MUTED,
    ON_COLOR,
    PALETTE,
    PAPER,
    SOFT,
    Bar,
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
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

TITLE, KEY, PANEL = "title", "key", "panel"
"""Names of groups in an SVG: the title, and with a number what the legend shows of a series, a panel's title."""
_DPI = 150
_WIDTH, _NARROW_WIDTH, _NARROW_HEIGHT = 7.5, 3.75, 3.4
"""Sizes in inches: of files and of pages for a wide screen; of pages for a phone, text having the same size."""
_STYLE: Any = {
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": GRID,
    "svg.fonttype": "none",
}
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^", "star": "*"}
_MUTED_ALPHA = 0.65
_WARM_FROM, _HOT_FROM = 0.6, 0.8
"""Shares from which on a cell's text has to change its colour: on a dark page, on a light one."""
_CHAR = 5.2
"""Points, the width of a character of a mark's label, about."""
_LABEL_PLACES = ((5, 4), (-5, -11), (5, -11), (-5, 4))
"""Points from a mark to the lower corner of its label that is next to it, the best first."""
_LEGEND_WIDTH, _AXIS_WIDTH, _NARROW_AXIS_WIDTH = 110, 75, 38
"""Characters in a line."""
_Box = tuple[float, float, float, float]


@contextmanager
def plain_texts() -> Iterator[None]:
    """Have text in pictures be no formula, and a letter that the font lacks no warning, for the time of the block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _legend_name(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def find_notes(chart: Chart) -> dict[str, list[str]]:
    """Return the notes of what is drawn, by the name of its group in an SVG, in the order in which it is drawn."""
    if isinstance(chart, PointChart):
        return {f"marks{n}": [mark.note for mark in series.marks] for n, series in enumerate(chart.series)}
    if isinstance(chart, BarChart):
        panels = enumerate(chart.panels)
        return {f"bar{number}.{n}": [bar.note] for number, panel in panels for n, bar in enumerate(panel.bars)}
    return {"cells": [note for notes in chart.notes for note in notes]}


@plain_texts()
def draw_figure(chart: Chart, *, narrow: bool = False) -> "Figure":
    """Draw a chart as matplotlib's figure; `narrow` for a phone, without what a page says in HTML: title and legend."""
    if isinstance(chart, PointChart):
        return _draw_points(chart, narrow)
    return _draw_bars(chart, narrow) if isinstance(chart, BarChart) else _draw_heat_map(chart)


def _new_figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    # Without pyplot: that keeps figures for ever, and may want a display. A figure needs some canvas to measure texts.
    FigureCanvasAgg(figure)
    return figure


def _draw_points(chart: PointChart, narrow: bool) -> "Figure":
    names = [series.name for series in chart.series if series.name]
    columns = max(1, min(3, _LEGEND_WIDTH // max(map(len, names), default=1)))
    width, height = (_NARROW_WIDTH, _NARROW_HEIGHT) if narrow else (_WIDTH, 4.7)
    # 0.22 inches for each line of the legend, which lies below the axes.
    figure = _new_figure(width, height if narrow else height + 0.22 * -(-len(names) // columns))
    axes = figure.subplots()
    for band in chart.bands:
        x, y = zip(*outline(band, chart.x_range, chart.y_range), strict=True)
        axes.fill(x, y, color=_color(band.color), alpha=0.18, linewidth=0)
    line = _NARROW_AXIS_WIDTH if narrow else _AXIS_WIDTH
    axes.set_xlabel(textwrap.fill(chart.x_label, line))
    axes.set_ylabel(textwrap.fill(chart.y_label, _NARROW_AXIS_WIDTH if narrow else int(_AXIS_WIDTH * height / width)))
    axes.set(xlim=chart.x_range, ylim=chart.y_range)
    _set_ticks(axes.xaxis, 5 if narrow else 8)
    _set_ticks(axes.yaxis, 6)
    for number, series in enumerate(chart.series):
        _draw_series(series, axes, number)
    # About what title, ticks and axis labels leave of the figure; 72 points are an inch.
    _draw_labels(chart, axes, (0.86 * 72 * width, 0.8 * 72 * height))
    axes.grid()
    if not narrow:
        _set_title(chart, axes)
    if names and not narrow:
        legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        for number, handle in enumerate(legend.legend_handles):
            if handle is not None:
                handle.set_gid(f"{KEY}{number}")
    return figure


def _set_ticks(axis: "Axis", limit: int) -> None:
    """Put ticks at round numbers, each written out."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(limit, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value, 12):g}"))
    axis.set_tick_params(labelsize=9)


def _draw_series(series: Series, axes: "Axes", number: int) -> None:
    color, order = _color(series.color), 2 + number
    style = "none" if series.line == "none" else "--" if series.dashed else "-"
    if series.line != "none":
        x, y = zip(*polyline(series), strict=True)
        axes.plot(x, y, color=color, linewidth=1.4, linestyle=style, zorder=order)
    known = [(m.x, m.low, m.high) for m in series.marks if m.low is not None and m.high is not None]
    if known:
        across = [x for x, _, _ in known for _ in range(3)]
        along = [end for _, low, high in known for end in (low, high, float("nan"))]  # which ends each line
        # One line for all intervals: `errorbar` draws each by itself, which makes large SVGs.
        axes.plot(across, along, color=color, linewidth=1, marker="_", markersize=5, alpha=0.6, zorder=order)
    if series.size:
        axes.scatter(
            [mark.x for mark in series.marks],
            [mark.y for mark in series.marks],
            # scatter takes areas in points squared.
            s=(1.7 * series.size) ** 2,
            color=color,
            alpha=_MUTED_ALPHA if series.color is None else None,
            marker=_MARKERS[series.shape],
            zorder=order,
            # An edge would be painted over its own neighbour and darken where marks overlap.
            linewidths=0,
            gid=f"marks{number}",
        )
    if series.name:  # an entry with both line and mark
        marker = _MARKERS[series.shape] if series.size else ""
        axes.plot([], [], color=color, linestyle=style, marker=marker, markersize=6, label=_legend_name(series.name))


def _draw_labels(chart: PointChart, axes: "Axes", room: tuple[float, float]) -> None:
    """Write the marks' labels, each at the first place that is free; where none is, it is omitted.

    `room` is the size of the axes in points, about.
    """
    (left, right), (bottom, top) = chart.x_range, chart.y_range

    def place(mark: Mark) -> tuple[float, float]:
        return (mark.x - left) / (right - left) * room[0], (mark.y - bottom) / (top - bottom) * room[1]

    # Muted marks are many, and may lie under a label.
    solid = [series for series in chart.series if series.color is not None and series.size]
    places = [place(mark) for series in solid for mark in series.marks]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for mark in (mark for series in chart.series for mark in series.marks if mark.label):
        (x, y), width = place(mark), _CHAR * len(mark.label)
        for dx, dy in _LABEL_PLACES:
            start = x + dx if dx > 0 else x + dx - width
            box = (start, y + dy - 1, start + width, y + dy + 7)
            inside = box[0] > 0 and box[2] < room[0] and box[1] > 0 and box[3] < room[1]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                side = "left" if dx > 0 else "right"
                # Out of the layout, or a label at the edge would shrink the axes, and with them the places computed
                # here.
                _annotate(axes, mark.label, mark.point, (dx, dy), ha=side, fontsize=8).set_in_layout(False)
                break


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _annotate(axes: "Axes", text: str, point: tuple[float, float], offset: tuple[float, float], **style: Any) -> Any:
    return axes.annotate(text, point, xytext=offset, textcoords="offset points", **style)


def _draw_bars(chart: BarChart, narrow: bool) -> "Figure":
    each = 0.42 if narrow else 0.26
    heights = [0.5 + each * len(panel.bars) for panel in chart.panels]
    figure = _new_figure(_NARROW_WIDTH if narrow else _WIDTH, (0.4 if narrow else 0.7) + sum(heights))
    grid = figure.add_gridspec(len(chart.panels), 1, height_ratios=heights)
    for number, panel in enumerate(chart.panels):
        axes, places = figure.add_subplot(grid[number]), list(range(len(panel.bars)))
        scale = chart.scale(panel)
        colors = [_color(bar.color) for bar in panel.bars]
        drawn = axes.barh(places, [bar.value for bar in panel.bars], color=colors, height=0.45 if narrow else 0.7)
        for place, (bar, patch) in enumerate(zip(panel.bars, drawn.patches, strict=True)):
            patch.set_gid(f"bar{number}.{place}")
            _draw_interval(bar, axes, place)
            if narrow:  # name and text above a bar instead of beside it
                _annotate(axes, bar.label, (0, place - 0.28), (0, 1), va="bottom", fontsize=9)
                _annotate(axes, bar.text, (1.05 * scale, place - 0.28), (0, 1), va="bottom", ha="right", fontsize=9)
            else:
                end = max(bar.value, bar.high or 0.0)
                _annotate(axes, bar.text, (end, place), (5, 0), va="center", fontsize=9)
        axes.set_yticks([] if narrow else places, [] if narrow else [bar.label for bar in panel.bars], fontsize=9)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        # 45 % more than the longest bar for the text at its end; the first bar is on top.
        axes.set(xlim=(0, (1.05 if narrow else 1.45) * scale), ylim=(len(places) - 0.5, -0.9 if narrow else -0.5))
        _set_ticks(axes.xaxis, 5)
        axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", gid=f"{PANEL}{number}")
    if chart.panels:
        axes.set_xlabel(textwrap.fill(chart.x_label, _NARROW_AXIS_WIDTH if narrow else _AXIS_WIDTH))
    if not narrow:
        figure.suptitle(chart.title, fontsize=11, gid=TITLE)
    return figure


def _draw_interval(bar: Bar, axes: "Axes", place: int) -> None:
    """Draw the interval of a bar's length, with a margin so that it is seen on a dark bar."""
    from matplotlib.patheffects import withStroke

    if bar.low is not None and bar.high is not None:
        margin = [withStroke(linewidth=3.5, foreground=PAPER, alpha=0.75)]
        ends, places = [bar.low, bar.high], [place, place]
        axes.plot(ends, places, color=INK, linewidth=1.2, marker="|", markersize=7, path_effects=margin)


def _draw_heat_map(chart: HeatMap) -> "Figure":
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    name = max(map(len, chart.rows), default=0)
    text = max((len(text) for texts in chart.texts for text in texts), default=0)
    # 0.075 inches are a character of size 8, about.
    width = 0.5 + 0.075 * name + max(0.12 + 0.075 * text, 0.3) * len(chart.columns)
    figure = _new_figure(max(4.0, width), 1.2 + 0.25 * len(chart.rows))
    axes, color = figure.subplots(), to_rgb(_color(chart.color))
    cells = [(row, column) for row in range(len(chart.rows)) for column in range(len(chart.columns))]
    corners = [[(x - 0.5, y - 0.5), (x + 0.5, y - 0.5), (x + 0.5, y + 0.5), (x - 0.5, y + 0.5)] for y, x in cells]
    colors = [(*color, chart.shares[row][column]) for row, column in cells]
    # Not imshow: an image in a page could not change its colours when that turns dark.
    axes.add_collection(PolyCollection(corners, facecolors=colors, edgecolors=GRID, linewidths=0.8, gid="cells"))
    for row, column in cells:
        share = chart.shares[row][column]
        ink = PAPER if share > _HOT_FROM else ON_COLOR if share > _WARM_FROM else SOFT if share == 0 else INK
        written = axes.text(column, row, chart.texts[row][column], ha="center", va="center", fontsize=8, color=ink)
        written.set_in_layout(False)
    axes.set_xticks(range(len(chart.columns)), chart.columns, fontsize=8)
    axes.set_yticks(range(len(chart.rows)), chart.rows, fontsize=8)
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, len(chart.columns) - 0.5), ylim=(len(chart.rows) - 0.5, -0.5))
    axes.set(xlabel=chart.column_title, ylabel=chart.row_title)
    axes.spines[:].set_visible(False)
    _set_title(chart, axes)
    return figure


def _set_title(chart: Chart, axes: "Axes") -> None:
    """Title the picture; matplotlib takes two dollar signs for a formula when it wraps lines, whatever is set."""
    axes.set_title(chart.title, fontsize=11, wrap="$" not in chart.title, gid=TITLE)


def _color(color: int | None) -> str:
    return MUTED[0] if color is None else PALETTE[color % len(PALETTE)][0]
