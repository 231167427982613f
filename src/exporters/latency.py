"""Honest latency: several models side by side in one run, alternating, inputs prepared outside of the clock."""

import itertools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.latency import time_alternating
from exporters.runners import Inputs, Runner, make_inputs

REAL = "real"
"""In place of a length: texts as long as the validation rows, padded to the longest of their batch."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of one model on one kind of batch."""

    model: str
    batch_size: int
    length: int | str
    """Tokens per text, or `REAL`."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    rows_per_second: float
    runs: int
    ratio: float = 1.0
    """p50 over that of the first model."""
    ratio_low: float = 1.0
    ratio_high: float = 1.0
    """The ratio's 95 % interval, by resampling rounds."""


def measure_latencies(
    runners: Mapping[str, Runner],
    batch_sizes: Sequence[int],
    lengths: Sequence[int],
    *,
    real_lengths: Sequence[int] = (),
    threads: int = 1,
    runs: int = 30,
    warm_up: int = 3,
) -> list[Latency]:
    """The latencies of all models, which take turns within each round; `threads` are PyTorch's, others have theirs.

    Every batch size is timed at every length and, where given, at random draws of `real_lengths`.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results: list[Latency] = []
        for batch_size in batch_sizes:
            kinds: list[int | str] = [*lengths, *([REAL] if real_lengths else [])]
            for length in kinds:
                batches = _batches(batch_size, length, real_lengths, runs + warm_up)
                calls = {name: _call(runner, batches) for name, runner in runners.items()}
                times = time_alternating(calls, runs=runs, warm_up=warm_up)
                base = next(iter(times.values()))
                results += [summarise(name, batch_size, length, seconds, base) for name, seconds in times.items()]
        return results
    finally:
        torch.set_num_threads(before)


def summarise(
    model: str, batch_size: int, length: int | str, seconds: Sequence[float], base: Sequence[float]
) -> Latency:
    """The figures of one model's times and their ratio to the base's of the same rounds; percentiles interpolate."""
    times_ms, base_ms = 1e3 * np.asarray(seconds), 1e3 * np.asarray(base)
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99))
    rounds = np.random.default_rng(0).integers(len(times_ms), size=(1000, len(times_ms)))
    ratios = np.median(times_ms[rounds], axis=1) / np.median(base_ms[rounds], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Latency(
        model=model,
        batch_size=batch_size,
        length=length,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=float(times_ms.mean()),
        rows_per_second=float(batch_size / (times_ms.mean() / 1e3)),
        runs=len(times_ms),
        ratio=float(p50 / np.median(base_ms)),
        ratio_low=float(low),
        ratio_high=float(high),
    )


def describe_environment(threads: int) -> dict[str, Any]:
    """What the figures were measured on: processor, its vector flags, threads and versions."""
    import onnxruntime
    import torch

    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    return {
        "cpu": _cpu_fields().get("model name", platform.processor()),
        "cpu_flags": [flag for flag in wanted if flag in cpu_flags()],
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def cpu_flags() -> list[str]:
    """The instruction sets of this CPU, where the system tells."""
    return _cpu_fields().get("flags", "").split()


def _cpu_fields() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return {}
    lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines.items()}


def _batches(batch_size: int, length: int | str, real_lengths: Sequence[int], count: int) -> list[list[int]]:
    """The lengths of the texts of each round's batch; one batch where all rounds are alike."""
    if isinstance(length, int):
        return [[length] * batch_size]
    draws = np.random.default_rng(0).choice(np.asarray(real_lengths), size=(count, batch_size))
    return [[int(value) for value in draw] for draw in draws]


def _call(runner: Runner, batches: Sequence[Sequence[int]]) -> Callable[[], object]:
    """A call that runs the next batch, all of which are prepared here."""
    prepared: list[Inputs] = [make_inputs(runner, lengths) for lengths in batches]
    turns = itertools.cycle(prepared)
    return lambda: runner.run(next(turns))
