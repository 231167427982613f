"""The stages behind the commands: each reads files, works with the library, writes files, then logs what it made.

A stage can be run alone: between stages only directories travel. `compress` runs all of them in one process.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data import DataSource, TaskData, load_task_data
from compressor.errors import ParityError, SearchError
from compressor.files import append_json_line, new_directory, write_json
from compressor.settings import TrainingSettings
from compressor.sub_network import SubNetwork
from mlproject.settings import BenchmarkOptions, ModelOptions, SearchOptions
from mlproject.sources import (
    ONNX_FILE,
    find_onnx,
    find_super_network,
    open_model,
    open_super_network,
    read_search_results,
    require_same_weights,
    weights_digest,
)
from mlproject.tables import markdown_table, print_table
from mlproject.tracking import StageRun
from mlproject.views import pareto_view

JOURNAL_FILE = "evaluations.jsonl"
_MAX_ROWS = 30
"""Of a table in a description, which MLflow cuts at 8,000 characters."""

if TYPE_CHECKING:
    import numpy as np

    from compressor.evaluation import Evaluator
    from compressor.search import SearchResult


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
        run.log_metrics({f"train/{name}": value for name, value in metrics.items()}, report.epoch)
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


def search(
    output_dir: Path, supernet: Path, data_options: Mapping[str, Any], options: SearchOptions, run: StageRun
) -> Path:
    """Searches the sub-networks of a super-network; writes `search_results.json` and the pictures into `output_dir`.

    `data_options` are the fields of `DataSource` that differ from what the super-network was trained on. Each
    evaluation is in `evaluations.jsonl` before it is logged.
    """
    import time

    import numpy as np

    from compressor.batches import encode
    from compressor.costs import create_cost_model
    from compressor.evaluation import Evaluator
    from compressor.families import get_dimensions, max_positions
    from compressor.latency import measure_latency_ms
    from compressor.metrics import predict
    from compressor.models import pick_device
    from compressor.search import EvaluatedSubNetwork, run_search
    from compressor.search_spaces import create_search_space
    from mlproject.search_report import (
        architecture,
        child_metrics,
        front_table,
        mark_front_member,
        write_search_results,
    )

    super_network, source, data = open_super_network(supernet, data_options)
    run.log_params(option_params(source, options) | {"supernet": str(super_network.path)})
    _log_data(run, data, source)
    model = super_network.model.to(pick_device())
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
    predictions: dict[str, Any] = {}
    length = int(np.median(validation.lengths))

    def on_evaluation(evaluation: EvaluatedSubNetwork, hypervolume: float) -> None:
        append_json_line(output_dir / JOURNAL_FILE, evaluation.to_json())
        children[evaluation.index] = run.log_child(
            evaluation.name, metrics=child_metrics(evaluation, hypervolume), params=architecture(evaluation), tags=tags
        )

    def evaluate(sub_network: SubNetwork) -> float:
        evaluation = evaluator.evaluate(sub_network)
        predictions[sub_network.hash] = predict(evaluation.logits, data.task.regression)
        return evaluation.error

    def measure(sub_network: SubNetwork) -> dict[str, float]:
        measured: dict[str, float] = {}
        if "macs" in options.objectives:
            measured["macs"] = cost_model.macs(sub_network, length)
        if "latency_ms" in options.objectives:
            measured["latency_ms"] = measure_latency_ms(model, sub_network, length)
        return measured

    started = time.perf_counter()
    result = run_search(
        space,
        cost_model,
        evaluate,
        objectives=options.objectives,
        measure=measure,
        method=options.search_strategy,
        num_samples=options.num_samples,
        seed=options.seed,
        on_evaluation=on_evaluation,
    )
    seconds = time.perf_counter() - started
    test = encode(data.test, data.task, super_network.tokenizer, max_positions(model))
    result = _add_test_errors(result, Evaluator(model, data.task, test, options.per_device_eval_batch_size))
    result = _add_intervals(result, data.task.metric, predictions, validation.labels)
    write_search_results(
        output_dir,
        result,
        origin={
            "supernet": str(super_network.path),
            "supernet_from_here": os.path.relpath(super_network.path, output_dir),
            "supernet_digest": weights_digest(super_network.path),
            "source": source.to_json(),
            "data_digest": data.digest,
            "options": asdict(options),
            "measured_at": {"length": length, "batch_size": 1, "threads": 1},
        },
        dimensions=space.dimensions,
        title=f"{source.task_name}: {len(result.evaluations)} sub-networks, {options.search_space} space",
        seconds=seconds,
    )
    run.log_series("search/hypervolume", result.hypervolumes)
    run.log_metrics({"hypervolume": result.hypervolumes[-1], "num_evaluations": len(result.evaluations)})
    for member in result.front:
        mark_front_member(run, children[member.index].result(), member)
    run.log_artifact(output_dir)
    header, rows = front_table(result.front, result.evaluations[0])
    print_table(f"Pareto front of {len(result.evaluations)} sub-networks", header, rows)
    run.describe(
        f"Hypervolume of {', '.join(options.objectives)}, up to 1: **{result.hypervolumes[-1]:.4f}**\n\n"
        + markdown_table(header, rows[:_MAX_ROWS])
        + ("\n\nAll of them: pareto_front.csv" if len(rows) > _MAX_ROWS else "")
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
    super_network, source, data = open_super_network(find_super_network(results, search_dir), results["source"])
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
        require_error(chosen["error"], loaded_evaluation.error, loaded_evaluation.logits)
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
    _warn_of_poor_choice(results["evaluations"][0], chosen)
    return output_dir


def export(output_dir: Path, model_dir: Path, run: StageRun, name: str = "onnx") -> Path:
    """Exports a sliced model or a super-network to `model.onnx`, proven equal on many shapes and validation rows.

    `name` is the prefix of its metrics and the folder of its artifacts in MLflow.
    """
    from compressor.batches import encode, evaluation_batches
    from compressor.evaluation import Evaluator
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
    run.log_metrics(
        {f"{name}/parity": max(differences.values()), f"{name}/error": error, f"{name}/mb": report["onnx_mb"]}
    )
    run.log_artifact(output_dir, name)
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


def require_error(expected: float, error: float, logits: "np.ndarray") -> None:
    """Nothing, if two forms of one sub-network have the same task error (law 4).

    Rows whose two best classes, or regression values, lie closer than parity's rounding may fall either way.

    Raises:
        ParityError: the errors differ by more than that.
    """
    import numpy as np

    ordered = np.sort(logits, axis=1) if logits.shape[1] > 1 else np.sort(logits, axis=0).T
    rounding = 2e-4 * max(float(np.abs(logits).max()), 1e-6)
    ties = np.count_nonzero(np.diff(ordered, axis=1)[:, -1 if logits.shape[1] > 1 else slice(None)] < rounding)
    if not abs(expected - error) <= 1e-6 + 2 * ties / len(logits):
        raise ParityError(
            f"the error on the {len(logits)} validation rows must be the {expected:.6f} that was measured before, but "
            f"is {error:.6f}."
        )


def _warn_of_poor_choice(full: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Prints a note where the chosen sub-network costs much accuracy, so that nobody ships it unawares."""
    increase = chosen["error"] - full["error"]
    if not chosen["num_layers"]:
        print("Note: it keeps no layer at all, so it reads words without their context.")
    if increase > 0.05:
        print(
            f"Note: its error is {increase:.3f} above the super-network's ({chosen['error']:.4f} against "
            f"{full['error']:.4f}). Another member of the front: compressor extract --index I (the table above)."
        )


def option_params(*options: Any) -> dict[str, Any]:
    """The fields of some option classes as MLflow parameters; what is not set is left out."""
    values = {field.name: getattr(option, field.name) for option in options for field in fields(option)}
    return {name: value for name, value in values.items() if value not in (None, ())}


def _log_data(run: StageRun, data: TaskData, source: DataSource) -> None:
    import pandas as pd

    columns = [*data.task.text_columns, *data.task.choice_columns]
    for name, rows in data.parts.items():
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


def _add_intervals(
    result: "SearchResult", metric: str, predictions: Mapping[str, "np.ndarray"], labels: "np.ndarray"
) -> "SearchResult":
    """The result with 95 % intervals of the front members' and the super-network's validation errors."""
    from compressor.metrics import error_interval

    wanted = {member.index for member in result.front} | {0}
    return replace(
        result,
        evaluations=tuple(
            replace(e, error_interval=error_interval(metric, predictions[e.sub_network.hash], labels))
            if e.index in wanted
            else e
            for e in result.evaluations
        ),
    )
