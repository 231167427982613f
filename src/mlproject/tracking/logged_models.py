"""Models as MLflow's table of models shows them: one for each model and form, with what was measured of it.

A row is a model in PyTorch, or a form that it was exported in; its columns are errors with the rows that they were
measured on, sizes, and latencies. What is measured later, by other commands, finds the row by a hash of what the model
computes with.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.digests import digest_weights
from compressor.extraction.record import EXTRACTION_FILE, ExtractionReport
from compressor.files import file_sha256
from compressor.network.saving import file_size_mb
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export, VerifiedForm
from exporters.graph.sessions import files_of
from exporters.options import FORMS, find_form
from mlproject.tracking.delivery import now_ms
from mlproject.tracking.events import Judged, MeasureModel, UseModels
from mlproject.tracking.tracker import StageRun

SUB_NETWORK, SUPER_NETWORK, OTHER = "sub-network", "super-network", "model"
"""Types of models."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """What is logged of a model and of each form that it is exported in."""

    name: str
    model_type: str
    task: str
    params: Mapping[str, str]
    tested: tuple[Judged, ...] = ()
    """Its error on the test rows, which forms share that compute the same."""

    def described(self, form: str, runtime: str, precision: str) -> dict[str, Any]:
        """Return the fields of an event that logs a form of it."""
        return {
            "name": model_name(f"{self.name}-{form}"),
            "model_type": self.model_type,
            "params": {**self.params, "runtime": runtime, "precision": precision},
            "tags": {"task": self.task, "runtime": runtime, "precision": precision, "model": self.name},
        }


def know_super_network(task: str, params: int) -> KnownModel:
    """Return what is logged of a super-network with so many parameters."""
    return KnownModel(name=SUPER_NETWORK, model_type=SUPER_NETWORK, task=task, params={"params": str(params)})


def know_sub_network(report: ExtractionReport, data: TaskData, name: str | None = None) -> KnownModel:
    """Return what is logged of an extracted model, under its own name or another."""
    kept, extracted = report.kept, report.extracted
    # A layer counts where anything of it is left.
    layers = sum(1 for heads, units in zip(kept.heads, kept.units, strict=True) if heads or units)
    counts = {"num_layers": layers, "num_heads": sum(kept.heads), "num_units": sum(kept.units)}
    return KnownModel(
        name=name or report.name,
        model_type=SUB_NETWORK,
        task=data.source.task_name,
        params={
            "params": str(extracted.params),
            "sub_network": report.name,
            **{key: str(value) for key, value in counts.items()},
            "of_encoder": f"{extracted.relative_encoder_params:.3f}",
        },
        tested=judge("test_error", extracted.test_error, extracted.test_error_interval, data, "test"),
    )


def know_directory(directory: Path, data: TaskData, params: int, name: str | None = None) -> KnownModel:
    """Return what is logged of a model directory: of an extracted model what its report says, else a super-network."""
    if (directory / EXTRACTION_FILE).is_file():
        return know_sub_network(ExtractionReport.load(directory), data, name)
    return know_super_network(data.source.task_name, params)


def rows_name(source: DataSource, part: str) -> str:
    """Return what MLflow calls a part of the rows."""
    return f"{source.task_name}-{part}"


def judge(name: str, error: float, interval: Sequence[float], data: TaskData, part: str) -> tuple[Judged, ...]:
    """Return an error on a part of the rows, and the ends of its 95 % interval, as metrics with their rows."""
    rows = (rows_name(data.source, part), data.parts[part].digest)
    low, high = (round(end, 4) for end in interval)  # the table shows all digits
    return (name, error, *rows), (f"{name}_low", low, *rows), (f"{name}_high", high, *rows)


def model_name(name: str) -> str:
    """Return a name as MLflow takes one of a logged model."""
    return re.sub(r"[/:.%\"']", "-", name)


def hash_model(path: Path) -> str:
    """Return a hash of what a model computes with: a graph, or the weights of a directory."""
    return digest_weights(path) if path.is_dir() else hash_files(files_of(path))


def hash_files(paths: Iterable[Path]) -> str:
    """Return a content hash of some files."""
    return hashlib.sha256(" ".join(map(file_sha256, paths)).encode()).hexdigest()[:16]


def log_model_in_pytorch(
    run: StageRun,
    directory: Path,
    known: KnownModel,
    judged: Sequence[Judged],
    metrics: Mapping[str, float],
    step: int = 0,
) -> None:
    """Log a model directory with what was measured of it, and the size of its weights."""
    mb = sum(map(file_size_mb, directory.glob("*.safetensors")))
    run.tracker.add(
        MeasureModel(
            run=run.name,
            computes_with=hash_model(directory),
            metrics={"mb": round(mb, 3), **metrics},
            judged=(*judged, *known.tested),
            step=step,
            now_ms=now_ms(),
            **known.described("pytorch", "pytorch", "fp32"),
        )
    )


def log_forms(run: StageRun, export: Export, known: KnownModel, data: TaskData, num_before: int = 0) -> None:
    """Log the accepted forms of an export with their errors and sizes, the one to serve last.

    The run gets them at steps of their own, after those of `num_before` forms of other models.
    """
    # False sorts before True: the form to serve comes last.
    ordered = sorted(export.accepted, key=lambda form: form == export.best)
    for step, name in enumerate(ordered, start=num_before + 1):
        form = export.forms[name]
        judged = judge("error", form.error, form.error_interval, data, "validation")
        metrics = {"mb": round(form.mb, 3), "params": export.params}
        run.tracker.add(
            MeasureModel(
                run=run.name,
                computes_with=hash_model(export.path(name)),
                metrics=metrics,
                # Only those that compute as PyTorch does have its test error; the others were judged on validation rows
                # alone.
                judged=(*judged, *(known.tested if isinstance(form, VerifiedForm) else ())),
                step=step,
                now_ms=now_ms(),
                **known.described(name, *FORMS[name]),
            )
        )


def log_latencies(run: StageRun, benchmark: Benchmark, name: str) -> None:
    """Log the latencies of a timed model: of the first kind of batch under plain names, of all by their shape."""
    model, first = benchmark.models[name], benchmark.at(benchmark.first_shape)[name]
    metrics = {"latency_ms_p50": first.p50_ms, "latency_ms_p99": first.p99_ms, "peak_mb": model.peak_mb}
    for row in benchmark.of_model(name):
        metrics |= {f"p50_ms_{row.shape_key}": row.p50_ms, f"p99_ms_{row.shape_key}": row.p99_ms}
    form = "pytorch" if model.runtime == "pytorch" else find_form(model.runtime, model.precision) or "other"
    known = KnownModel(name=benchmark.role_of(name), model_type=OTHER, task="", params={})
    run.tracker.add(
        MeasureModel(
            run=run.name,
            computes_with=hash_model(model.path),
            metrics={metric: round(value, 3) for metric, value in metrics.items()},
            if_made={"mb": round(model.mb, 3)} | ({} if model.error is None else {"error": model.error}),
            own=False,
            now_ms=now_ms(),
            **known.described(form, model.runtime, model.precision),
        )
    )


def use_models(run: StageRun, hashes: Iterable[str], model_ids: Iterable[str] = ()) -> None:
    """Log that a run has used the models with these hashes, or ids."""
    used, known = tuple(dict.fromkeys(hashes)), tuple(dict.fromkeys(model_ids))
    if used or known:
        run.tracker.add(UseModels(run=run.name, computes_with=used, model_ids=known))
