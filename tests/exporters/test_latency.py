"""The order of a measurement and its arithmetic, with a clock that does not tick by itself."""

from dataclasses import replace

import numpy as np
import pytest

from compressor.latency import time_alternating
from exporters.latency import describe_environment, measure_latencies, summarise
from exporters.runners import Inputs, Runner, make_inputs


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
    seconds = [0.001 * tick for tick in range(1, 12)]
    latency = summarise("pruned", 8, 128, seconds, [2 * value for value in seconds])
    assert latency.p50_ms == pytest.approx(6.0)
    assert latency.p90_ms == pytest.approx(10.0)
    assert latency.mean_ms == pytest.approx(6.0)
    assert latency.p99_ms == pytest.approx(10.9)
    assert latency.rows_per_second == pytest.approx(8 / 0.006)
    assert (latency.ratio, latency.ratio_low, latency.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert (latency.batch_size, latency.length, latency.runs) == (8, 128, 11)


def test_environment_names_what_counts() -> None:
    environment = describe_environment(2)
    assert environment["threads"] == 2
    assert {"cpu", "cpu_flags", "python", "torch", "onnxruntime"} <= environment.keys()


def test_the_ratio_s_interval_holds_what_noise_does_to_it() -> None:
    rng = np.random.default_rng(0)
    base, other = 0.01 + 0.001 * rng.random(200), 0.005 + 0.001 * rng.random(200)
    latency = summarise("pruned", 1, 32, list(other), list(base))
    assert latency.ratio_low < latency.ratio < latency.ratio_high
    assert latency.ratio == pytest.approx(0.0055 / 0.0105, rel=0.05)
    assert latency.ratio_high - latency.ratio_low < 0.05


def _runner(calls: list[Inputs]) -> Runner:
    names = ("input_ids", "attention_mask")
    return Runner(run=calls.append, input_names=names, picks_choices=False, vocab_size=50, max_positions=20)


def test_real_lengths_are_drawn_alike_for_all_models_and_padded_to_the_batch() -> None:
    seen: dict[str, list[Inputs]] = {"a": [], "b": []}
    runners = {name: _runner(calls) for name, calls in seen.items()}
    latencies = measure_latencies(runners, [2], [7], real_lengths=[3, 5, 9, 40], runs=6, warm_up=1)
    assert [(latency.model, latency.length, latency.runs) for latency in latencies] == [
        ("a", 7, 6),
        ("b", 7, 6),
        ("a", "real", 6),
        ("b", "real", 6),
    ]
    for first, second in zip(seen["a"], seen["b"], strict=True):
        assert np.array_equal(first["input_ids"], second["input_ids"])
    real = [inputs["attention_mask"] for inputs in seen["a"][7:]]
    assert len({mask.shape for mask in real}) > 1
    for mask in real:
        assert mask.sum(axis=1).max() == mask.shape[1] <= 20
        assert set(mask.sum(axis=1)) <= {3, 5, 9, 20}


def test_inputs_of_choices() -> None:
    calls: list[Inputs] = []
    runner = replace(_runner(calls), picks_choices=True)
    assert make_inputs(runner, [3, 5], num_choices=4)["input_ids"].shape == (2, 4, 5)
