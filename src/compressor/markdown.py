"""Markdown that shows text as it is, in run descriptions and model cards: labels, names and paths may hold anything."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


class Markdown(str):
    """Text that is Markdown already."""


def render_markdown(template: Path, **values: object) -> str:
    """Return a text by its template's file, in which every value that is not `Markdown` is plain text.

    Filters of the template: `raw`, `code`, `block(language)` and, for a header, `table(rows)`.
    """

    def escape(value: Any) -> str:
        return value if isinstance(value, Markdown) else markdown_text(str(value))

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "raw": Markdown,
        "code": lambda text: Markdown(markdown_code(text)),
        "block": lambda text, language: Markdown(markdown_block(text, language)),
        "table": lambda header, rows: Markdown(markdown_table(header, rows)),
    }
    return environment.get_template(template.name).render(**values)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown; its cells are plain text."""
    lines = [list(map(markdown_text, header)), [":--", *("--:" for _ in header[1:])]]
    lines += [list(map(markdown_text, row)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Return plain text as Markdown that shows it as it is, in one line: labels, names and paths may hold anything."""
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))


def markdown_code(text: str) -> str:
    """Return text as an inline piece of code in Markdown, in one line."""
    line = " ".join(text.split()) or " "
    # CommonMark: a code span ends at the first run of as many backticks as it began with.
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    # One space at each end is taken off again, and keeps a backtick of the text from joining the fence.
    pad = " " if "`" in (line[:1], line[-1:]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def markdown_block(text: str, language: str) -> str:
    """Return text as a block of code in Markdown."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}"
