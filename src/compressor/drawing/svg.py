"""matplotlib's SVG as a part of a page: the page's colours, so that it can turn dark, and notes for the pointer.

Nothing stays that could load something, or that another picture of the page could have too: identifiers, metadata.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup, escape

from compressor.drawing.charts import GRID, INK, MUTED, ON_COLOR, PALETTE, PAPER, SOFT, BarChart, Chart
from compressor.drawing.plots import KEY, PANEL, TITLE, find_notes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_LARGEST, _SMALLEST = 1.3, 1.15
"""Pixels for a point of a drawing; where there is less room, the page scrolls."""
_KEY_WIDTH, _KEY_HEIGHT = 20, 11
"""Points, of what a legend shows of a series."""
_BARS_A_PIECE = 36
"""So many fit on a page of paper."""
_ABOVE = 4
"""Points above the title of a panel that a picture begins with."""
_MAX_NOTED = 700
"""Points of a series that get a note each; more are drawn as one path, so that the page stays small."""
_COLORS = {pair[0]: f"var(--c{place})" for place, pair in enumerate(PALETTE)} | {
    MUTED[0]: "var(--muted)",
    INK: "var(--text)",
    ON_COLOR: "var(--warm)",
    SOFT: "var(--soft)",
    GRID: "var(--grid)",
    PAPER: "var(--page)",
}
_KEPT = re.compile(
    r"opacity|text-anchor|font-(size|weight)|fill(-opacity)?|stroke(-(opacity|width|dasharray|linecap))?"
)
_NUMBER = re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True)
class Inlined:
    """A chart in a page."""

    pictures: tuple[Markup, ...]
    """SVG elements, without the title and the legend of the file."""
    keys: tuple[Markup, ...]
    """An SVG element for each of the legend's entries."""


def inline(chart: Chart, figure: "Figure", svg: str) -> Inlined:
    """Return a chart for a page, of the figure that it was drawn as and of the figure's SVG.

    A chart of more bars than fit on paper is several pictures, each of whole panels.
    """
    # The text is matplotlib's own, written a moment ago: no entities of others are expanded here.
    root = ElementTree.fromstring(svg)
    # matplotlib defines a marker's shape once and refers to it at each point.
    shapes = {shape.get("id", ""): shape for each in root.iter(f"{_SVG}defs") for shape in each}
    groups = {group.get("id", ""): group for group in root.iter(f"{_SVG}g")}
    reader, width = _Reader(shapes, find_notes(chart)), figure.get_size_inches()[0] * 72
    panels, pictures = _split_panels(chart), []
    tops = _find_tops(figure, [each[0] for each in panels])
    # Panels of a chart stand below each other: a picture is the strip from its first panel's top to the next picture's.
    for place, (top, bottom) in enumerate(pairwise(tops)):
        drawn = [reader.draw(groups[f"axes_{number + 1}"]) for number in panels[place]]
        label = f"{chart.title}. {chart.alt if place == 0 else ''}"
        # In px: it may grow and shrink with the page, but only as far as its text can be read.
        size = f"--largest:{width * _LARGEST:.0f}px;min-width:{width * _SMALLEST:.0f}px"
        start = Markup('<svg viewBox="0 {} {} {}" style="{}" role="img" aria-label="{}">').format(
            _short(top), _short(width), _short(bottom - top), size, label
        )
        pictures.append(start + Markup("").join(drawn) + Markup("</svg>"))
    keys = [_draw_key(reader, group) for name, group in groups.items() if re.fullmatch(rf"{KEY}\d+", name)]
    return Inlined(pictures=tuple(pictures), keys=tuple(keys))


def _split_panels(chart: Chart) -> list[list[int]]:
    """Return the numbers of the panels in each picture."""
    if not isinstance(chart, BarChart):
        return [[0]]
    pieces: list[list[int]] = [[]]
    # A new picture begins where the next panel would not fit, unless panels share an axis, which then has to be one.
    for number, panel in enumerate(chart.panels):
        # Bars of the picture so far and those of this panel.
        bars = sum(len(chart.panels[each].bars) for each in pieces[-1]) + len(panel.bars)
        if pieces[-1] and not chart.shared_scale and bars > _BARS_A_PIECE:
            pieces.append([])
        pieces[-1].append(number)
    return pieces


def _find_tops(figure: "Figure", panels: Sequence[int]) -> list[float]:
    """Return where pictures that begin with these panels begin, and where the last one ends, in points.

    The first begins below the figure's title; the last ends above its legend.
    """
    scale, height = 72 / figure.dpi, float(figure.get_size_inches()[1]) * 72
    named = figure.findobj(lambda artist: (artist.get_gid() or "").startswith((TITLE, PANEL)))
    texts = {text.get_gid(): text.get_window_extent() for text in named}
    first = height - texts[TITLE].y0 * scale if TITLE in texts else 0.0
    others = [height - texts[f"{PANEL}{number}"].y1 * scale - _ABOVE for number in panels[1:]]
    last = min((height - legend.get_window_extent().y1 * scale for legend in figure.legends), default=height)
    return [first, *others, last]


def _draw_key(reader: "_Reader", group: ElementTree.Element) -> Markup:
    """Return what a legend shows of a series, cut out of the drawn legend."""
    spots = [(float(use.get("x", 0)), float(use.get("y", 0))) for use in group.iter(f"{_SVG}use")]
    for path in group.findall(f"{_SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))]
        spots = [((numbers[0] + numbers[-2]) / 2, numbers[1])]
    x, y = spots[0]
    box = f"{x - _KEY_WIDTH / 2:.1f} {y - _KEY_HEIGHT / 2:.1f} {_KEY_WIDTH} {_KEY_HEIGHT}"
    start = Markup('<svg viewBox="{}" width="26" height="14" aria-hidden="true">').format(box)
    return start + reader.draw(group) + Markup("</svg>")


@dataclass(frozen=True)
class _Reader:
    shapes: Mapping[str, ElementTree.Element]
    """The shapes of marks, by identifier."""
    notes: Mapping[str, Sequence[str]]

    def draw(self, root: ElementTree.Element) -> Markup:
        """Return all that is drawn within an element."""
        return Markup("".join(self._elements(root, repeat(""))))

    def _elements(self, parent: ElementTree.Element, notes: Iterator[str]) -> Iterator[str]:
        uses = parent.findall(f"{_SVG}use")
        if uses:
            yield self._marks(uses, notes)
        for node in parent:
            name = node.get("id", "")
            if node.tag == f"{_SVG}path":
                yield _path(node, notes)
            elif node.tag == f"{_SVG}text":
                yield _text(node)
            elif node.tag == f"{_SVG}g" and name != TITLE:
                yield from self._elements(node, iter(self.notes[name]) if name in self.notes else notes)

    def _marks(self, uses: Sequence[ElementTree.Element], notes: Iterator[str]) -> str:
        """Return copies of a shape at some places."""
        shape = self.shapes[uses[0].get(_HREF, "").removeprefix("#")].get("d", "")
        style, places = _style(uses[0]), [(_short(use.get("x", 0)), _short(use.get("y", 0))) for use in uses]
        # matplotlib writes a circle as "M 0 r C …": curves are in no other mark.
        radius = abs(float(shape.split()[2])) if "C" in shape else None
        if len(uses) > _MAX_NOTED:
            # A line of length 0 with round ends is a dot: one element for thousands of points.
            dots, size = "".join(f"M{x} {y}h0" for x, y in places), 2 * (radius or 1.5)
            stroke = style.replace("fill", "stroke")
            return f'<path d="{dots}" style="{stroke};fill:none;stroke-linecap:round;stroke-width:{size:.1f}"/>'
        if radius is not None:
            drawn = (f'<circle cx="{x}" cy="{y}" r="{_short(radius)}"{_note(next(notes))}/>' for x, y in places)
        else:
            path = _short_path(shape)
            drawn = (f'<path d="{path}" transform="translate({x} {y})"{_note(next(notes))}/>' for x, y in places)
        return f'<g style="{style}">{"".join(drawn)}</g>'


def _path(node: ElementTree.Element, notes: Iterator[str]) -> str:
    style = _style(node)
    if style == f"fill:{_COLORS[PAPER]}":  # the background of the file
        return ""
    return f'<path d="{_short_path(node.get("d", ""))}" style="{style}"{_note(next(notes))}/>'


def _text(node: ElementTree.Element) -> str:
    style = _style(node).replace(_COLORS[PAPER], "var(--hot)")
    places = "".join(f' {name}="{_short(node.get(name, 0))}"' for name in ("x", "y") if name in node.keys())  # noqa: SIM118
    turn = node.get("transform", "")
    turned = "" if re.match(r"rotate\(-?0 ", turn) else f' transform="{_NUMBER.sub(lambda n: _short(n[0]), turn)}"'
    return f'<text{places}{turned} style="{style}">{escape(node.text or "")}</text>'


def _style(node: ElementTree.Element) -> str:
    """Return the style of an element in the page's colours."""
    pairs = (each.partition(":") for each in node.get("style", "").split(";"))
    kept = ((name.strip(), value.strip()) for name, _, value in pairs if _KEPT.fullmatch(name.strip()))
    return ";".join(f"{name}:{_COLORS.get(value, value)}" for name, value in kept)


def _note(note: str) -> str:
    return f' data-note="{escape(note)}"' if note else ""


def _short_path(path: str) -> str:
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", _NUMBER.sub(lambda number: _short(number[0]), path)).strip()


def _short(number: float | str) -> str:
    # A tenth of a point is less than any screen shows, and a third of the bytes.
    return f"{float(number):.1f}".removesuffix(".0")
