"""Pictures and tables of a Pareto front: PNG, CSV, self-contained HTML."""

from collections.abc import Sequence
from pathlib import Path

from compressor.search.record import SearchResult
from exporters.benchmark_record import Benchmark
from mlproject.page import figure, paragraph, render_page, table
from mlproject.paper_charts import legend_name, plain_texts, save_figure
from mlproject.report_figures import ERROR_AXIS, front_chart

_MAX_ROWS = 100
"""Of the front's table on its page."""


def write_front_png(result: SearchResult, path: Path, title: str) -> Path:
    """Error against cost: every sub-network, the front as a staircase, the super-network marked."""
    return save_figure(front_chart(result, title), path)


def write_front_html(
    result: SearchResult, path: Path, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Path:
    """The same picture with hover, and the front's table, as one file that needs no network."""
    lead = f"{len(result.evaluations)} sub-networks, of which {len(result.front)} are on the Pareto front."
    more = [paragraph("The others are in pareto_front.csv.")] if len(rows) > _MAX_ROWS else []
    parts = [figure(front_chart(result, "Error against cost")), table(header, rows[:_MAX_ROWS]), *more]
    page = render_page(title, lead, parts)
    path.write_text(page, encoding="utf-8")
    return path


@plain_texts()
def write_latency_png(benchmark: Benchmark, path: Path) -> Path:
    """Error against median latency of each model at the first batch size and the longest length; the base marked.

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
        marker = "*" if is_base else {"int8": "s", "fp16": "^"}.get(model.precision, "o")
        label = f"{legend_name(name)} ({model.runtime}, {model.precision}" + (", base)" if is_base else ")")
        axes.scatter([latency.p50_ms], [model.error or 0.0], s=110 if is_base else 50, marker=marker, label=label)
    axes.set(
        xlabel=f"median latency in ms (batch {batch_size}, {length} tokens), lower is better",
        ylabel=ERROR_AXIS,
        title=f"Latency on {benchmark.environment.threads} thread(s) of {benchmark.environment.cpu}",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path
