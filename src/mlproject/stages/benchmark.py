"""The stage `benchmark`: exported models and model directories timed side by side, logged and shown."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from compressor.drawing.files import save_figure
from compressor.drawing.terminal import print_table
from compressor.files import seen_from
from compressor.markdown import markdown_text
from exporters.benchmark import benchmark_models
from exporters.benchmark_record import CSV_FILE, LATENCY_FILE, Benchmark
from exporters.figures import error_chart
from exporters.options import BenchmarkOptions
from exporters.timing.latency import Noise
from mlproject.tracking.logged_models import hash_model, log_latencies, use_models
from mlproject.tracking.tracker import StageRun
from mlproject.tracking.views import latency_view

PNG_FILE = "latency.png"


def benchmark(
    output_dir: Path, models: Sequence[tuple[str, Path]], options: BenchmarkOptions, run: StageRun
) -> Benchmark:
    """Time models by role, the first being the base; log and show what was measured."""
    run.log_params(asdict(options) | {"models": ", ".join(str(path) for _, path in models)})
    made = benchmark_models(models, options)
    made.save(output_dir)
    save_figure(error_chart(made), output_dir / PNG_FILE)
    run.log_metrics(
        {
            f"latency/{row.model}_{row.shape_key}_{key}": value
            for row in made.latencies
            for key, value in (("p50_ms", row.p50_ms), ("p90_ms", row.p90_ms), ("p99_ms", row.p99_ms))
        }
    )
    if made.noise is not None:
        run.log_metrics(_noise_metrics(made.noise))
        run.set_tags({"noisy": str(made.noise.noisy > 0).lower()})
    for file_name in (LATENCY_FILE, CSV_FILE, PNG_FILE):
        run.log_artifact(output_dir / file_name)
    _log_models(made, output_dir, run)
    _show(made)
    return made


def _noise_metrics(noise: Noise) -> dict[str, float]:
    values = {
        "noisy_rows": noise.noisy,
        "waited": noise.waited,
        "block_spread": noise.block_spread,
        "switches_per_second": noise.switches_per_second,
        "load_average": noise.load_average[1][0] if noise.load_average[1] else None,
    }
    return {f"noise/{name}": float(value) for name, value in values.items() if value is not None}


def _log_models(benchmark: Benchmark, output_dir: Path, run: StageRun) -> None:
    """Log a run for each model, which MLflow can plot, and the view "Latency" of them."""
    batch_size, length = benchmark.first_shape
    for name, row in benchmark.at(benchmark.first_shape).items():
        model = benchmark.models[name]
        child = run.open_child(
            name,
            params={"batch_size": batch_size, "length": length, "path": seen_from(output_dir, model.path)},
            tags={
                "stage": "benchmark-model",
                "compressor.benchmark_run_id": run.run_id,
                "runtime": model.runtime,
                "precision": model.precision,
                "noisy": str(row.noisy).lower(),
            },
        )
        # Under the names that the view Latency asks for.
        child.log_metrics({"mb": model.mb} | ({} if model.error is None else {"error": model.error}))
        log_latencies(child, benchmark, name)
        child.end()
    use_models(run, [hash_model(model.path) for model in benchmark.models.values()])
    run.tracker.links["Latencies in MLflow"] = run.save_view("Latency", latency_view(run.run_id))
    run.describe(
        f"Median latency with batch {batch_size} and {length} tokens, threads: "
        f"{benchmark.environment.threads}, {markdown_text(benchmark.environment.cpu)}.\n\n"
        + (f"Note: {note}\n\n" if (note := benchmark.noise_note()) else "")
        + f"![Latency]({run.picture(PNG_FILE)})"
    )


def _show(benchmark: Benchmark) -> None:
    timed = [length for _, length in benchmark.shapes if isinstance(length, int)]
    if set(timed) != set(benchmark.options.lengths):
        lengths = ", ".join(str(length) for length in dict.fromkeys(timed))
        print(f"The models take at most {max(timed)} tokens: timed at {lengths}.")
    title = f"Latency on {benchmark.options.threads} thread(s), {benchmark.environment.cpu}"
    print_table(title, *benchmark.latency_table(), spare=["p99 ms", "rows/s", "p90 ms"])
    if note := benchmark.noise_note():
        print(f"Note: {note}")
    print_table("Models", *benchmark.model_table(), spare=["load s", "peak MB", "runtime"])
