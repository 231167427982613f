"""Tables on the terminal; `compressor.markdown` writes the same rows as Markdown.

A table on the terminal keeps its numbers however narrow the terminal is: names of columns go over several lines first,
then the columns go that its caller can spare, then the row names are folded; what is wider still is written row by row.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_LOG_WIDTH = 160
"""The width of a log file, which has no width of its own; a wider table makes longer lines."""
_BORDER = 3
"""Characters that a column costs besides its content."""
_MIN_NAME = 8
"""Characters that a folded row name keeps."""


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Print a table; the first column is left-aligned, the others right.

    `spare` names the columns that a narrow terminal can do without, the least important first; a line says which it
    went without.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(_LOG_WIDTH, _width(_natural_widths(header, rows))))
    shown, left_out = _choose_columns(header, rows, console.width, spare)
    kept = [header[place] for place in shown]
    cells = [[row[place] for place in shown] for row in rows]
    console.print(Text(title, style="italic"))
    widths = _fitting_widths(kept, cells, console.width)
    if widths is None:
        for line in _row_by_row(kept, cells):
            console.print(Text(line), soft_wrap=True)
    else:
        _print_grid(console, kept, cells, widths)
    if left_out:
        console.print(Text(f"Left out, as the terminal is narrow: {', '.join(left_out)}.", style="dim"))


def _natural_widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column with its name in one line."""
    from rich.cells import cell_len

    return [max(map(cell_len, (name, *(row[place] for row in rows)))) for place, name in enumerate(header)]


def _least_widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column with a word of its name in a line."""
    return _natural_widths([max(_fold(name, 1), key=len) for name in header], rows)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + _BORDER * len(widths) + 1


def _choose_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], room: int, spare: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Return the places of the columns that are shown, and the names of those that are not."""
    shown, left_out = list(range(len(header))), []
    widths = _least_widths(header, rows)
    for name in spare:
        if _width([widths[place] for place in shown]) <= room:
            break
        if name in header:
            shown.remove(header.index(name))
            left_out.append(name)
    return shown, left_out


def _fitting_widths(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return widths with which the table fits, row names folded where need be; None where they are too narrow."""
    from rich.cells import cell_len

    for widths in (_natural_widths(header, rows), _least_widths(header, rows)):
        if _width(widths) <= room:
            return widths
    name = room - _width(widths) + widths[0]
    parts = [part for row in rows for part in _fold(row[0], 1)]
    return [name, *widths[1:]] if name >= max(_MIN_NAME, *map(cell_len, parts)) else None


def _fold(name: str, width: int) -> list[str]:
    """Return the lines of a name that is broken at spaces and after hyphens; a per cent sign stays with its number."""
    # textwrap does not break at a no-break space.
    lines = textwrap.wrap(name.replace(" %", "\xa0%"), width, break_long_words=False)
    return [line.replace("\xa0", " ") for line in lines] or [""]


def _print_grid(console: "Console", header: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, (name, width) in enumerate(zip(header, widths, strict=True)):
        table.add_column(Text("\n".join(_fold(name, width))), justify="right" if place else "left", no_wrap=True)
    for first, *others in rows:
        table.add_row(Text("\n".join(_fold(first, widths[0]))), *map(Text, others))
    console.print(table)


def _row_by_row(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the table as a list: each row's name, and below it what its columns say."""
    label = max(map(len, header[1:]), default=0)
    value = max((len(cell) for row in rows for cell in row[1:]), default=0)
    lines = []
    for name, *cells in rows:
        lines.append(name)
        lines += [f"  {at:<{label}} {cell:>{value}}" for at, cell in zip(header[1:], cells, strict=True) if cell]
    return lines
