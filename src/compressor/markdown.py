"""Markdown that shows text as it is, in run descriptions and model cards: labels, names and paths may hold anything."""

import re
from collections.abc import Sequence


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
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in (line[:1], line[-1:]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def markdown_block(text: str, language: str) -> str:
    """Return text as a block of code in Markdown."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}"
