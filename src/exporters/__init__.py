"""What leaves the project: ONNX models verified against PyTorch or judged by their error, and latencies side by side.

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporters.benchmark import benchmark_models as benchmark_models
    from exporters.benchmark_record import Benchmark as Benchmark
    from exporters.export import export_model as export_model
    from exporters.export_record import Export as Export
    from exporters.options import BenchmarkOptions as BenchmarkOptions
    from exporters.options import ExportOptions as ExportOptions
    from exporters.timing.latency_table import measure_latency_table as measure_latency_table

_PUBLIC = {
    "export_model": "export",
    "benchmark_models": "benchmark",
    "Export": "export_record",
    "Benchmark": "benchmark_record",
    "ExportOptions": "options",
    "measure_latency_table": "timing.latency_table",
    "BenchmarkOptions": "options",
}
"""Of each public name: its module."""
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'exporters' has no attribute {name!r}")
    return getattr(import_module(f"exporters.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
