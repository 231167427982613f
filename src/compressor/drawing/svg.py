"""Charts as inline SVG of a page: no network, no library. Colours are the page's, so that it can turn dark."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from html import escape

from compressor.drawing.charts import (
    PALETTE,
    Bar,
    BarChart,
    Chart,
    HeatMap,
    Mark,
    Point,
    PointChart,
    Series,
    nice_ticks,
    outline,
)
from compressor.drawing.charts import polyline as line_of

_Place = Callable[[Point], Point]
"""From a chart's values to where they are drawn."""
_Box = tuple[float, float, float, float]
_WIDTH, _HEIGHT = 560, 380
_NARROW_WIDTH, _NARROW_HEIGHT = 350, 330
"""The size of a drawing for a phone, whose text has the same size."""
_LARGEST, _SMALLEST = 1.25, 0.9
"""The scale of a drawing's own size; where there is less room, the page scrolls."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 46
_CHAR, _LINE = 7.0, 16
"""Width of a character in the page's text size, about, and height of a line."""
_MAX_NOTED = 700
"""Points of a series that get a note each; more are drawn as one path, so that the page stays small."""
_BAR, _BAR_LABEL, _BAR_TEXT, _PANEL_TITLE = 20, 125, 165, 26
_WIDER = 1.1
"""Characters of names are up to so much wider than most."""
_CELL_HEIGHT = 22
_WARM_FROM, _HOT_FROM = 0.6, 0.8
"""Shares from which on a cell's text has to change its colour: on a dark page, on a light one."""


def draw(chart: Chart, *, narrow: bool = False) -> str:
    """Return the chart as an SVG element; `narrow` for a phone."""
    width: float
    height: float
    if isinstance(chart, PointChart):
        width, height = (_NARROW_WIDTH, _NARROW_HEIGHT) if narrow else (_WIDTH, _HEIGHT)
        body = _draw_points(chart, width, height)
        height += _LINE * (len(_label_lines(chart.x_label, width)) - 1)
    elif isinstance(chart, BarChart):
        width, height, body = _draw_narrow_bars(chart) if narrow else _draw_bars(chart)
    else:
        width, height, body = _draw_heat_map(chart)
    label = escape(f"{chart.title}. {chart.alt}", quote=True)
    size = f"--largest:{width * _LARGEST:g}px;min-width:{width * _SMALLEST:g}px"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="{size}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    )


def legend(chart: Chart) -> str:
    """Return the names of a chart's series with their marks, as HTML."""
    if not isinstance(chart, PointChart):
        return ""
    box = '<svg viewBox="0 0 26 14" width="26" height="14" aria-hidden="true">'
    items = [f"<li>{box}{_key(one)}</svg>{escape(one.name)}</li>" for one in chart.series if one.name]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _key(one: Series) -> str:
    line = "" if one.line == "none" else f'<path d="M1 7H25" class="line {_class(one.color)}{_dash(one)}"/>'
    return line + ("" if one.size == 0 else _shape(one, 13, 7, min(one.size, 5), ""))


def _draw_points(chart: PointChart, width: float, height: float) -> list[str]:
    x_range, y_range = chart.x_range, chart.y_range

    def place(point: Point) -> Point:
        x, y = point
        return (
            _LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (width - _LEFT - _RIGHT),
            height - _BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (height - _TOP - _BOTTOM),
        )

    body = _axes(chart, width, height, place)
    for band in chart.bands:
        corners = map(place, outline(band, x_range, y_range))
        body.append(f'<path d="{_path(corners)}Z" class="band {_class(band.color)}"/>')
    taken: list[_Box] = [
        (x - 6, y - 6, x + 6, y + 6)
        for one in chart.series
        if one.color is not None and one.size
        for x, y in (place(mark.point) for mark in one.marks)
    ]
    for series in chart.series:
        if series.line != "none":
            path = _path(map(place, line_of(series)))
            body.append(f'<path d="{path}" class="line {_class(series.color)}{_dash(series)}"/>')
        body += _marks(series, place)
    for series in chart.series:
        body += _labels(series.marks, place, taken, (width, height))
    return body


def _axes(chart: PointChart, width: float, height: float, place: _Place) -> list[str]:
    x_range, y_range = chart.x_range, chart.y_range
    bottom, middle = height - _BOTTOM, (_TOP + height - _BOTTOM) / 2
    body = []
    for value in nice_ticks(*y_range):
        y = place((x_range[0], value))[1]
        body.append(f'<path d="M{_LEFT} {y:.1f}H{width - _RIGHT}" class="grid"/>')
        body.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" class="tick end">{value:g}</text>')
    for value in nice_ticks(*x_range, most=8 if width == _WIDTH else 5):
        x = place((value, y_range[0]))[0]
        body.append(f'<path d="M{x:.1f} {bottom}v5" class="axis"/>')
        body.append(f'<text x="{x:.1f}" y="{bottom + 19}" class="tick mid">{value:g}</text>')
    body.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{width - _RIGHT}" class="axis"/>')
    across = (_LEFT + width - _RIGHT) / 2
    for number, line in enumerate(_label_lines(chart.x_label, width)):
        y = height - 8 + _LINE * number
        body.append(f'<text x="{across:g}" y="{y:g}" class="mid">{escape(line)}</text>')
    body.append(f'<text transform="translate(14 {middle:g})rotate(-90)" class="mid">{escape(chart.y_label)}</text>')
    return body


def _label_lines(label: str, width: float) -> list[str]:
    """Return the lines of the x axis' name."""
    return textwrap.wrap(label, int((width - _LEFT) / _CHAR) + 3)


def _marks(series: Series, place: _Place) -> Iterable[str]:
    if len(series.marks) > _MAX_NOTED:
        dots = "".join("M{:.1f} {:.1f}h0".format(*place(mark.point)) for mark in series.marks)
        yield f'<path d="{dots}" class="dots {_class(series.color)}" stroke-width="{2 * series.size:g}"/>'
        return
    for mark in series.marks:
        x, y = place(mark.point)
        if mark.low is not None and mark.high is not None:
            low, high = place((mark.x, mark.low))[1], place((mark.x, mark.high))[1]
            ends = f"M{x:.1f} {low:.1f}V{high:.1f}m-3 0h6M{x - 3:.1f} {low:.1f}h6"
            yield f'<path d="{ends}" class="whisker {_class(series.color)}"/>'
        if series.size:
            yield _shape(series, x, y, series.size, mark.note)


def _labels(marks: Sequence[Mark], place: _Place, taken: list[_Box], size: Point) -> Iterable[str]:
    """Yield the marks' labels, each at the first of four places that is free; where none is, it is omitted."""
    for mark in marks:
        if not mark.label:
            continue
        x, y = place(mark.point)
        width = _CHAR * len(mark.label)
        for dx, dy in ((7, -7), (-7 - width, 16), (7, 16), (-7 - width, -7)):
            box = (x + dx, y + dy - 10, x + dx + width, y + dy + 2)
            inside = box[0] > _LEFT and box[2] < size[0] and box[1] > 0 and box[3] < size[1] - _BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield f'<text x="{box[0]:.1f}" y="{y + dy:.1f}" class="label">{escape(mark.label)}</text>'
                break


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _shape(series: Series, x: float, y: float, size: float, note: str) -> str:
    attributes = f'class="mark {_class(series.color)}"' + _note(note)
    if series.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {attributes}/>'
    corners = [(x + size * dx, y + size * dy) for dx, dy in _CORNERS[series.shape]]
    return f'<path d="{_path(corners)}Z" {attributes}/>'


_CORNERS: dict[str, tuple[Point, ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "triangle": ((0, -1.2), (1.15, 0.85), (-1.15, 0.85)),
    "star": (
        (0, -1.3),
        (0.31, -0.42),
        (1.24, -0.4),
        (0.5, 0.16),
        (0.76, 1.05),
        (0, 0.53),
        (-0.76, 1.05),
        (-0.5, 0.16),
        (-1.24, -0.4),
        (-0.31, -0.42),
    ),
}


def _draw_bars(chart: BarChart) -> tuple[float, float, list[str]]:
    body, y = [], 4.0
    longest = max((len(bar.label) for panel in chart.panels for bar in panel.bars), default=0)
    left = min(max(_CHAR * _WIDER * longest + 12, _BAR_LABEL), _WIDTH / 2)
    room = _WIDTH - left - _BAR_TEXT
    for panel in chart.panels:
        scale = room / chart.scale(panel)
        body.append(f'<text x="0" y="{y + 14:g}" class="panel">{escape(panel.title)}</text>')
        y += _PANEL_TITLE
        top = y
        for bar in panel.bars:
            middle, end = y + _BAR / 2, max(bar.value, bar.high or 0.0) * scale
            body.append(f'<text x="{left - 8:g}" y="{middle + 4:g}" class="end">{escape(bar.label)}</text>')
            body.append(_bar(bar, left, y, scale))
            at = left + end + 8
            body.append(f'<text x="{at:.1f}" y="{middle + 4:g}">{escape(bar.text)}</text>')
            y += _BAR
        body.append(f'<path d="M{left:g} {top:g}V{y:g}" class="axis"/>')
        y += 10
    body.append(f'<text x="{left:g}" y="{y + 10:g}">{escape(chart.x_label)}</text>')
    return _WIDTH, y + 18, body


def _draw_narrow_bars(chart: BarChart) -> tuple[float, float, list[str]]:
    """Return the bars with name and text above each instead of beside it."""
    body, y = [], 4.0
    for panel in chart.panels:
        scale = (_NARROW_WIDTH - _RIGHT) / chart.scale(panel)
        body.append(f'<text x="0" y="{y + 14:g}" class="panel">{escape(panel.title)}</text>')
        y += _PANEL_TITLE
        for bar in panel.bars:
            body.append(f'<text x="0" y="{y + 11:g}">{escape(bar.label)}</text>')
            body.append(f'<text x="{_NARROW_WIDTH}" y="{y + 11:g}" class="end">{escape(bar.text)}</text>')
            y += _LINE
            body.append(_bar(bar, 0, y, scale))
            y += _BAR + 4
        y += 10
    for line in textwrap.wrap(chart.x_label, int(_NARROW_WIDTH / _CHAR)):
        body.append(f'<text x="0" y="{y + 10:g}">{escape(line)}</text>')
        y += _LINE
    return _NARROW_WIDTH, y + 2, body


def _bar(bar: Bar, left: float, y: float, scale: float) -> str:
    """Return a bar and the whisker of its interval."""
    middle = y + _BAR / 2
    drawn = (
        f'<rect x="{left:g}" y="{y + 3:g}" width="{max(bar.value * scale, 0.5):.1f}" height="{_BAR - 6}" '
        f'class="bar {_class(bar.color)}"{_note(bar.note)}/>'
    )
    if bar.low is not None and bar.high is not None:
        low, high = left + bar.low * scale, left + bar.high * scale
        ends = f"M{low:.1f} {middle:g}H{high:.1f}m0-4v8M{low:.1f} {middle - 4:g}v8"
        drawn += f'<path d="{ends}" class="halo"/><path d="{ends}" class="whisker ink"/>'
    return drawn


def _draw_heat_map(chart: HeatMap) -> tuple[float, float, list[str]]:
    left = 12 + _CHAR * max(map(len, (*chart.rows, chart.row_title)))
    cell = max(12 + 1.15 * _CHAR * max(len(text) for row in chart.texts for text in row), 30.0)
    top, body = 44, []
    body.append(f'<text x="0" y="36" class="tick">{escape(chart.row_title)}</text>')
    title = 1.1 * _CHAR * len(chart.column_title)
    across = left + max(cell * len(chart.columns), title) / 2
    body.append(f'<text x="{across:g}" y="14" class="mid tick">{escape(chart.column_title)}</text>')
    for column, name in enumerate(chart.columns):
        body.append(f'<text x="{left + cell * (column + 0.5):g}" y="36" class="tick mid">{escape(name)}</text>')
    for row, name in enumerate(chart.rows):
        y = top + _CELL_HEIGHT * row
        body.append(f'<text x="0" y="{y + 15}">{escape(name)}</text>')
        for column, share in enumerate(chart.shares[row]):
            x = left + cell * column
            body.append(
                f'<rect x="{x + 1:g}" y="{y + 1}" width="{cell - 2:g}" height="{_CELL_HEIGHT - 2}" class="cell '
                f'{_class(chart.color)}" style="fill-opacity:{share:.2f}"{_note(chart.notes[row][column])}/>'
            )
            kind = "hot" if share > _HOT_FROM else "warm" if share > _WARM_FROM else "tick" if share == 0 else ""
            text = escape(chart.texts[row][column])
            body.append(f'<text x="{x + cell / 2:g}" y="{y + 15}" class="mid {kind}">{text}</text>')
    return left + max(cell * len(chart.columns), title) + 2, top + _CELL_HEIGHT * len(chart.rows) + 4, body


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _class(color: int | None) -> str:
    return "muted" if color is None else f"c{color % len(PALETTE)}"


def _dash(series: Series) -> str:
    return " dashed" if series.dashed else ""


def _note(note: str) -> str:
    return f' data-note="{escape(note, quote=True)}"' if note else ""
