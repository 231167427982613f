"""`replay.html`: two served models on the same requests, on one page that needs no network."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from compressor.drawing.charts import Mark, PointChart, Series
from compressor.drawing.page import Table, figure, render_page
from compressor.files import write_text
from exporters.served.replay import DISAGREEMENTS_FILE, ROLES, Replay

REPLAY_PAGE = "replay.html"
_MAX_ROWS = 100
"""Rows of the table of disagreements."""
_MAX_TEXT = 300
"""Characters of a cell."""


def write_replay_page(path: Path, found: Replay) -> Path:
    """Write the page of a replay."""
    count = len(found.timed["champion"].latency_ms)
    verdict, *others = found.verdict()
    lead = (
        f"{count:,} requests of {found.file.name} ({found.num_rows:,} rows), to both models in turn at {found.rate:g} "
        "a second. Latency is counted from the moment at which a request was to be sent; lower is better."
    )
    header, rows = found.table()
    page = render_page(
        Path(__file__).with_name("replay.html"),
        f"Replay of {found.file.name}: two served models",
        lead,
        verdict=[verdict, *others[:1]],
        remarks=others[1:],
        latency=figure(latency_chart(found)),
        percentiles=Table(header=header, rows=rows),
        disagreements=_disagreements(found),
        more=max(len(found.disagreements) - _MAX_ROWS, 0),
        file=DISAGREEMENTS_FILE,
        command=_command(found),
    )
    return write_text(path, page)


def latency_chart(found: Replay) -> PointChart:
    """Return the latency of each model by percentile."""
    percents = np.arange(1, 100)
    models = dict(zip(ROLES, (found.champion, found.challenger), strict=True))
    series = []
    for color, (role, timed) in enumerate(found.timed.items()):
        values = np.percentile(timed.latency_ms, percents)
        marks = tuple(
            Mark(x=float(percent), y=float(ms), note=f"{role}: {models[role].name}\np{percent}: {ms:.2f} ms")
            for percent, ms in zip(percents, values, strict=True)
        )
        series.append(Series(name=role, marks=marks, color=color, size=2.0, line="straight"))
    described = "; ".join(
        f"{role}: " + ", ".join(f"{name.removesuffix('_ms')} {ms:.2f} ms" for name, ms in timed.percentiles().items())
        for role, timed in found.timed.items()
    )
    return PointChart(
        stem="replay_latency",
        title="Latency by percentile",
        caption="So many percent of the requests were answered within that time, waiting for earlier ones included.",
        alt=f"{described}.",
        x_label="percentile of the requests",
        y_label="latency in ms, lower is better",
        series=tuple(series),
    )


def _disagreements(found: Replay) -> Table | None:
    rows = [
        [str(each.line), _short(each.row), _short(each.champion), _short(each.challenger)]
        for each in found.disagreements[:_MAX_ROWS]
    ]
    return Table(header=["line", "row", *ROLES], rows=rows, words=True) if rows else None


def _short(value: Any) -> str:
    """Return a row or an answer in a cell: of a label with its score these two alone."""
    if isinstance(value, dict) and "label" in value:
        value = f"{value['label']} ({value['score']:.3f})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _command(found: Replay) -> str:
    words = [
        *("--champion", found.champion.name, "--challenger", found.challenger.name),
        *("--requests", found.file.name, "--rate", f"{found.rate:g}"),
    ]
    return f"compressor replay {shlex.join(words)}"
