"""The stage `benchmark`: exported models and model directories timed side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.files import new_directory, seen_from, write_json
from compressor.markdown import markdown_text
from exporters.options import BenchmarkOptions
from mlproject.plots import write_latency_png
from mlproject.sources import TimedModel, find_timed_models
from mlproject.tables import print_table
from mlproject.tracking.tracker import StageRun
from mlproject.tracking.views import latency_view
from mlproject.written import LATENCY_FILE

if TYPE_CHECKING:
    from exporters.timing.latency import Latency, Noise

CSV_FILE, PNG_FILE = "latency.csv", "latency.png"


def benchmark(
    output_dir: Path, models: Sequence[tuple[str, Path]], options: BenchmarkOptions, run: StageRun
) -> dict[str, Any]:
    """Times named models side by side, the first being the base; what `latency.json` says.

    An export directory stands for all its accepted precisions, a model directory for PyTorch (eager).
    """
    import pandas as pd

    from exporters.graph.sessions import require_provider
    from exporters.timing.footprint import measure_footprint
    from exporters.timing.latency import describe_environment, measure_latencies
    from exporters.timing.runners import open_runner

    found = [timed for name, path in models for timed in find_timed_models(name, path)]
    require_provider(options.provider, {timed.runtime for timed in found})
    paths = {timed.name: timed.path for timed in found}
    run.log_params(asdict(options) | {"models": ", ".join(map(str, paths.values()))})
    runners = {name: open_runner(path, options.threads, options.provider) for name, path in paths.items()}
    longest = min(runner.max_positions for runner in runners.values())
    lengths = tuple(sorted({min(length, longest) for length in options.lengths}))
    if lengths != tuple(sorted(options.lengths)):
        print(f"The models take at most {longest} tokens: timed at {', '.join(map(str, lengths))}.")
    real_lengths = next((timed.lengths for timed in found if timed.lengths), ())
    latencies, noise = measure_latencies(
        runners,
        options.batch_sizes,
        lengths,
        real_lengths=[min(length, longest) for length in real_lengths],
        threads=options.threads,
        runs=options.runs,
    )
    footprints = {name: measure_footprint(path, options.threads, options.provider) for name, path in paths.items()}
    environment = asdict(describe_environment(options.threads))
    report: dict[str, Any] = {
        "environment": environment,
        "options": asdict(options),
        "models": {
            timed.name: {
                "path": seen_from(output_dir, timed.path),
                "runtime": timed.runtime,
                "precision": timed.precision,
                "provider": runners[timed.name].provider,
                "error": timed.error,
                "error_interval": timed.error_interval,
                "mb": timed.mb,
                **asdict(footprints[timed.name]),
            }
            for timed in found
        },
        "noise": asdict(noise),
        "latencies": [asdict(latency) for latency in latencies],
    }
    with new_directory(output_dir) as temporary:
        write_json(temporary / LATENCY_FILE, report)
        pd.DataFrame(report["latencies"]).to_csv(temporary / CSV_FILE, index=False)
        write_latency_png(report, temporary / PNG_FILE)
    run.log_metrics(
        {
            f"latency/{latency.model}_b{latency.batch_size}_l{latency.length}_{key}": getattr(latency, key)
            for latency in latencies
            for key in ("p50_ms", "p90_ms", "p99_ms")
        }
        | _noise_metrics(noise)
    )
    run.set_tags({"noisy": str(noise.noisy > 0).lower()})
    for file_name in (LATENCY_FILE, CSV_FILE, PNG_FILE):
        run.log_artifact(output_dir / file_name)
    _log_models(report, run)
    _show(latencies, found, report, options)
    return report


def _noise_metrics(noise: "Noise") -> dict[str, float]:
    values = {
        "noisy_rows": noise.noisy,
        "waited": noise.waited,
        "block_spread": noise.block_spread,
        "switches_per_second": noise.switches_per_second,
        "load_average": noise.load_average[1][0] if noise.load_average[1] else None,
    }
    return {f"noise/{name}": float(value) for name, value in values.items() if value is not None}


def noise_note(report: Mapping[str, Any]) -> str | None:
    """What a reader must know of latencies that others on the machine disturbed; None where nothing did."""
    noise = report.get("noise")
    if noise is None or not noise["noisy"]:
        return None
    start, end = noise["load_average"]
    seen = [
        "" if noise["waited"] is None else f"this process waited for up to {noise['waited']:.0%} of its time",
        f"ratios differed by up to {noise['block_spread']:.0%} between blocks of rounds",
        f"it was put aside {noise['switches_per_second']:.0f} times a second",
        f"the load average went from {start[0]:.1f} to {end[0]:.1f}" if start and end else "",
    ]
    again = f" though timed {noise['passes']} times" if noise["passes"] > 1 else ""
    return (
        f"{noise['noisy']} of {len(report['latencies'])} rows are noisy{again}: {', '.join(filter(None, seen))}. Their "
        "milliseconds are those of a busy machine, their ratios known no closer than their intervals. Time them when "
        "nothing else runs."
    )


def _log_models(report: Mapping[str, Any], run: StageRun) -> None:
    """A run for each model, which MLflow can plot, and the view "Latency" of them."""
    base = report["latencies"][0]
    for name, model in report["models"].items():
        rows = [row for row in report["latencies"] if row["model"] == name]
        first = next(row for row in rows if (row["batch_size"], row["length"]) == (base["batch_size"], base["length"]))
        metrics = {"latency_ms_p50": first["p50_ms"], "latency_ms_p99": first["p99_ms"], "mb": model["mb"]}
        metrics |= {"peak_mb": model["peak_mb"]} | ({} if model["error"] is None else {"error": model["error"]})
        run.log_child(
            name,
            metrics=metrics,
            params={"batch_size": first["batch_size"], "length": first["length"], "path": model["path"]},
            tags={
                "stage": "benchmark-model",
                "compressor.benchmark_run_id": run.run_id,
                "runtime": model["runtime"],
                "precision": model["precision"],
                "noisy": str(first["noisy"]).lower(),
            },
        )
    link = run.save_view("Latency", latency_view(run.run_id))
    if link is not None:
        run.tracker.links["Latencies in MLflow"] = link
    run.describe(
        f"Median latency with batch {base['batch_size']} and {base['length']} tokens, threads: "
        f"{report['environment']['threads']}, {markdown_text(report['environment']['cpu'])}.\n\n"
        + (f"Note: {note}\n\n" if (note := noise_note(report)) else "")
        + f"![Latency]({run.picture(PNG_FILE)})"
    )


def _show(
    latencies: "Sequence[Latency]", found: Sequence[TimedModel], report: Mapping[str, Any], options: BenchmarkOptions
) -> None:
    base = found[0].name
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
        for row in sorted(latencies, key=lambda row: (row.batch_size, isinstance(row.length, str), row.length))
    ]
    header = ["model", "batch", "length", "p50 ms", "p90 ms", "p99 ms", "rows/s", f"of {base}'s p50 (95 %)"]
    title = f"Latency on {options.threads} thread(s), {report['environment']['cpu']}"
    print_table(title, header, rows, spare=["p99 ms", "rows/s", "p90 ms"])
    if note := noise_note(report):
        print(f"Note: {note}")
    header = ["model", "runtime", "precision", "error", "file MB", "load s", "peak MB"]
    print_table("What they are", header, model_rows(report), spare=["load s", "peak MB", "runtime"])


def model_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """What the timed models are: name, runtime, precision, error, file size, seconds to load and peak memory."""
    return [
        [
            name,
            model["runtime"],
            model["precision"],
            "" if model["error"] is None else f"{model['error']:.4f}",
            f"{model['mb']:.1f}",
            f"{model['load_seconds']:.2f}",
            f"{model['peak_mb']:.0f}",
        ]
        for name, model in report["models"].items()
    ]
