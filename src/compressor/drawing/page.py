"""Self-contained HTML pages of charts, tables and commands: light and dark, printable, with hover, without a network.

Every text that is not ours goes through `escape`; the page's own policy forbids it to load anything.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from compressor.drawing.charts import BarChart, Chart, HeatMap, Panel
from compressor.drawing.style import SCRIPT, page_style
from compressor.drawing.svg import draw, legend


def render_page(title: str, lead: str, sections: Sequence[str]) -> str:
    """Return the page of some sections (HTML); title and lead are plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{page_style()}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(sections)
        + f'\n</main>\n<div id="tip" role="status" hidden></div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def section(title: str, *parts: str) -> str:
    """Return a section of the page; its parts are HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def figure(chart: Chart) -> str:
    """Return a chart with title, legend and caption; a heat map's numbers as a table too, for screen readers."""
    numbers = ""
    if isinstance(chart, HeatMap):
        rows = [[name, *texts] for name, texts in zip(chart.rows, chart.texts, strict=True)]
        numbers = details(f"{chart.title}: the numbers as a table", table([chart.row_title, *chart.columns], rows))
    drawn = f'<div class="scroll">{draw(chart)}</div>'
    if not isinstance(chart, HeatMap):
        drawn = "".join(map(draw, _pieces(chart)))
        drawn = f'<div class="wide scroll">{drawn}</div><div class="narrow scroll">{draw(chart, narrow=True)}</div>'
    return (
        f"<figure><h3>{escape(chart.title)}</h3>{legend(chart)}"
        f"{drawn}<figcaption>{escape(chart.caption)}</figcaption>{numbers}</figure>"
    )


def _pieces(chart: Chart) -> list[Chart]:
    """Return a chart of more bars than fit on paper as several, each of whole panels; the last names the axis."""
    if not isinstance(chart, BarChart) or chart.shared_scale:
        return [chart]
    pieces: list[list[Panel]] = [[]]
    for panel in chart.panels:
        if pieces[-1] and sum(len(one.bars) for one in (*pieces[-1], panel)) > _BARS_A_PIECE:
            pieces.append([])
        pieces[-1].append(panel)
    last = len(pieces) - 1
    return [
        replace(
            chart, panels=tuple(piece), x_label=chart.x_label if place == last else "", alt="" if place else chart.alt
        )
        for place, piece in enumerate(pieces)
    ]


def figures(*charts: Chart) -> str:
    """Return charts side by side where there is room."""
    return f'<div class="row">{"".join(map(figure, charts))}</div>'


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """Return a remark that nobody should miss."""
    return f'<p class="note"><strong>Note:</strong> {escape(text)}</p>'


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False, marked: int | None = None
) -> str:
    """Return a table of texts, numbers or `words`; the first column names the row, the row `marked` stands out."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr{_CHOSEN if place == marked else ""}><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{_cell(cell)}</td>' for cell in row[1:])}</tr>"
        for place, row in enumerate(rows)
    )
    kind = ' class="words"' if words else ' class="few"' if len(header) <= _FEW else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_FEW = 4
"""Columns up to which a narrow screen breaks the lines of cells, instead of scrolling."""
_CHOSEN = ' class="chosen"'
_OPTION = re.compile(r"(?<=\s)--?[a-z][\w-]*")
"""A command's option, which no screen breaks after its hyphens."""
_BARS_A_PIECE = 36
"""So many fit on a page of paper."""


def _cell(text: str) -> str:
    """Return a cell's text; what is in brackets stays in one line where a narrow screen breaks lines."""
    return re.sub(r"\([^()]*\)", r"<span>\g<0></span>", escape(text))


def details(summary: str, content: str) -> str:
    """Return HTML that is folded away until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def commands(lines: Sequence[str]) -> str:
    """Return lines for a terminal."""
    text = _OPTION.sub(r"<span>\g<0></span>", escape("\n".join(lines)))
    return f"<pre><code>{text}</code></pre>"


def chain(links: Sequence[tuple[str, str]]) -> str:
    """Return steps in a row, each a name and what is known of it."""
    items = "".join(f"<li><strong>{escape(name)}</strong><span>{escape(text)}</span></li>" for name, text in links)
    return f'<ol class="chain">{items}</ol>'
