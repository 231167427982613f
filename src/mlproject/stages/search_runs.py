"""What a search leaves behind: its result file, pictures and table, and what is logged of each sub-network."""

import itertools
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

from compressor.drawing.terminal import print_table
from compressor.evaluation.latency_table import TABLE_FILE
from compressor.evaluation.predictions import PREDICTIONS_FILE
from compressor.files import new_directory
from compressor.markdown import markdown_code, markdown_table
from compressor.network.sub_network import SubNetwork
from compressor.search.figures import write_front_html, write_front_png
from compressor.search.objectives import main_cost
from compressor.search.record import RESULTS_FILE, EvaluatedSubNetwork, SearchResult
from compressor.spaces.space import Config
from exporters.report.front import describe_useless, front_table, spare_columns
from mlproject.tracking.tracker import StageRun
from mlproject.tracking.views import pareto_view

CSV_FILE, PNG_FILE, HTML_FILE = "pareto_front.csv", "pareto_front.png", "pareto_front.html"
ARTIFACTS = (RESULTS_FILE, PREDICTIONS_FILE, CSV_FILE, PNG_FILE, HTML_FILE)
"""What of a search's directory goes to MLflow."""
_MAX_ROWS = 30
"""Rows of a table in a description, which MLflow cuts at 8,000 characters."""


def write_search_results(output_dir: Path, result: SearchResult, title: str) -> None:
    """Write a search's result file, its predictions, its table and its pictures; whole or not there."""
    with new_directory(output_dir) as temporary:
        result.write(temporary, output_dir)
        (temporary / CSV_FILE).write_text(result.to_frame().to_csv(index=False), encoding="utf-8")
        write_front_png(result, temporary / PNG_FILE, title)
        write_front_html(result, temporary / HTML_FILE, title, *front_table(result))


def child_tags(run: StageRun, model: str, task_name: str, search_space: str, search_method: str) -> dict[str, str]:
    """Return the tags of a sub-network's run, by which it is found; those on the front are marked at the end."""
    return {
        "stage": "subnet",
        "model": model,
        "task": task_name,
        "search_space": search_space,
        "search_method": search_method,
        "compressor.search_run_id": run.run_id,
        "pareto": "false",
    }


def child_metrics(evaluation: EvaluatedSubNetwork, hypervolume: float) -> dict[str, float]:
    """Return the metrics of a sub-network's run; the same keys in every run, so that MLflow can plot them."""
    more = {name: getattr(evaluation, name) for name in ("relative_params", "relative_encoder_params", "eval_seconds")}
    known = evaluation.objectives | more | {"hypervolume": hypervolume}
    return {name: float(value) for name, value in known.items()}


def architecture(sub_network: SubNetwork, config: Config | None) -> dict[str, Any]:
    """Return the parameters of a sub-network's run: numbers, so that MLflow can draw parallel coordinates."""
    counts = {
        "num_layers": sub_network.num_layers,
        "num_heads": sub_network.num_heads,
        "num_units": sub_network.num_units,
        "sub_network": sub_network.hash,
    }
    numbers = {key: value for key, value in (config or {}).items() if isinstance(value, int)}
    return counts | {f"config/{key}": value for key, value in numbers.items()}


def kept_per_layer(sub_network: SubNetwork) -> list[list[str]]:
    """Return layers, heads and units that are kept; neighbours that keep as much share a row."""
    counts = [(len(heads), len(units)) for heads, units in zip(sub_network.heads, sub_network.units, strict=True)]
    rows, first = [], 0
    # Runs of equal neighbours: `groupby` joins no others.
    for count, group in itertools.groupby(counts):
        last = first + len(list(group)) - 1
        rows.append([f"{first}" if first == last else f"{first}–{last}", *map(str, count)])
        first = last + 1
    return rows


def mark_front_member(child: StageRun, member: EvaluatedSubNetwork, place: int, run: StageRun) -> None:
    """Tag a sub-network's run as on the front; add its test error, what it keeps, and how it is deployed."""
    child.set_tags({"pareto": "true", "front_index": str(place)})
    child.describe(
        f"Error **{member.error:.4f}** with {member.relative_encoder_params:.1%} of the encoder. Deploy it:\n\n"
        f"`compressor extract --search runs:/{run.run_id} --index {place} --output-dir model`\n\n"
        "`compressor export --model model --register-as NAME --alias champion`\n\n"
        "`mlflow models serve -m models:/NAME@champion --env-manager local`\n\n"
        f"What it keeps:\n\n{markdown_table(['layer', 'heads', 'units'], kept_per_layer(member.sub_network))}"
    )
    if member.test_error is not None:
        child.log_metrics({"test_error": member.test_error})


def finish_search(
    result: SearchResult, output_dir: Path, run: StageRun, run_of: Callable[[EvaluatedSubNetwork], StageRun], how: str
) -> None:
    """Write what a search found, mark the runs of the front's members, log it as a whole, and print the front.

    `how` is what its title says of the sub-networks.
    """
    origin, count = result.made_of, len(result.evaluations)
    title = f"{origin.source.task_name}: {count} sub-networks{how}, {origin.search_space} space"
    write_search_results(output_dir, result, title)
    for place, member in enumerate(result.front):
        mark_front_member(run_of(member), member, place, run)
    _show_result(result, output_dir, run, "Pareto search" if origin.is_shared else "Standard NAS")


def _show_result(result: SearchResult, output_dir: Path, run: StageRun, view: str) -> None:
    """Log what a search found as a whole, save the view of that name, and print the front."""
    run.log_series("search/hypervolume", result.hypervolumes)
    run.log_metrics({"hypervolume": result.hypervolumes[-1], "num_evaluations": len(result.evaluations)})
    for name in ARTIFACTS:
        run.log_artifact(output_dir / name)
    # Only a search by a latency table has left one.
    if (output_dir / TABLE_FILE).is_file():
        run.log_artifact(output_dir / TABLE_FILE)
    if result.trivial is not None:
        run.log_metrics({"trivial_error": result.trivial.error, "trivial_test_error": result.trivial.test_error})
    header, rows = front_table(result)
    title = f"Pareto front of {len(result.evaluations)} sub-networks"
    print_table(title, header, rows, spare=spare_columns(result))
    run.describe(
        f"Hypervolume of {', '.join(result.objectives)}, up to 1: **{result.hypervolumes[-1]:.4f}**\n\n"
        + markdown_table(header, rows[:_MAX_ROWS])
        + ("\n\nAll of them: pareto_front.csv" if len(rows) > _MAX_ROWS else "")
        + f"\n\n![Pareto front]({run.picture(PNG_FILE)})\n\n"
        + f"Cut one out: {markdown_code(f'compressor extract --search {quote(str(output_dir))} --index I')}"
    )
    note = describe_useless(result)
    if note:
        print(f"Note: {note}")
    counts, cost = ["num_layers", "num_heads", "num_units"], main_cost(result.objectives)
    run.tracker.links["Sub-networks in MLflow"] = run.save_view(view, pareto_view(run.run_id, counts, cost))
