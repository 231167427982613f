"""What the pictures of a benchmark show: latencies side by side, and error against latency."""

from collections.abc import Mapping

from compressor.drawing.charts import Bar, BarChart, Mark, Panel, PointChart, Series, Shape, bar_color
from compressor.search.objectives import OBJECTIVES
from exporters.benchmark_record import Benchmark, TimedModel
from exporters.timing.latency import Latency

_SHAPES: Mapping[str, Shape] = {"int8": "square", "fp16": "triangle", "bf16": "diamond"}
"""Marks by precision; fp32 and graphs of other tools are circles."""


def latency_chart(benchmark: Benchmark, whose: str = "dense against extracted") -> BarChart:
    """Return median latencies, a panel for each batch size and length, each with its own scale."""
    panels = []
    for shape in benchmark.shapes:
        batch_size, length = shape
        texts = "1 text" if batch_size == 1 else f"{batch_size} texts"
        kind = f"{length} tokens each" if isinstance(length, int) else "lengths of the validation rows"
        title = f"Batch of {texts}, {kind}"
        rows = enumerate(benchmark.at(shape).values())
        panels.append(Panel(title=title, bars=tuple(_latency_bar(row, place, title) for place, row in rows)))
    environment, runs = benchmark.environment, sorted({row.runs for row in benchmark.latencies})
    return BarChart(
        stem="latency",
        title=f"Median latency, {whose}",
        caption=f"Each panel has its own scale; × is the share of {benchmark.base}'s time. "
        f"{' to '.join(dict.fromkeys((str(runs[0]), str(runs[-1]))))} timed runs, models taking turns, "
        f"{environment.threads} thread(s) of {environment.cpu}, tokenizer not included.",
        alt="; ".join(f"{p.title}: " + ", ".join(f"{b.label} {b.text}" for b in p.bars) for p in panels) + ".",
        x_label="median latency of a batch in ms, lower is better",
        panels=tuple(panels),
        shared_scale=False,
    )


def _latency_bar(row: Latency, place: int, title: str) -> Bar:
    ratio = f"× {row.ratio:.2f} (95 %: {row.ratio_low:.2f}–{row.ratio_high:.2f})"
    return Bar(
        label=row.model,
        value=row.p50_ms,
        text=f"{row.p50_ms:.2f} ms" + (f", × {row.ratio:.2f}" if place else "") + (", noisy" if row.noisy else ""),
        color=bar_color(place),
        note=f"{row.model}\n{title}\np50 {row.p50_ms:.2f} ms, p90 {row.p90_ms:.2f} ms\n{ratio}",
    )


def error_chart(benchmark: Benchmark) -> PointChart:
    """Return error against median latency, a series per model, at the smallest batch and the longest length.

    The base is the star. Models whose error is not known lie at the foot, and the legend says so.
    """
    # The lengths of real rows are no number that an axis could name.
    shapes = [(batch_size, length) for batch_size, length in benchmark.shapes if isinstance(length, int)]
    batch_size, length = min(size for size, _ in shapes), max(tokens for _, tokens in shapes)
    latencies, environment = benchmark.at((batch_size, length)), benchmark.environment
    marks = {name: _error_mark(benchmark.models[name], latency) for name, latency in latencies.items()}
    return PointChart(
        stem="latency",
        title=f"Latency on {environment.threads} thread(s) of {environment.cpu}",
        caption="Vertical lines are 95 % intervals of the error.",
        alt="; ".join(mark.note.replace("\n", ", ") for mark in marks.values()) + ".",
        x_label=f"median latency in ms (batch {batch_size}, {length} tokens), lower is better",
        y_label=OBJECTIVES["error"].axis,
        series=tuple(
            Series(
                name=_legend_entry(name, benchmark),
                marks=(mark,),
                color=bar_color(place),
                shape="star" if not place else _SHAPES.get(benchmark.models[name].precision, "circle"),
                size=6.2 if not place else 4.0,
            )
            for place, (name, mark) in enumerate(marks.items())
        ),
    )


def _error_mark(model: TimedModel, latency: Latency) -> Mark:
    low, high = model.error_interval or (None, None)
    error = "error not known" if model.error is None else f"error {model.error:.4f}"
    return Mark(
        x=latency.p50_ms,
        y=model.error or 0.0,
        low=low,
        high=high,
        note=f"{latency.model}\n{latency.p50_ms:.2f} ms\n{error}",
    )


def _legend_entry(name: str, benchmark: Benchmark) -> str:
    model = benchmark.models[name]
    words: list[str] = [model.runtime, model.precision]
    words += ["base"] if name == benchmark.base else []
    words += ["error not known"] if model.error is None else []
    return f"{name} ({', '.join(words)})"
