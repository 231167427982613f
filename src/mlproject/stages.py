"""The stages behind the commands: each reads files, works with the library, writes files, then logs what it made.

A stage can be run alone: between stages only directories travel. `compress` runs all of them in one process.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data import DataSource, TaskData, load_task_data
from compressor.errors import ParityError, SearchError
from compressor.files import new_directory, write_json
from compressor.settings import TrainingSettings
from compressor.sub_network import SubNetwork
from mlproject.settings import BenchmarkOptions, ModelOptions, SearchOptions
from mlproject.sources import (
    ONNX_FILE,
    find_onnx,
    open_model,
    open_super_network,
    read_search_results,
    require_same_weights,
    weights_digest,
)
from mlproject.tables import markdown_table, print_table
from mlproject.tracking import StageRun
from mlproject.views import pareto_view

if TYPE_CHECKING:
    from compressor.evaluation import Evaluator
    from compressor.search import SearchResult


def train_supernet(
    output_dir: Path, source: DataSource, model_options: ModelOptions, settings: TrainingSettings, run: StageRun
) -> Path:
    """Trains a super-network into `output_dir`, a checkpoint per epoch; the best epoch's weights are the result."""
    import shutil

    import torch
    from safetensors.torch import load_file

    from compressor.batches import encode
    from compressor.costs import create_cost_model
    from compressor.families import get_dimensions, max_positions
    from compressor.models import load_base_model, save_super_network
    from compressor.search_spaces import create_search_space
    from compressor.training import EpochReport, train_super_network

    run.log_params(option_params(source, model_options, settings))
    data = load_task_data(source)
    _log_data(run, data, source)
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
        "params": create_cost_model(model).costs(create_cost_model(model).full).params,
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
        run.log_metrics({f"train/{name}": value for name, value in metrics.items()}, report.epoch)
        print(
            f"Epoch {report.epoch}: loss {report.loss:.3f}, error {report.error:.4f} (super-network), "
            f"{report.smallest_error:.4f} (smallest sub-network)"
        )

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_super_network(model.to(device), data.task, train, validation, settings, on_epoch)
    if model_options.save_checkpoints and best[0].epoch != settings.num_train_epochs:
        model.load_state_dict(load_file(output_dir / f"checkpoint-epoch-{best[0].epoch}" / "model.safetensors"))
    info |= {"best_epoch": best[0].epoch if model_options.save_checkpoints else settings.num_train_epochs}
    save_super_network(output_dir, model, tokenizer, info)
    for epoch in range(1, settings.num_train_epochs + 1):
        if epoch != best[0].epoch:
            shutil.rmtree(output_dir / f"checkpoint-epoch-{epoch}", ignore_errors=True)
    run.log_metrics({"error": best[0].error, "params": info["params"]})
    run.log_artifact(output_dir / "super_network.json")
    return output_dir


def search(output_dir: Path, supernet: Path, source: DataSource | None, options: SearchOptions, run: StageRun) -> Path:
    """Searches the sub-networks of a super-network; writes `search_results.json` and the pictures into `output_dir`."""
    import time

    from compressor.batches import encode
    from compressor.costs import create_cost_model
    from compressor.evaluation import Evaluator
    from compressor.families import get_dimensions, max_positions
    from compressor.search import EvaluatedSubNetwork, run_search
    from compressor.search_spaces import create_search_space
    from mlproject.search_report import (
        architecture,
        child_metrics,
        front_table,
        mark_front_member,
        write_search_results,
    )

    super_network, source, data = open_super_network(supernet, source)
    run.log_params(option_params(source, options) | {"supernet": str(super_network.path)})
    _log_data(run, data, source)
    model = super_network.model
    space, cost_model = create_search_space(options.search_space, get_dimensions(model)), create_cost_model(model)
    validation = encode(data.validation, data.task, super_network.tokenizer, max_positions(model))
    evaluator = Evaluator(model, data.task, validation, options.per_device_eval_batch_size)
    tags = {
        "stage": "subnet",
        "model": str(super_network.info.get("model_name_or_path", super_network.path.name)),
        "task": source.task_name,
        "search_space": options.search_space,
        "search_method": options.search_strategy,
        "compressor.search_run_id": run.run_id,
        "pareto": "false",
    }
    children: dict[int, Any] = {}

    def on_evaluation(evaluation: EvaluatedSubNetwork, hypervolume: float) -> None:
        children[evaluation.index] = run.log_child(
            evaluation.name, metrics=child_metrics(evaluation, hypervolume), params=architecture(evaluation), tags=tags
        )

    started = time.perf_counter()
    result = run_search(
        space,
        cost_model,
        lambda sub_network: evaluator.evaluate(sub_network).error,
        method=options.search_strategy,
        num_samples=options.num_samples,
        seed=options.seed,
        on_evaluation=on_evaluation,
    )
    seconds = time.perf_counter() - started
    test = encode(data.test, data.task, super_network.tokenizer, max_positions(model))
    result = _add_test_errors(result, Evaluator(model, data.task, test, options.per_device_eval_batch_size))
    write_search_results(
        output_dir,
        result,
        origin={
            "supernet": str(super_network.path),
            "supernet_digest": weights_digest(super_network.path),
            "source": source.to_json(),
            "data_digest": data.digest,
            "options": asdict(options),
        },
        dimensions=space.dimensions,
        title=f"{source.task_name}: {len(result.evaluations)} sub-networks, {options.search_space} space",
        seconds=seconds,
    )
    for step, hypervolume in enumerate(result.hypervolumes):
        run.log_metrics({"search/hypervolume": hypervolume}, step)
    run.log_metrics({"hypervolume": result.hypervolumes[-1], "num_evaluations": len(result.evaluations)})
    for member in result.front:
        mark_front_member(run, children[member.index].result(), member)
    run.log_artifact(output_dir)
    header, rows = front_table(result.front, result.evaluations[0])
    print_table(f"Pareto front of {len(result.evaluations)} sub-networks", header, rows)
    run.describe(
        f"Hypervolume of (error, relative_params) up to (1, 1): **{result.hypervolumes[-1]:.4f}**\n\n"
        + markdown_table(header, rows)
    )
    link = run.save_view(
        f"Pareto search {run.run_id[:6]}", pareto_view(run.run_id, ["num_layers", "num_heads", "num_units"])
    )
    print(f"Sub-networks in MLflow: {link or run.runs_link(f'tags.`compressor.search_run_id` = {run.run_id!r}')}")
    return output_dir


def extract(output_dir: Path, search_dir: Path, index: int | None, run: StageRun) -> Path:
    """Cuts the chosen sub-network out, proves it equal to its shared form, and saves it into `output_dir`."""
    from compressor.batches import encode
    from compressor.evaluation import Evaluator
    from compressor.extraction import file_size_mb, load_sliced_model, require_parity, save_sliced_model
    from compressor.families import get_dimensions, max_positions
    from compressor.slicing import slice_model

    results = read_search_results(search_dir)
    chosen = choose(results, index)
    super_network, source, data = open_super_network(Path(results["supernet"]), DataSource.from_json(results["source"]))
    require_same_weights(super_network, results)
    run.log_params({"search": str(search_dir), "sub_network": chosen["name"]})
    model, tokenizer, dimensions = super_network.model, super_network.tokenizer, get_dimensions(super_network.model)
    sub_network = SubNetwork.from_json(chosen["kept"], dimensions)
    validation = encode(data.validation, data.task, tokenizer, max_positions(model))
    batch_size = results["options"]["per_device_eval_batch_size"]
    shared = Evaluator(model, data.task, validation, batch_size).evaluate(sub_network)
    sliced = slice_model(model, sub_network)
    sliced_logits = Evaluator(sliced, data.task, validation, batch_size).evaluate().logits
    info = {
        "supernet": str(super_network.path),
        "search": str(search_dir),
        "chosen": {key: value for key, value in chosen.items() if key != "kept"},
        "source": source.to_json(),
        "label_names": list(data.label_names),
    }
    with new_directory(output_dir) as temporary:
        save_sliced_model(temporary, sliced, tokenizer, sub_network, dimensions, info)
        loaded = load_sliced_model(temporary)
        loaded_evaluation = Evaluator(loaded.model, data.task, validation, batch_size).evaluate()
        parity = {
            "sliced": require_parity(shared.logits, sliced_logits, "the sliced and the shared sub-network"),
            "loaded": require_parity(shared.logits, loaded_evaluation.logits, "the loaded and the shared sub-network"),
            "error_searched": chosen["error"],
            "error_loaded": loaded_evaluation.error,
        }
        require_error(chosen["error"], loaded_evaluation.error, len(validation))
        write_json(temporary / "parity.json", parity)
        model_mb = file_size_mb(temporary / "model.safetensors")
    costs = {key: chosen[key] for key in ("error", "params", "relative_params", "relative_encoder_params")}
    run.log_metrics(
        costs | {"model_mb": model_mb, "parity/sliced": parity["sliced"], "parity/loaded": parity["loaded"]}
    )
    run.log_artifact(output_dir / "sub_network.json")
    run.log_artifact(output_dir / "parity.json")
    print(
        f"Extracted {chosen['name']}: {chosen['num_layers']} layers, {chosen['num_heads']} heads, "
        f"{chosen['num_units']} units; {chosen['relative_encoder_params']:.1%} of the encoder's parameters. "
        f"Shared = sliced = loaded within {max(parity['sliced'], parity['loaded']):.1e}."
    )
    return output_dir


def export(output_dir: Path, model_dir: Path, run: StageRun, log_model: bool = True) -> Path:
    """Exports a sliced model or a super-network to `model.onnx`, proven equal on many shapes and validation rows."""
    from compressor.batches import encode, evaluation_batches
    from compressor.evaluation import Evaluator
    from compressor.families import max_positions
    from compressor.metrics import compute_error, predict
    from exporters.onnx_export import export_onnx
    from exporters.parity import check_onnx_parity, onnx_logits
    from exporters.sessions import create_session

    opened = open_model(model_dir)
    model, tokenizer, source = opened.model, opened.tokenizer, opened.source
    if log_model:
        run.log_params({"model": str(model_dir)})
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
        torch_error = Evaluator(model, data.task, validation).evaluate().error
        require_error(torch_error, error, len(validation))
        params = sum(parameter.numel() for parameter in model.parameters())
        report = {"parity": differences, "error": error, "params": params, "onnx_mb": path.stat().st_size / 1e6}
        write_json(temporary / "export.json", report)
        tokenizer.save_pretrained(temporary)
    if log_model:
        run.log_metrics({"parity/onnx": max(differences.values()), "error": error, "onnx_mb": report["onnx_mb"]})
        run.log_artifact(output_dir)
    print(
        f"Exported {output_dir / ONNX_FILE} ({report['onnx_mb']:.1f} MB): ONNX = PyTorch within "
        f"{max(differences.values()):.1e} on {len(differences)} checks."
    )
    return output_dir


def benchmark(output_dir: Path, models: Mapping[str, Path], options: BenchmarkOptions, run: StageRun) -> Path:
    """Times exported models side by side in ONNX Runtime; writes `latency.json` and `latency.csv` into `output_dir`."""
    import pandas as pd

    from exporters.latency import describe_environment, measure_latencies

    files = {name: find_onnx(path) for name, path in models.items()}
    run.log_params(asdict(options) | {"models": ", ".join(map(str, files.values()))})
    latencies = measure_latencies(
        files, options.batch_sizes, options.lengths, threads=options.threads, runs=options.runs
    )
    environment = describe_environment(options.threads)
    table = pd.DataFrame([asdict(latency) for latency in latencies])
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / "latency.json", {"environment": environment, "latencies": table.to_dict("records")})
    table.to_csv(output_dir / "latency.csv", index=False)
    for latency in latencies:
        key = f"b{latency.batch_size}_l{latency.length}"
        run.log_metrics({f"latency/{latency.model}_{key}_p50_ms": latency.p50_ms})
        run.log_metrics({f"latency/{latency.model}_{key}_p90_ms": latency.p90_ms})
    run.log_artifact(output_dir)
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


def choose(results: Mapping[str, Any], index: int | None = None) -> dict[str, Any]:
    """The front member at `index` of a written search result; without one the knee.

    Raises:
        SearchError: the index lies off the front.
    """
    from compressor.pareto import find_knee

    front = [results["evaluations"][position] for position in results["front"]]
    if index is None:
        index = find_knee([(member["error"], member["relative_params"]) for member in front])
    if not 0 <= index < len(front):
        raise SearchError(f"--index must lie on the front, in 0..{len(front) - 1}, but got {index}. Correct --index.")
    return dict(front[index])


def require_error(expected: float, error: float, num_rows: int) -> None:
    """Nothing, if two forms of one sub-network have the same task error (law 4).

    Raises:
        ParityError: the errors differ by more than rounding.
    """
    if not abs(expected - error) <= 1e-6:
        raise ParityError(
            f"the error on the {num_rows} validation rows must be the {expected:.6f} that was measured before, but is "
            f"{error:.6f}. Nothing was written."
        )


def option_params(*options: Any) -> dict[str, Any]:
    """The fields of some option classes as MLflow parameters; what is not set is left out."""
    values = {field.name: getattr(option, field.name) for option in options for field in fields(option)}
    return {name: value for name, value in values.items() if value not in (None, ())}


def _log_data(run: StageRun, data: TaskData, source: DataSource) -> None:
    import pandas as pd

    columns = [*data.task.text_columns, *data.task.choice_columns]
    for name, rows in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        table = pd.DataFrame(list(rows.texts), columns=columns).assign(label=rows.labels)
        run.log_dataset(
            table,
            name=f"{source.task_name}-{name}",
            source=getattr(source, f"{name}_file") or source.train_file or source.task_name,
            digest=rows.digest,
            context=name,
        )


def _add_test_errors(result: "SearchResult", evaluator: "Evaluator") -> "SearchResult":
    """The result with test errors of the front and of the super-network: the one look at the test rows."""
    wanted = {member.index for member in result.front} | {0}
    return replace(
        result,
        evaluations=tuple(
            replace(e, test_error=evaluator.evaluate(e.sub_network).error) if e.index in wanted else e
            for e in result.evaluations
        ),
    )
