"""The order of a measurement and its arithmetic, with a clock that does not tick by itself and a made-up scheduler."""

import platform
from dataclasses import replace
from functools import partial

import numpy as np
import onnxruntime
import pytest
import torch

from compressor.evaluation.latency import Block, Meters, Usage, read_usage, time_block, warm_up
from exporters.graph.cpu import cpu_flags, cpu_name
from exporters.timing.latency import Latency, Noise, describe_environment, measure_latencies, summarise
from exporters.timing.runners import Inputs, Runner


class FakeMachine:
    """A clock, a processor and a scheduler that do what the test says."""

    def __init__(self) -> None:
        self.now, self.cpu, self.switches, self.delay, self.readings = 0.0, 0.0, 0, 0.0, 0
        self.meters = Meters(clock=self.clock, cpu_clock=lambda: self.cpu, usage=self.usage)

    def clock(self) -> float:
        self.readings += 1
        return self.now

    def usage(self) -> Usage:
        return Usage(self.switches, self.delay)

    def work(self, seconds: float, waiting: float = 0.0) -> None:
        """Computes for so long, and waits for others in between."""
        self.now += seconds + waiting
        self.cpu += seconds
        self.delay += waiting
        self.switches += waiting > 0


def test_warm_up_then_turns_and_the_clock_sees_the_call_alone() -> None:
    machine, made = FakeMachine(), []

    def call(name: str, seconds: float) -> None:
        made.append((name, machine.readings))
        machine.work(seconds)

    calls = {"dense": lambda: call("dense", 0.25), "pruned": lambda: call("pruned", 0.125)}
    warm_up(calls, 2)
    block = time_block(calls, range(2), meters=machine.meters)
    assert block.seconds == block.cpu_seconds == {"dense": [0.25, 0.25], "pruned": [0.125, 0.125]}
    assert (block.waited, block.switches_per_second) == (0.0, 0.0)
    # four warm-up calls before the clock is read at all; then one reading before each call, one after
    assert made[:4] == [("dense", 0), ("pruned", 0)] * 2
    assert made[4:] == [("dense", 1), ("pruned", 3), ("pruned", 5), ("dense", 7)]  # none is always the first of a round
    assert machine.readings == 8


def test_what_was_waited() -> None:
    machine = FakeMachine()
    calls = {"dense": lambda: machine.work(0.25, 0.5), "pruned": lambda: machine.work(0.125)}
    block = time_block(calls, range(2), meters=machine.meters)
    assert block.seconds["dense"] == [0.75, 0.75]
    assert block.cpu_seconds["dense"] == [0.25, 0.25]
    assert block.waited == pytest.approx(1.0 / 1.75)  # 1 s of waiting in rounds of 0.875 s
    assert block.switches_per_second == pytest.approx(2 / 1.75)
    # on several threads a call may sleep on purpose, so the system's own count of waiting is asked
    block = time_block({"dense": lambda: machine.work(0.25, 0.5)}, range(1), one_thread=False, meters=machine.meters)
    assert block.waited == pytest.approx(0.5 / (0.5 + 0.25))
    silent = replace(machine.meters, usage=lambda: Usage(0, None))
    assert time_block(calls, range(1), one_thread=False, meters=silent).waited is None


def blocks_of(*rounds: tuple[float, float], size: int = 1, waited: float = 0.0) -> list[Block]:
    """Blocks of rounds of two models, `dense` and `pruned`."""
    return [
        Block(
            seconds={"dense": [d for d, _ in part], "pruned": [p for _, p in part]},
            cpu_seconds={"dense": [d for d, _ in part], "pruned": [p for _, p in part]},
            waited=waited,
            switches_per_second=0.0,
        )
        for part in (rounds[first : first + size] for first in range(0, len(rounds), size))
    ]


def test_arithmetic() -> None:
    seconds = [0.001 * tick for tick in range(1, 12)]
    latency = summarise("pruned", 8, 128, blocks_of(*((2 * value, value) for value in seconds), size=2))
    assert latency.p50_ms == pytest.approx(6.0)
    assert latency.p90_ms == pytest.approx(10.0)
    assert latency.mean_ms == pytest.approx(6.0)
    assert latency.p99_ms == pytest.approx(10.9)
    assert latency.rows_per_second == pytest.approx(8 / 0.006)
    assert (latency.ratio, latency.ratio_low, latency.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert (latency.batch_size, latency.length, latency.runs) == (8, 128, 11)
    assert (latency.waited, latency.noisy) == (0.0, False)
    assert latency.block_spread == pytest.approx(0.0)


def test_a_drift_from_block_to_block_widens_the_interval() -> None:
    """The same rounds once mixed and once with the slow ones together: the latter are less than they seem."""
    quiet, slow = (0.01, 0.005), (0.01, 0.009)
    mixed = summarise("pruned", 1, 32, blocks_of(*[*[quiet] * 7, *[slow] * 3] * 10, size=10))
    drifting = summarise("pruned", 1, 32, blocks_of(*[quiet] * 70, *[slow] * 30, size=10))
    assert mixed.ratio == drifting.ratio == pytest.approx(0.5)
    assert (mixed.ratio_low, mixed.ratio_high) == pytest.approx((0.5, 0.5))
    assert (mixed.block_spread, mixed.noisy) == (pytest.approx(0.0), False)
    assert (drifting.ratio_low, drifting.ratio_high) == pytest.approx((0.5, 0.9))
    # seven blocks at 0.5 and three at 0.9: their logarithms' variance is ln(1.8)² · 10 · 0.7 · 0.3 / 9
    assert drifting.block_spread == pytest.approx(np.log(1.8) * np.sqrt(10 * 0.7 * 0.3 / 9))
    assert drifting.noisy


def test_a_busy_machine_does_not_give_a_confident_ratio() -> None:
    """Every call of 20 ms is put aside for 40 ms, those of 4 ms hardly ever: 15 × by the clock, 5 × in truth."""
    machine, turn = FakeMachine(), iter(range(1000))
    calls = {
        "dense": lambda: machine.work(0.020, 0.040),
        "pruned": lambda: machine.work(0.004, 0.040 if next(turn) % 5 == 0 else 0.0),
    }
    blocks = [time_block(calls, range(first, first + 3), meters=machine.meters) for first in range(0, 30, 3)]
    latency = summarise("pruned", 1, 32, blocks)
    assert latency.ratio == pytest.approx(1 / 15)
    assert latency.ratio_low == pytest.approx(1 / 15)
    assert latency.ratio_high == pytest.approx(1 / 5)
    assert latency.noisy
    # a block of three rounds computes 72 ms and waits 120 ms; in six of ten blocks 160 ms
    assert latency.waited == pytest.approx(0.4 * 120 / 192 + 0.6 * 160 / 232)
    assert summarise("dense", 1, 32, blocks).noisy


def measured(waits: dict[int, float]) -> tuple[list[Latency], Noise, int]:
    """Two models of 10 and 5 ms, each of 20 calls a pass, on a machine where calls of these numbers wait so long."""
    machine, turn = FakeMachine(), iter(range(10_000))
    calls = {"dense": 0.010, "pruned": 0.005}

    def run(seconds: float) -> None:
        machine.work(seconds, waits.get(next(turn) // 4, 0.0))

    runners = {
        name: replace(_runner([]), run=lambda _, seconds=seconds: run(seconds)) for name, seconds in calls.items()
    }
    latencies, noise = measure_latencies(runners, [1], [7], runs=20, warm_ups=0, meters=machine.meters)
    return latencies, noise, next(turn) // 2


def test_a_quiet_machine_is_timed_once() -> None:
    latencies, noise, rounds = measured({})
    assert rounds == 20
    assert (noise.noisy, noise.passes, noise.waited) == (0, 1, 0.0)
    assert [latency.ratio for latency in latencies] == pytest.approx([1.0, 0.5])
    assert not any(latency.noisy for latency in latencies)


def test_blocks_in_which_others_computed_are_timed_again() -> None:
    """Three of ten blocks are disturbed; the second pass brings what is missing, and they are left out."""
    latencies, noise, rounds = measured(dict.fromkeys((1, 4, 8), 0.5))
    assert rounds == 40
    assert (noise.noisy, noise.passes, noise.waited) == (0, 2, 0.0)
    assert [latency.runs for latency in latencies] == [34, 34]
    assert latencies[1].ratio == pytest.approx(0.5)
    assert latencies[1].p99_ms == pytest.approx(5.0)


def test_a_machine_that_stays_busy_is_timed_three_times_and_says_so() -> None:
    latencies, noise, rounds = measured(dict.fromkeys(range(100), 0.5))
    assert rounds == 60
    assert (noise.noisy, noise.passes) == (2, 3)
    assert noise.waited == pytest.approx(1.0 / 1.015)
    assert latencies[1].ratio_low <= 0.5 <= latencies[1].ratio_high
    assert all(latency.noisy for latency in latencies)


def test_this_machine_tells_what_it_does() -> None:
    before = read_usage()
    after = read_usage()
    assert 0 <= before.switches <= after.switches
    assert before.delay_s is None or before.delay_s >= 0
    block = time_block({"sum": lambda: sum(range(1000))}, range(3))
    assert block.waited is not None
    assert 0 <= block.waited <= 1


def test_environment_names_what_counts() -> None:
    environment = describe_environment(2)
    assert environment.threads == 2
    assert (environment.python, environment.torch) == (platform.python_version(), torch.__version__)
    assert environment.onnxruntime == onnxruntime.__version__
    assert set(environment.cpu_flags) <= set(cpu_flags())
    assert environment.cpu == cpu_name()


def test_the_ratio_s_interval_holds_what_noise_does_to_it() -> None:
    rng = np.random.default_rng(0)
    base, other = 0.01 + 0.001 * rng.random(200), 0.005 + 0.001 * rng.random(200)
    latency = summarise("pruned", 1, 32, blocks_of(*zip(base, other, strict=True), size=20))
    assert latency.ratio_low < latency.ratio < latency.ratio_high
    assert latency.ratio == pytest.approx(0.0055 / 0.0105, rel=0.05)
    assert latency.ratio_high - latency.ratio_low < 0.05


def _runner(calls: list[Inputs]) -> Runner:
    names = ("input_ids", "attention_mask")
    return Runner(run=calls.append, input_names=names, takes_choices=False, vocab_size=50, max_positions=20)


def test_real_lengths_are_drawn_alike_for_all_models_and_padded_to_the_batch() -> None:
    seen: dict[str, list[Inputs]] = {"a": [], "b": []}
    machine = FakeMachine()

    def run(calls: list[Inputs], inputs: Inputs) -> None:
        calls.append(inputs)
        machine.work(0.001)

    runners = {name: replace(_runner(calls), run=partial(run, calls)) for name, calls in seen.items()}
    latencies, _ = measure_latencies(
        runners, [2], [7], real_lengths=[3, 5, 9, 40], runs=6, warm_ups=1, meters=machine.meters
    )
    assert [(latency.model, latency.length, latency.runs) for latency in latencies] == [
        ("a", 7, 6),
        ("b", 7, 6),
        ("a", "real", 6),
        ("b", "real", 6),
    ]
    for first, second in zip(seen["a"], seen["b"], strict=True):
        assert np.array_equal(first["input_ids"], second["input_ids"])
    real = [inputs["attention_mask"] for inputs in seen["a"] if inputs["input_ids"].shape != (2, 7)]
    assert len({mask.shape for mask in real}) > 1
    for mask in real:
        assert mask.sum(axis=1).max() == mask.shape[1] <= 20
        assert set(mask.sum(axis=1)) <= {3, 5, 9, 20}
