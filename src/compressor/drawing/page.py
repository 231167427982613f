"""Self-contained HTML pages of charts, tables and commands: light and dark, printable, with hover, without a network.

They are made of Jinja's templates, which escape every text that is not ours; the page's own policy forbids it to load
anything. `templates/` has the frame of all pages, their parts, style and script; what a page says stands in a template
of its own beside the module that fills it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from compressor.drawing.charts import MUTED, PALETTE, Chart, HeatMap, PointChart
from compressor.drawing.files import save_figures, to_svg
from compressor.drawing.plots import draw_figure
from compressor.drawing.svg import inline

_TEMPLATES = Path(__file__).parent / "templates"
_FEW = 4
"""Columns up to which a narrow screen breaks the lines of cells, instead of scrolling."""
_OPTION = re.compile(r"(?<=\s)--?[a-z][\w-]*")
"""A command's option, which no screen breaks after its hyphens."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Texts in rows; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False
    """Whether cells hold sentences instead of numbers."""
    marked: int | None = None
    """The row that stands out."""

    @property
    def kind(self) -> str:
        """The class that its style goes by."""
        return "words" if self.words else "few" if len(self.header) <= _FEW else ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart as a page shows it."""

    title: str
    caption: str
    legend: tuple[tuple[Markup, str], ...]
    """What is drawn for a series, and its name."""
    wide: tuple[Markup, ...]
    """Pictures, one below the other."""
    narrow: tuple[Markup, ...] | None
    """For a phone; None where the wide one scrolls there."""
    numbers: Table | None
    """The same as a table, for screen readers, where a text does not say it."""


def figure(chart: Chart, folder: Path | None = None) -> Figure:
    """Draw a chart for a page; with a folder into its PNG and SVG file there too, which are the same drawing."""
    drawn = draw_figure(chart)
    svg = to_svg(drawn, chart) if folder is None else save_figures(drawn, chart, folder)
    whole, phone, numbers = inline(chart, drawn, svg), None, None
    # Points alone have a legend: bars and cells carry their names beside them.
    names = [series.name for series in chart.series if series.name] if isinstance(chart, PointChart) else []
    # A heat map that is narrowed cannot be read; on a phone its numbers stand in a table.
    if isinstance(chart, HeatMap):
        rows = [[name, *texts] for name, texts in zip(chart.rows, chart.texts, strict=True)]
        numbers = Table(header=[chart.row_title, *chart.columns], rows=rows)
    else:
        # Drawn again, not scaled: text keeps its size on a phone.
        narrow = draw_figure(chart, narrow=True)
        phone = inline(chart, narrow, to_svg(narrow, chart)).pictures
    return Figure(
        title=chart.title,
        caption=chart.caption,
        legend=tuple(zip(whole.keys, names, strict=True)),
        wide=whole.pictures,
        narrow=phone,
        numbers=numbers,
    )


def render_page(template: Path, title: str, lead: str, **values: object) -> str:
    """Return a page (HTML) by its template's file; all texts are plain."""
    return _environment(template.parent).get_template(template.name).render(title=title, lead=lead, **values)


def render_commands(lines: Sequence[str]) -> Markup:
    """Return lines for a terminal as HTML, of which no option is broken after its hyphens."""
    return Markup(_OPTION.sub(r"<span>\g<0></span>", str(escape("\n".join(lines)))))


@lru_cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"palette": PALETTE, "muted": MUTED}
    environment.filters |= {"cell": _render_cell, "commands": render_commands}
    return environment


def _render_cell(text: str) -> Markup:
    """Return a cell's text; what is in brackets stays in one line where a narrow screen breaks lines."""
    return Markup(re.sub(r"\([^()]*\)", r"<span>\g<0></span>", str(escape(text))))
