"""The order of a measurement and its arithmetic, with a clock that does not tick by itself."""

import pytest

from compressor.latency import time_alternating
from exporters.latency import describe_environment, summarise


class FakeClock:
    def __init__(self) -> None:
        self.now, self.readings = 0.0, 0

    def __call__(self) -> float:
        self.readings += 1
        return self.now


def test_warm_up_then_turns_and_the_clock_sees_the_call_alone() -> None:
    clock, calls = FakeClock(), []

    def call(name: str, seconds: float) -> None:
        calls.append((name, clock.readings))
        clock.now += seconds

    times = time_alternating(
        {"dense": lambda: call("dense", 0.25), "pruned": lambda: call("pruned", 0.125)}, runs=2, warm_up=2, clock=clock
    )
    assert times == {"dense": [0.25, 0.25], "pruned": [0.125, 0.125]}
    # four warm-up calls before the clock is read at all; then one reading before each call, one after
    assert calls[:4] == [("dense", 0), ("pruned", 0)] * 2
    assert calls[4:] == [("dense", 1), ("pruned", 3), ("dense", 5), ("pruned", 7)]
    assert clock.readings == 8


def test_arithmetic() -> None:
    latency = summarise("dense", 8, 128, [0.001 * tick for tick in range(1, 12)])
    assert latency.p50_ms == pytest.approx(6.0)
    assert latency.p90_ms == pytest.approx(10.0)
    assert latency.mean_ms == pytest.approx(6.0)
    assert latency.rows_per_second == pytest.approx(8 / 0.006)
    assert (latency.batch_size, latency.length, latency.runs) == (8, 128, 11)


def test_environment_names_what_counts() -> None:
    environment = describe_environment(2)
    assert environment["threads"] == 2
    assert {"cpu", "cpu_flags", "python", "torch", "onnxruntime"} <= environment.keys()
