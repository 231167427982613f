"""What the pictures of a benchmark show: latencies side by side, and error against latency."""

from pathlib import Path

from compressor.drawing.charts import Bar, BarChart, Panel, bar_color
from compressor.drawing.plots import legend_name, plain_texts
from compressor.search.objectives import OBJECTIVES
from exporters.benchmark_record import Benchmark
from exporters.timing.latency import Latency


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


@plain_texts()
def write_latency_png(benchmark: Benchmark, path: Path) -> Path:
    """Save error against median latency per model at the first batch size and the longest length; the base marked.

    Models whose error is not known are drawn at the foot of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shapes = [(batch_size, length) for batch_size, length in benchmark.shapes if isinstance(length, int)]
    batch_size, length = min(size for size, _ in shapes), max(tokens for _, tokens in shapes)
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, latency in benchmark.at((batch_size, length)).items():
        model, is_base = benchmark.models[name], name == benchmark.base
        marker = "*" if is_base else {"int8": "s", "fp16": "^", "bf16": "D"}.get(model.precision, "o")
        label = f"{legend_name(name)} ({model.runtime}, {model.precision}" + (", base)" if is_base else ")")
        axes.scatter([latency.p50_ms], [model.error or 0.0], s=110 if is_base else 50, marker=marker, label=label)
    axes.set(
        xlabel=f"median latency in ms (batch {batch_size}, {length} tokens), lower is better",
        ylabel=OBJECTIVES["error"].axis,
        title=f"Latency on {benchmark.environment.threads} thread(s) of {benchmark.environment.cpu}",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path
