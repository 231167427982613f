"""Pictures and tables of a Pareto front: PNG, CSV, self-contained HTML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.search import SearchResult

ERROR_AXIS = "error (1 − metric), lower is better"
PARAMS_AXIS = "parameters in millions, lower is better"


def write_front_csv(result: SearchResult, path: Path) -> Path:
    """All evaluated sub-networks as a table, one per line."""
    import pandas as pd

    table = pd.DataFrame([evaluation.to_json() for evaluation in result.evaluations])
    columns = ["name", "on_front", "error", "test_error", "params", "relative_params", "relative_encoder_params"]
    columns += ["num_layers", "num_heads", "num_units", "macs", "latency_ms", "eval_seconds", "sub_network"]
    path.write_text(table[columns].to_csv(index=False), encoding="utf-8")
    return path


def write_front_png(result: SearchResult, path: Path, title: str) -> Path:
    """Error against parameters: every sub-network, the front as a staircase, the super-network marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    front, full = result.front, result.full
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter(
        [e.params / 1e6 for e in result.evaluations],
        [e.error for e in result.evaluations],
        s=18,
        color="#9aa5b1",
        label="evaluated sub-network",
    )
    by_size = sorted(front, key=lambda e: e.params)
    axes.step(
        [e.params / 1e6 for e in by_size], [e.error for e in by_size], where="post", color="#0b6e99", linewidth=1.2
    )
    axes.scatter(
        [e.params / 1e6 for e in by_size], [e.error for e in by_size], s=32, color="#0b6e99", label="Pareto front"
    )
    if full is not None:
        axes.scatter(full.params / 1e6, full.error, s=110, marker="*", color="#d1495b", label="super-network", zorder=3)
    axes.set(xlabel=PARAMS_AXIS, ylabel=ERROR_AXIS, title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path


def write_front_html(result: SearchResult, path: Path, title: str) -> Path:
    """The same picture with hover, as one file that needs no network."""
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = (
        ("evaluated sub-network", [e for e in result.evaluations if not e.on_front], "#9aa5b1", "markers"),
        ("Pareto front", sorted(result.front, key=lambda e: e.params), "#0b6e99", "lines+markers"),
        ("super-network", [result.full] if result.full else [], "#d1495b", "markers"),
    )
    for name, evaluations, color, mode in groups:
        figure.add_scatter(
            x=[e.params / 1e6 for e in evaluations],
            y=[e.error for e in evaluations],
            name=name,
            mode=mode,
            line={"shape": "hv"},
            marker={"color": color, "size": 14 if name == "super-network" else 8},
            text=[
                f"{e.name}<br>layers {e.sub_network.num_layers}, heads {e.sub_network.num_heads}, "
                f"units {e.sub_network.num_units}<br>{e.relative_encoder_params:.1%} of the encoder"
                for e in evaluations
            ],
            hovertemplate="%{text}<br>error %{y:.4f}<br>%{x:.2f} M parameters<extra></extra>",
        )
    figure.update_layout(title=title, xaxis_title=PARAMS_AXIS, yaxis_title=ERROR_AXIS, template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)
    return path


def write_latency_png(report: Mapping[str, Any], path: Path) -> Path:
    """Error against median latency of each model at the first batch size and the longest length; the base marked.

    Models whose error is not known are drawn at the foot of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shapes = [(row["batch_size"], row["length"]) for row in report["latencies"] if isinstance(row["length"], int)]
    batch_size, length = min(b for b, _ in shapes), max(n for _, n in shapes)
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, model) in enumerate(report["models"].items()):
        row = next(
            row
            for row in report["latencies"]
            if (row["model"], row["batch_size"], row["length"]) == (name, batch_size, length)
        )
        error = 0.0 if model["error"] is None else model["error"]
        marker = "*" if number == 0 else {"int8": "s", "fp16": "^"}.get(model["precision"], "o")
        label = f"{name} ({model['runtime']}, {model['precision']}" + (", base)" if number == 0 else ")")
        axes.scatter([row["p50_ms"]], [error], s=110 if number == 0 else 50, marker=marker, label=label)
    axes.set(
        xlabel=f"median latency in ms (batch {batch_size}, {length} tokens), lower is better",
        ylabel=ERROR_AXIS,
        title=f"Latency on {report['environment']['threads']} thread(s) of {report['environment']['cpu']}",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path
