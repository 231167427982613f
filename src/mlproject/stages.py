"""The stages behind the commands: each reads files, works with the library, writes files, then logs what it made.

A stage can be run alone: between stages only directories travel. `compress` runs all of them in one process.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data import DataSource, load_task_data
from compressor.files import new_directory, write_json
from compressor.settings import TrainingSettings
from mlproject.settings import BenchmarkOptions, ModelOptions
from mlproject.sources import (
    ONNX_FILE,
    find_onnx,
    open_model,
)
from mlproject.stage_log import log_data, option_params
from mlproject.tables import print_table
from mlproject.tracking import StageRun

if TYPE_CHECKING:
    pass


def train_supernet(
    output_dir: Path, source: DataSource, model_options: ModelOptions, settings: TrainingSettings, run: StageRun
) -> Path:
    """Trains a super-network into `output_dir`, a checkpoint per epoch; the best epoch's weights are the result."""
    import shutil

    from safetensors.torch import load_file
    from tqdm import tqdm

    from compressor.batches import encode
    from compressor.families import get_dimensions, max_positions
    from compressor.models import load_base_model, pick_device, save_super_network
    from compressor.search_spaces import create_search_space
    from compressor.training import EpochReport, train_super_network

    run.log_params(option_params(source, model_options, settings))
    data = load_task_data(source)
    log_data(run, data, source)
    model, tokenizer = load_base_model(
        model_options.model_name_or_path,
        data.task,
        data.label_names,
        seed=settings.seed,
        attn_implementation=model_options.attn_implementation,
        trust_remote_code=model_options.trust_remote_code,
    )
    create_search_space(settings.search_space, get_dimensions(model))
    train, validation = (
        encode(rows, data.task, tokenizer, max_positions(model)) for rows in (data.train, data.validation)
    )
    print(
        f"Training on {len(train):,} rows, validating on {len(validation):,}"
        + (f"; labels: {', '.join(data.label_names[:10])}" if data.label_names else "")
    )
    info: dict[str, Any] = {
        "format": 1,
        "source": source.to_json(),
        "data_digest": data.digest,
        "label_names": list(data.label_names),
        "model_name_or_path": model_options.model_name_or_path,
        "settings": asdict(settings),
        "dimensions": get_dimensions(model).to_json(),
        "attn_implementation": model_options.attn_implementation,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": [],
    }
    best: list[EpochReport] = []

    def on_epoch(report: EpochReport) -> None:
        info["epochs"].append(asdict(report))
        if not best or report.error <= best[0].error:
            best[:] = [report]
        if model_options.save_checkpoints:
            save_super_network(output_dir / f"checkpoint-epoch-{report.epoch}", model, tokenizer, info)
        metrics = {"loss": report.loss, "error": report.error, "smallest_error": report.smallest_error}
        run.log_metrics({f"train/{name}": value for name, value in metrics.items() if value is not None}, report.epoch)
        tqdm.write(
            f"Epoch {report.epoch}: summed loss {report.loss:.3f}, error {report.error:.4f} (super-network), "
            f"{report.smallest_error:.4f} (smallest sub-network)"
        )

    reports = train_super_network(model.to(pick_device()), data.task, train, validation, settings, on_epoch)
    kept = best[0] if model_options.save_checkpoints else reports[-1]
    if kept is not reports[-1]:
        model.load_state_dict(load_file(output_dir / f"checkpoint-epoch-{kept.epoch}" / "model.safetensors"))
    save_super_network(output_dir, model, tokenizer, info | {"best_epoch": kept.epoch})
    for report in reports:
        if report is not kept:
            shutil.rmtree(output_dir / f"checkpoint-epoch-{report.epoch}", ignore_errors=True)
    run.log_metrics({"error": kept.error, "params": info["params"]})
    run.log_artifact(output_dir / "super_network.json")
    return output_dir


def export(output_dir: Path, model_dir: Path, run: StageRun, name: str = "onnx") -> Path:
    """Exports a sliced model or a super-network to `model.onnx`, proven equal on many shapes and validation rows.

    `name` is the prefix of its metrics and the folder of its artifacts in MLflow.
    """
    from compressor.batches import encode, evaluation_batches
    from compressor.evaluation import Evaluator
    from compressor.extraction import require_error
    from compressor.families import max_positions
    from compressor.metrics import compute_error, predict
    from exporters.onnx_export import export_onnx
    from exporters.parity import check_onnx_parity, onnx_logits
    from exporters.sessions import create_session

    opened = open_model(model_dir)
    model, tokenizer, source = opened.model, opened.tokenizer, opened.source
    run.log_params({f"{name}_model": str(model_dir)})
    data = load_task_data(source)
    validation = encode(data.validation, data.task, tokenizer, max_positions(model))
    metadata = opened.metadata | {
        "task": source.task_name,
        "max_length": min(data.task.max_length, max_positions(model)),
    }
    with new_directory(output_dir) as temporary:
        path = export_onnx(model, tokenizer, temporary / ONNX_FILE, metadata)
        batches = evaluation_batches(validation, 64)
        differences = check_onnx_parity(path, model, tokenizer, batches)
        logits = onnx_logits(create_session(path, threads=1), batches)
        error = compute_error(data.task.metric, predict(logits, data.task.regression), validation.labels)
        searched = opened.searched_error
        expected = Evaluator(model, data.task, validation).evaluate().error if searched is None else searched
        require_error(expected, error, logits)
        params = sum(parameter.numel() for parameter in model.parameters())
        report = {"parity": differences, "error": error, "params": params, "onnx_mb": path.stat().st_size / 1e6}
        write_json(temporary / "export.json", report)
        tokenizer.save_pretrained(temporary)
        made = sorted(file.name for file in temporary.iterdir())
    run.log_metrics(
        {f"{name}/parity": max(differences.values()), f"{name}/error": error, f"{name}/mb": report["onnx_mb"]}
    )
    for file_name in made:
        run.log_artifact(output_dir / file_name, name)
    print(
        f"Exported {output_dir / ONNX_FILE} ({report['onnx_mb']:.1f} MB): ONNX = PyTorch within "
        f"{max(differences.values()):.1e} on {len(differences)} checks."
    )
    return output_dir


def benchmark(output_dir: Path, models: Mapping[str, Path], options: BenchmarkOptions, run: StageRun) -> Path:
    """Times exported models side by side in ONNX Runtime; writes `latency.json` and `latency.csv` into `output_dir`."""
    import pandas as pd

    from exporters.latency import describe_environment, longest_input, measure_latencies

    files = {name: find_onnx(path) for name, path in models.items()}
    run.log_params(asdict(options) | {"models": ", ".join(map(str, files.values()))})
    longest = min(longest_input(path) for path in files.values())
    lengths = tuple(sorted({min(length, longest) for length in options.lengths}))
    if lengths != tuple(sorted(options.lengths)):
        print(f"The models take at most {longest} tokens: timed at {', '.join(map(str, lengths))}.")
    latencies = measure_latencies(files, options.batch_sizes, lengths, threads=options.threads, runs=options.runs)
    environment = describe_environment(options.threads)
    table = pd.DataFrame([asdict(latency) for latency in latencies])
    with new_directory(output_dir) as temporary:
        write_json(temporary / "latency.json", {"environment": environment, "latencies": table.to_dict("records")})
        table.to_csv(temporary / "latency.csv", index=False)
    run.log_metrics(
        {
            f"latency/{latency.model}_b{latency.batch_size}_l{latency.length}_{key}": getattr(latency, key)
            for latency in latencies
            for key in ("p50_ms", "p90_ms")
        }
    )
    for file_name in ("latency.json", "latency.csv"):
        run.log_artifact(output_dir / file_name)
    dense = next(iter(files))
    medians = {(row.model, row.batch_size, row.length): row.p50_ms for row in latencies}
    rows = [
        [
            row.model,
            f"{row.batch_size}",
            f"{row.length}",
            f"{row.p50_ms:.2f}",
            f"{row.p90_ms:.2f}",
            f"{row.rows_per_second:.0f}",
            f"{medians[dense, row.batch_size, row.length] / row.p50_ms:.2f}×",
        ]
        for row in sorted(latencies, key=lambda row: (row.batch_size, row.length))
    ]
    header = ["model", "batch", "length", "p50 ms", "p90 ms", "rows/s", f"speed-up over {dense}"]
    print_table(f"Latency in ONNX Runtime, {options.threads} thread(s), {environment['cpu']}", header, rows)
    return output_dir
