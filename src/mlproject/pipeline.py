"""`compress`: all stages in one process, each a run under one parent, and the table dense | pruned at the end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.data import DataSource
from compressor.files import read_json, write_json
from compressor.settings import TrainingSettings
from mlproject.benchmark_stage import benchmark
from mlproject.choosing import Choice
from mlproject.export_stage import export
from mlproject.extract_stage import EXTRACTION_FILE, extract
from mlproject.model_card import describe_comparison
from mlproject.report import FIGURES, REPORT_FILE, write_report
from mlproject.search_stage import search
from mlproject.settings import BenchmarkOptions, ExportOptions, ModelOptions, SearchOptions
from mlproject.stage_log import option_params
from mlproject.tables import markdown_table, print_table
from mlproject.tracking import StageRun, Tracker
from mlproject.train_stage import train_supernet


def compress(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    search_options: SearchOptions,
    choice: Choice,
    finetune_epochs: int,
    export_options: ExportOptions,
    benchmark_options: BenchmarkOptions,
    run: StageRun,
    tracker: Tracker,
) -> Path:
    """Trains, searches, extracts, exports, benchmarks into folders of `output_dir`; `summary.json`, `report.html`."""
    tags = {"model": model_options.model_name_or_path, "task": source.task_name}
    folders = {name: output_dir / name for name in ("supernet", "search", "model", "onnx", "onnx-dense", "benchmark")}
    run.set_tags(tags)
    run.log_params(option_params(source, model_options, settings, search_options, benchmark_options))
    with tracker.start_stage(run, "train-supernet", tags) as stage:
        train_supernet(folders["supernet"], source, model_options, settings, stage)
    with tracker.start_stage(run, "search", tags) as stage:
        if search(folders["search"], folders["supernet"], {}, search_options, stage).interrupted:
            raise KeyboardInterrupt
    with tracker.start_stage(run, "extract", tags) as stage:
        extract(folders["model"], folders["search"], choice, finetune_epochs, stage)
    with tracker.start_stage(run, "export", tags) as stage:
        dense_options = replace(export_options, precision=("fp32",), register_as=None, alias=None)
        export(folders["onnx-dense"], folders["supernet"], dense_options, stage, name="dense", log_models=False)
        exported = export(folders["onnx"], folders["model"], export_options, stage, name="pruned")
    with tracker.start_stage(run, "benchmark", tags) as stage:
        models = {"dense": folders["onnx-dense"], "pruned": folders["onnx"]}
        latencies = benchmark(folders["benchmark"], models, benchmark_options, stage)
    _summarise(output_dir, folders, exported, latencies, run)
    reported = {name: folders[name] for name in ("search", "model", "onnx", "benchmark")}
    write_report(output_dir / REPORT_FILE, reported)
    run.log_artifact(output_dir / REPORT_FILE)
    run.log_artifact(output_dir / FIGURES, FIGURES)
    return output_dir


def _summarise(
    output_dir: Path, folders: dict[str, Path], exported: dict[str, Any], latencies: dict[str, Any], run: StageRun
) -> None:
    """Prints, writes and logs the comparison of the dense super-network with the extracted sub-network's forms."""
    extraction = read_json(folders["model"] / EXTRACTION_FILE)
    summary: dict[str, dict[str, Any]] = {}
    for name, model in latencies["models"].items():
        form = extraction["super_network" if name == "dense" else "extracted"]
        keys = ("error", "test_error", "params", "relative_params", "relative_encoder_params")
        rows = [row for row in latencies["latencies"] if row["model"] == name]
        summary[name] = {key: form[key] for key in keys} | {"onnx_mb": model["mb"]}
        if name not in ("dense", "pruned"):  # of other precisions only the validation error was looked at
            summary[name] |= {"error": exported["forms"][model["precision"]]["error"], "test_error": None}
        summary[name] |= {f"p50_ms_b{row['batch_size']}_l{row['length']}": row["p50_ms"] for row in rows}
        summary[name] |= {f"ratio_b{row['batch_size']}_l{row['length']}": row["ratio"] for row in rows}
    write_json(output_dir / "summary.json", summary)
    header, labels = ["", *summary], _labels(summary["dense"])
    rows = [[label, *(_format(key, form[key]) for form in summary.values())] for key, label in labels]
    print_table(f"Dense super-network and extracted sub-network {extraction['name']}", header, rows)
    print(f"On the test rows: {describe_comparison(extraction['test'])}.")
    run.log_metrics(
        {
            f"{name}/{key}": value
            for name, values in summary.items()
            for key, value in values.items()
            if value is not None
        }
    )
    fastest = next(key for key in summary["dense"] if key.startswith("p50_ms"))
    picture = f"get-artifact?path=pareto_front.png&run_uuid={run.run_id}"
    run.log_artifact(folders["search"] / "pareto_front.png")
    run.log_artifact(output_dir / "summary.json")
    run.describe(
        f"**{extraction['name']}** keeps {extraction['extracted']['relative_encoder_params']:.0%} of the encoder: "
        f"{_change(summary, 'error')} error, {_change(summary, 'onnx_mb')} MB, {_change(summary, fastest)} ms p50.\n\n"
        f"{markdown_table(header, rows)}\n\n![Pareto front]({picture})\n\n"
        f"Another one: `compressor extract --search {folders['search']} --index I`"
    )


def _labels(values: dict[str, Any]) -> list[tuple[str, str]]:
    labels = {
        "error": "error (validation)",
        "test_error": "error (test)",
        "params": "parameters (M)",
        "relative_encoder_params": "share of the encoder",
        "onnx_mb": "ONNX file (MB)",
    }
    for key in values:
        if key.startswith("p50_ms"):
            _, _, batch, length = key.split("_")
            labels[key] = f"p50 (ms), batch {batch[1:]}, length {length[1:]}"
        if key.startswith("ratio"):
            _, batch, length = key.split("_")
            labels[key] = f"of dense p50, batch {batch[1:]}, length {length[1:]}"
    return list(labels.items())


def _change(summary: dict[str, dict[str, Any]], key: str) -> str:
    return f"{_format(key, summary['dense'][key])} → {_format(key, summary['pruned'][key])}"


def _format(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key == "params":
        return f"{value / 1e6:.2f}"
    if key == "relative_encoder_params":
        return f"{value:.1%}"
    return f"{value:.4f}" if "error" in key else f"{value:.2f}"
