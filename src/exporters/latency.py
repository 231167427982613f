"""Honest latency: several ONNX models side by side in one run, alternating, inputs prepared outside of the clock."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.latency import time_alternating
from exporters.sessions import create_session, run_session


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of one model on one input shape."""

    model: str
    batch_size: int
    length: int
    """Tokens per text."""
    p50_ms: float
    p90_ms: float
    mean_ms: float
    rows_per_second: float
    runs: int


def measure_latencies(
    models: Mapping[str, Path],
    batch_sizes: Sequence[int],
    lengths: Sequence[int],
    *,
    threads: int = 1,
    runs: int = 30,
    warm_up: int = 3,
) -> list[Latency]:
    """The latencies of all models at every batch size and length, models alternating within each round."""
    sessions = {name: create_session(path, threads) for name, path in models.items()}
    results = []
    for batch_size in batch_sizes:
        for length in lengths:
            calls = {
                name: _call(session, random_inputs(session, batch_size, length)) for name, session in sessions.items()
            }
            times = time_alternating(calls, runs=runs, warm_up=warm_up)
            results += [summarise(name, batch_size, length, seconds) for name, seconds in times.items()]
    return results


def longest_input(path: Path) -> int:
    """The longest text in tokens that an exported model takes."""
    metadata = create_session(path, threads=1).get_modelmeta().custom_metadata_map
    return int(metadata.get("max_positions", 1_000_000))


def random_inputs(session: Any, batch_size: int, length: int, num_choices: int = 4) -> dict[str, np.ndarray]:
    """Unpadded inputs for an exported model: random tokens of its vocabulary, [batch, (choices,) length]."""
    metadata = session.get_modelmeta().custom_metadata_map
    entries = session.get_inputs()
    shape = (batch_size, num_choices, length) if len(entries[0].shape) == 3 else (batch_size, length)
    values = {
        "input_ids": np.random.default_rng(0).integers(5, int(metadata.get("vocab_size", 1000)), shape),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
        "attention_mask": np.ones(shape, dtype=np.int64),
    }
    return {entry.name: values[entry.name] for entry in entries}


def summarise(model: str, batch_size: int, length: int, seconds: Sequence[float]) -> Latency:
    """The latency figures of one model's times; percentiles interpolate linearly."""
    times_ms = 1e3 * np.asarray(seconds)
    p50, p90 = np.percentile(times_ms, (50, 90))
    return Latency(
        model=model,
        batch_size=batch_size,
        length=length,
        p50_ms=float(p50),
        p90_ms=float(p90),
        mean_ms=float(times_ms.mean()),
        rows_per_second=float(batch_size / (times_ms.mean() / 1e3)),
        runs=len(times_ms),
    )


def describe_environment(threads: int) -> dict[str, Any]:
    """What the figures were measured on: processor, its vector flags, threads and versions."""
    import onnxruntime
    import torch

    name, flags = platform.processor(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    return {
        "cpu": name,
        "cpu_flags": [flag for flag in wanted if flag in flags.split()],
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _call(session: Any, batch: Mapping[str, np.ndarray]) -> Callable[[], object]:
    return lambda: run_session(session, dict(batch))
