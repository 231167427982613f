"""The stage `benchmark`: exported models and model directories timed side by side, logged and shown."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from compressor.files import seen_from
from compressor.markdown import markdown_text
from exporters.benchmark import benchmark_models
from exporters.benchmark_record import CSV_FILE, LATENCY_FILE, Benchmark
from exporters.figures import write_latency_png
from exporters.options import BenchmarkOptions
from exporters.timing.latency import Noise
from mlproject.tables import print_table
from mlproject.tracking.tracker import StageRun
from mlproject.tracking.views import latency_view

PNG_FILE = "latency.png"


def benchmark(
    output_dir: Path, models: Sequence[tuple[str, Path]], options: BenchmarkOptions, run: StageRun
) -> Benchmark:
    """Times models by role, the first being the base, logs and shows what was measured."""
    run.log_params(asdict(options) | {"models": ", ".join(str(path) for _, path in models)})
    made = benchmark_models(models, options)
    made.save(output_dir)
    write_latency_png(made, output_dir / PNG_FILE)
    run.log_metrics(
        {
            f"latency/{row.model}_b{row.batch_size}_l{row.length}_{key}": value
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


def noise_note(benchmark: Benchmark) -> str | None:
    """What a reader must know of latencies that others on the machine disturbed; None where nothing did."""
    noise = benchmark.noise
    if noise is None or not noise.noisy:
        return None
    start, end = noise.load_average
    seen = [
        "" if noise.waited is None else f"this process waited for up to {noise.waited:.0%} of its time",
        f"ratios differed by up to {noise.block_spread:.0%} between blocks of rounds",
        f"it was put aside {noise.switches_per_second:.0f} times a second",
        f"the load average went from {start[0]:.1f} to {end[0]:.1f}" if start and end else "",
    ]
    again = f" though timed {noise.passes} times" if noise.passes > 1 else ""
    return (
        f"{noise.noisy} of {len(benchmark.latencies)} rows are noisy{again}: {', '.join(filter(None, seen))}. Their "
        "milliseconds are those of a busy machine, their ratios known no closer than their intervals. Time them when "
        "nothing else runs."
    )


def _log_models(benchmark: Benchmark, output_dir: Path, run: StageRun) -> None:
    """A run for each model, which MLflow can plot, and the view "Latency" of them."""
    batch_size, length = benchmark.first_shape
    for name, row in benchmark.at(benchmark.first_shape).items():
        model = benchmark.models[name]
        metrics = {"latency_ms_p50": row.p50_ms, "latency_ms_p99": row.p99_ms, "mb": model.mb, "peak_mb": model.peak_mb}
        run.log_child(
            name,
            metrics=metrics | ({} if model.error is None else {"error": model.error}),
            params={"batch_size": batch_size, "length": length, "path": seen_from(output_dir, model.path)},
            tags={
                "stage": "benchmark-model",
                "compressor.benchmark_run_id": run.run_id,
                "runtime": model.runtime,
                "precision": model.precision,
                "noisy": str(row.noisy).lower(),
            },
        )
    link = run.save_view("Latency", latency_view(run.run_id))
    if link is not None:
        run.tracker.links["Latencies in MLflow"] = link
    run.describe(
        f"Median latency with batch {batch_size} and {length} tokens, threads: "
        f"{benchmark.environment.threads}, {markdown_text(benchmark.environment.cpu)}.\n\n"
        + (f"Note: {note}\n\n" if (note := noise_note(benchmark)) else "")
        + f"![Latency]({run.picture(PNG_FILE)})"
    )


def _show(benchmark: Benchmark) -> None:
    timed = [length for _, length in benchmark.shapes if isinstance(length, int)]
    if set(timed) != set(benchmark.options.lengths):
        lengths = ", ".join(str(length) for length in dict.fromkeys(timed))
        print(f"The models take at most {max(timed)} tokens: timed at {lengths}.")
    rows = [
        [
            row.model,
            f"{row.batch_size}",
            f"{row.length}",
            f"{row.p50_ms:.2f}",
            f"{row.p90_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.rows_per_second:.0f}",
            f"{row.ratio:.2f} ({row.ratio_low:.2f}–{row.ratio_high:.2f})" + (" noisy" if row.noisy else ""),
        ]
        for shape in benchmark.shapes
        for row in benchmark.at(shape).values()
    ]
    header = ["model", "batch", "length", "p50 ms", "p90 ms", "p99 ms", "rows/s", f"of {benchmark.base}'s p50 (95 %)"]
    title = f"Latency on {benchmark.options.threads} thread(s), {benchmark.environment.cpu}"
    print_table(title, header, rows, spare=["p99 ms", "rows/s", "p90 ms"])
    if note := noise_note(benchmark):
        print(f"Note: {note}")
    header = ["model", "runtime", "precision", "error", "file MB", "load s", "peak MB"]
    print_table("What they are", header, model_rows(benchmark), spare=["load s", "peak MB", "runtime"])


def model_rows(benchmark: Benchmark) -> list[list[str]]:
    """What the timed models are: name, runtime, precision, error, file size, seconds to load and peak memory."""
    return [
        [
            name,
            model.runtime,
            model.precision,
            "" if model.error is None else f"{model.error:.4f}",
            f"{model.mb:.1f}",
            f"{model.load_seconds:.2f}",
            f"{model.peak_mb:.0f}",
        ]
        for name, model in benchmark.models.items()
    ]
