"""What a picture says, apart from how it is drawn: points and lines, bars, a heat map.

`plots` draws them, once for files and pages. Every axis names its unit and which direction is better; `alt` says in
words what the picture shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Point = tuple[float, float]
Shape = Literal["circle", "square", "diamond", "triangle", "star"]
SHAPES: tuple[Shape, ...] = ("circle", "square", "diamond", "triangle")
"""The marks of series side by side, so that they differ without colour too."""
PALETTE = (
    ("#0b6e99", "#5ab4e0"),
    ("#c23b4e", "#f58a96"),
    ("#2e7d4f", "#6cc993"),
    ("#8a4fb0", "#c9a0e8"),
    ("#a86200", "#e3ad52"),
    ("#5b5f97", "#a3a7e0"),
    ("#7a4a2b", "#cfa382"),
    ("#b8368a", "#f08cc8"),
)
"""Colours on a light and on a dark page; each keeps a contrast of 4 to 1 there."""
MUTED = ("#9aa5b1", "#8795a3")
PAPER, INK, SOFT, GRID = "#ffffff", "#1f2933", "#52606d", "#e4e7eb"
"""Of what is no data: background, text, axes, lines of the grid."""
ON_COLOR = "#1f2934"
"""Of text on a strong colour: as ink, one step off, since a page that is dark makes it dark too."""
FRONT, DENSE, EXTRACTED = 0, 1, 2
"""Places in the palette that mean the same in every picture; smaller precisions of what was extracted follow."""
_PADDING = 0.05


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of a series."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    """Ends of the interval of `y`."""
    label: str = ""
    """Printed beside it, where there is room."""
    note: str = ""
    """Shown when the pointer is near; lines are separated by line feeds."""

    @property
    def point(self) -> Point:
        """Its place."""
        return self.x, self.y


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together, joined by a line or not."""

    name: str
    """In the legend; empty: not there."""
    marks: tuple[Mark, ...]
    color: int | None = None
    """Place in the palette; None: muted."""
    shape: Shape = "circle"
    size: float = 4.0
    line: Literal["none", "straight", "steps"] = "none"
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Band:
    """The area between two surfaces that bound what is attained, each a front of points to be joined by steps."""

    best: tuple[Point, ...]
    worst: tuple[Point, ...]
    color: int


@dataclass(frozen=True, kw_only=True)
class PointChart:
    """Points over two axes."""

    stem: str
    """The name, without suffix, of the files it is written to."""
    title: str
    caption: str
    alt: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()

    @property
    def x_range(self) -> Point:
        """Ends of the x axis."""
        return _padded([mark.x for one in self.series for mark in one.marks] + [p[0] for p in self._corners])

    @property
    def y_range(self) -> Point:
        """Ends of the y axis, which hold the intervals too."""
        marks = [mark for one in self.series for mark in one.marks]
        ends = [value for mark in marks for value in (mark.y, mark.low, mark.high) if value is not None]
        return _padded(ends + [p[1] for p in self._corners])

    @property
    def _corners(self) -> list[Point]:
        return [point for band in self.bands for point in (*band.best, *band.worst)]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar with the interval of its length and a text at its end."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    color: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars that are read against each other."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Horizontal bars in panels, from zero."""

    stem: str
    title: str
    caption: str
    alt: str
    x_label: str
    panels: tuple[Panel, ...]
    shared_scale: bool = True
    """Whether the panels have one scale; else the longest bar of each fills it."""

    def scale(self, panel: Panel) -> float:
        """Return the value at the right end of a panel."""
        panels = self.panels if self.shared_scale else (panel,)
        return max((max(bar.value, bar.high or 0.0) for one in panels for bar in one.bars), default=0.0) or 1.0


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Shares of 0 to 1 as a table of coloured cells."""

    stem: str
    title: str
    caption: str
    alt: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[str, ...], ...]
    color: int = FRONT


Chart = PointChart | BarChart | HeatMap


def polyline(series: Series) -> list[Point]:
    """Return corners of a series' line, by rising x; steps go right before they go down, as what is attained does."""
    points = sorted(mark.point for mark in series.marks)
    return to_steps(points) if series.line == "steps" else points


def to_steps(points: Sequence[Point]) -> list[Point]:
    """Return corners of the staircase through points that are sorted by x."""
    corners = list(points[:1])
    for before, point in pairwise(points):
        corners += [(point[0], before[1]), point]
    return corners


def outline(band: Band, x_range: Point, y_range: Point) -> list[Point]:
    """Return the corners of a band's area, from the top of the chart to its right."""

    def surface(points: Sequence[Point]) -> list[Point]:
        ordered = sorted(points)
        if not ordered:
            return [(x_range[1], y_range[1])]
        return [(ordered[0][0], y_range[1]), *to_steps(ordered), (x_range[1], ordered[-1][1])]

    return surface(band.best) + surface(band.worst)[::-1]


def _padded(values: Sequence[float]) -> Point:
    """Return the span of the values with some room around it; zero stays an end where all values are at or above it."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    # Where all values are equal there is no span: a share of the value itself.
    room = _PADDING * (high - low) or max(abs(high), 1.0) * _PADDING
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def bar_color(place: int) -> int:
    """Return dense first, then the front's blue and the colours after it."""
    return (DENSE, FRONT, EXTRACTED)[place] if place < 3 else place
