"""Made-up results of stages, for what is read off them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.evaluation.latency_table import BlockTimes, LatencyKind, LatencyTable, LayerTimes
from compressor.extraction.record import Variant
from conftest import DIMENSIONS
from exporters.benchmark_record import Benchmark, TimedModel
from exporters.export_record import Export, JudgedForm, VerifiedForm
from exporters.options import BenchmarkOptions
from exporters.timing.latency import Environment, Latency, Noise


def sample_latency(model: str, batch_size: int = 1, length: Any = 8, **more: Any) -> Latency:
    """A latency of 2 ms, half of the base's."""
    values: dict[str, Any] = {"p50_ms": 2.0, "p90_ms": 3.0, "p99_ms": 4.0, "mean_ms": 2.0, "rows_per_second": 500.0}
    values |= {"runs": 5, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6}
    return Latency(**values | {"model": model, "batch_size": batch_size, "length": length} | more)


def sample_table(kind: LatencyKind, rest_ms: float = 0.5) -> LatencyTable:
    """A table of the tiny BERT in which blocks of a layer take 1 and 2 ms at most, and a quarter of it in the last."""
    heads, units = (1, DIMENSIONS.num_heads), (1, DIMENSIONS.num_units)
    return LatencyTable(
        kind=kind,
        model_type="bert",
        dimensions=DIMENSIONS,
        rest_ms=rest_ms,
        layer=LayerTimes(
            attention=BlockTimes(members=heads, ms=(0.25, 1.0)),
            feed_forward=BlockTimes(members=units, ms=(0.125, 2.0)),
        ),
        last_layer=LayerTimes(
            attention=BlockTimes(members=heads, ms=(0.0625, 0.25)),
            feed_forward=BlockTimes(members=units, ms=(0.03125, 0.5)),
        ),
    )


def sample_model(path: Path, precision: Any = "fp32", **more: Any) -> TimedModel:
    """A graph of 4 MB with error 0.3."""
    values: dict[str, Any] = {
        "error": 0.3,
        "error_interval": (0.2, 0.4),
        "mb": 4.0,
        "load_seconds": 0.1,
        "peak_mb": 100,
    }
    return TimedModel(**values | {"path": path, "runtime": "onnxruntime", "precision": precision} | more)


def sample_benchmark(
    models: Mapping[str, TimedModel], latencies: Sequence[Latency], *, cpu: str = "a CPU", noise: Noise | None = None
) -> Benchmark:
    """A benchmark on one thread at 8 tokens."""
    return Benchmark(
        environment=Environment(
            cpu=cpu, cpu_flags=("avx2",), threads=1, python="3.11", torch="2.13.0", onnxruntime="1.32.0"
        ),
        options=BenchmarkOptions(batch_sizes=(1,), lengths=(8,), runs=5),
        models=dict(models),
        noise=noise,
        latencies=tuple(latencies),
    )


def sample_export(directory: Path, model: Path | None, params: int = 500) -> Export:
    """An export of fp32 with error 0.35 and of int8 with error 0.36, whose graphs are empty files."""
    directory.mkdir(parents=True)
    files = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    for file in files.values():
        (directory / file).touch()
    return Export(
        directory=directory,
        model=model,
        task="custom",
        portable=False,
        params=params,
        lengths=(4, 9),
        fp32=VerifiedForm(file=files["fp32"], mb=4, error=0.35, error_interval=(0.3, 0.4), parity={"real rows": 3e-6}),
        smaller={
            "int8": JudgedForm(
                file=files["int8"],
                mb=1,
                error=0.36,
                error_interval=(0.3, 0.4),
                loss=0.01,
                loss_at_most=0.015,
                confidence=0.95,
                max_loss=0.02,
                accepted=True,
                label_agreement=0.99,
                difference=0.1,
                int8_embeddings=True,
            )
        },
    )


def sample_variant(error: float, params: int) -> Variant:
    share = params / 1_000_000
    return Variant(
        error=error,
        error_interval=(error, error),
        test_error=error + 0.01,
        test_error_interval=(error, error + 0.02),
        params=params,
        relative_params=share,
        encoder_params=params,
        relative_encoder_params=share,
    )
