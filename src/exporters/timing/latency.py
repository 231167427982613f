"""Latency of several models side by side: warmed up, taking turns, inputs prepared outside of the clock; and noise.

Rounds are timed in blocks, in which the kinds of batches take turns too, so that what happens on the machine hits all
alike. Blocks in which others had the processor are timed again, up to a bound; what is still noisy then says so.
"""

import itertools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np

from compressor.evaluation.latency import Block, Meters, time_block, warm_up
from compressor.records import Amount, Count, Positive, Share
from exporters.graph.cpu import cpu_name, relevant_cpu_flags
from exporters.timing.runners import Inputs, Runner, make_inputs

REAL: Literal["real"] = "real"
"""In place of a length: texts as long as the validation rows, padded to the longest of their batch."""


Length = Count | Literal["real"]
"""Tokens per text, or `REAL`."""
Shape = tuple[int, Length]
"""Batch size and length of the texts: a kind of batch."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What figures were measured on."""

    cpu: str
    cpu_flags: tuple[str, ...]
    """Instruction sets that decide how fast small numbers are."""
    threads: Count
    python: str
    """Its version, as those of the packages."""
    torch: str
    onnxruntime: str
    openvino: str | None = None
    """None where no model was timed in it."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of one model on one kind of batch."""

    model: str
    batch_size: Count
    length: Length
    p50_ms: Positive
    p90_ms: Amount
    p99_ms: Amount
    mean_ms: Amount
    rows_per_second: Amount
    runs: Count
    ratio: Positive
    """p50 over that of the first model."""
    ratio_low: Amount
    ratio_high: Amount
    """The ratio's 95 % interval, by resampling blocks and rounds in them, of wall clock and processor time alike."""
    waited: Share | None = None
    """The share of its time that the process was ready to run, but others did; None where nothing tells."""
    block_spread: Amount = 0.0
    """How much the ratio differs between blocks: the standard deviation of its logarithm."""
    noisy: bool = False
    """Whether others had the processor for more than `MAX_WAITED`, or blocks differ by more than `MAX_SPREAD`."""

    @property
    def shape(self) -> Shape:
        """Its kind of batch."""
        return self.batch_size, self.length

    @property
    def shape_key(self) -> str:
        """Its kind of batch in the names of metrics: b1_l128."""
        return f"b{self.batch_size}_l{self.length}"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The load of other processes on the machine during a benchmark."""

    noisy: Count
    """Rows of the table that are."""
    waited: Share | None
    """The largest share of a kind of batch."""
    block_spread: Amount
    """The largest of a row."""
    switches_per_second: Amount
    """Involuntary context switches, over all blocks that were timed."""
    load_average: tuple[tuple[Amount, ...], tuple[Amount, ...]]
    """The load of 1, 5 and 15 minutes, at the start and at the end."""
    passes: Count
    """How often the noisiest kind of batch was timed."""


BLOCKS = 10
"""Into which the rounds are cut."""
MAX_WAITED, MAX_SPREAD = 0.05, 0.15
"""From which on it is noisy. With a core for itself a benchmark waited for 0.01 at most and spread by 0.02 to 0.09."""
MAX_PASSES = 3
"""How often a kind of batch is timed that stays noisy."""
_DRAWS = 1000
"""Resamples of the bootstrap behind an interval."""
_LEAST = 1e-9
"""The least value of a time that is divided by: a coarse clock may stand still."""


def measure_latencies(
    runners: Mapping[str, Runner],
    batch_sizes: Sequence[int],
    lengths: Sequence[int],
    *,
    real_lengths: Sequence[int] = (),
    threads: int = 1,
    runs: int = 30,
    warm_ups: int = 3,
    meters: Meters | None = None,
) -> tuple[list[Latency], Noise]:
    """Return latencies of all models, which take turns within each round; `threads` are PyTorch's, others have theirs.

    Every batch size is timed at every length and, where given, at random draws of `real_lengths`.
    """
    import torch

    kinds: list[Length] = [*lengths, *([REAL] if real_lengths else [])]
    shapes = {
        (batch_size, length): _batches(batch_size, length, real_lengths, runs + warm_ups)
        for batch_size in batch_sizes
        for length in kinds
    }
    # All inputs exist before a call is timed: what is drawn and padded is no part of the latency.
    calls = {
        shape: {name: _call(runner, batches) for name, runner in runners.items()} for shape, batches in shapes.items()
    }
    # Only then is processor time what a wall clock shows on a quiet machine: times of several threads add up.
    one_thread = threads == 1 and all(runner.provider == "cpu" for runner in runners.values())
    before, load = torch.get_num_threads(), _load_average()
    torch.set_num_threads(threads)
    try:
        for turns in calls.values():
            warm_up(turns, warm_ups)
        timed, passes = _time_blocks(calls, runs, one_thread, meters)
    finally:
        torch.set_num_threads(before)
    results = [
        summarise(name, batch_size, length, _quiet(blocks, runs) or blocks, one_thread)
        for (batch_size, length), blocks in timed.items()
        for name in runners
    ]
    every = [block for blocks in timed.values() for block in blocks]
    known = [latency.waited for latency in results if latency.waited is not None]
    return results, Noise(
        noisy=sum(latency.noisy for latency in results),
        waited=max(known, default=None),
        block_spread=max(latency.block_spread for latency in results),
        switches_per_second=float(np.mean([block.switches_per_second for block in every])),
        load_average=(load, _load_average()),
        passes=passes,
    )


def _time_blocks(
    calls: Mapping[Shape, Mapping[str, Callable[[], object]]],
    runs: int,
    one_thread: bool,
    meters: Meters | None,
) -> tuple[dict[Shape, list[Block]], int]:
    """Return the blocks of each kind of batch, and how often the noisiest was timed."""
    timed: dict[Shape, list[Block]] = {shape: [] for shape in calls}
    size = -(-runs // BLOCKS)
    waiting, passes = list(calls), 0
    while waiting and passes < MAX_PASSES:
        for first in range(0, runs, size):
            # Rounds are numbered on, so that another model goes first in each (`time_block`).
            rounds = range(passes * runs + first, passes * runs + min(first + size, runs))
            for shape in waiting:
                timed[shape].append(time_block(calls[shape], rounds, one_thread=one_thread, meters=meters))
        passes += 1
        # Only what was noisy is timed again; quiet blocks of all passes count together.
        waiting = [shape for shape in waiting if _is_noisy(timed[shape], runs)]
    return timed, passes


def _quiet(blocks: Sequence[Block], runs: int) -> list[Block] | None:
    """Return the blocks without noise, if they hold as many rounds as were asked for."""
    quiet = [block for block in blocks if block.waited is None or block.waited <= MAX_WAITED]
    return quiet if sum(len(next(iter(block.seconds.values()))) for block in quiet) >= runs else None


def _is_noisy(blocks: Sequence[Block], runs: int) -> bool:
    """Return whether a kind of batch has to be timed again."""
    quiet = _quiet(blocks, runs)
    return quiet is None or max(_block_spread(name, quiet) for name in quiet[0].seconds) > MAX_SPREAD


def _block_spread(model: str, blocks: Sequence[Block]) -> float:
    """Return the standard deviation over blocks of the logarithm of the model's ratio; 0 where too few blocks tell."""
    base = next(iter(blocks[0].seconds))
    if len(blocks) < BLOCKS // 2:
        return 0.0
    medians = [[max(float(np.median(block.seconds[name])), _LEAST) for name in (model, base)] for block in blocks]
    return float(np.std([np.log(time / base_time) for time, base_time in medians], ddof=1))


def summarise(model: str, batch_size: int, length: Length, blocks: Sequence[Block], one_thread: bool = True) -> Latency:
    """Return the figures of one model's times and their ratio to the first model's of the same rounds.

    The interval reaches over what wall clock and processor time say where both mean the same: waiting for others makes
    the slow of two models look slower than it is. Where only the fastest rounds can tell, it reaches to their ratio.
    """
    base = next(iter(blocks[0].seconds))
    # In ms, all rounds one after another; at the same place of both stands the same round.
    times_ms, base_ms = (1e3 * np.concatenate([block.seconds[name] for block in blocks]) for name in (model, base))
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99))
    known = [block.waited for block in blocks if block.waited is not None]
    waited, spread = float(np.mean(known)) if known else None, _block_spread(model, blocks)
    noisy = (waited or 0.0) > MAX_WAITED or spread > MAX_SPREAD
    rounds = _resample(blocks)
    ends = [*_interval(times_ms, base_ms, rounds)]
    if one_thread:
        # Processor time of the same rounds: the interval reaches over both.
        cpu, cpu_base = (np.concatenate([block.cpu_seconds[name] for block in blocks]) for name in (model, base))
        ends += _interval(cpu, cpu_base, rounds)
    elif noisy:
        ends.append(float(times_ms.min() / base_ms.min()))
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
        ratio_low=min(ends),
        ratio_high=max(ends),
        waited=waited,
        block_spread=spread,
        noisy=noisy,
    )


def _resample(blocks: Sequence[Block]) -> np.ndarray:
    """Round [draws, rounds]: blocks drawn with replacement, and in each as many rounds as the longest has."""
    sizes = np.array([len(next(iter(block.seconds.values()))) for block in blocks])
    starts, longest = np.cumsum(sizes) - sizes, int(sizes.max())
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(blocks), size=(_DRAWS, len(blocks)))[..., None]
    # [draws, blocks, rounds]: a round of each drawn block by its own number of rounds.
    within = (rng.random((_DRAWS, len(blocks), longest)) * sizes[drawn]).astype(np.int64)
    return np.asarray((starts[drawn] + within).reshape(_DRAWS, -1))


def _interval(times: np.ndarray, base: np.ndarray, rounds: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of medians over drawn rounds, the same of both."""
    # The same rounds of both models: a disturbance hits both, and cancels in the ratio.
    ratios = np.median(times[rounds], axis=1) / np.maximum(np.median(base[rounds], axis=1), _LEAST)
    low, high = np.quantile(ratios, [0.025, 0.975])  # 95 %
    return float(low), float(high)


def _load_average() -> tuple[float, ...]:
    return os.getloadavg() if hasattr(os, "getloadavg") else ()


def describe_environment(threads: int, *, openvino: bool = False) -> Environment:
    """Return what the figures were measured on; with OpenVINO's version where it was used."""
    import onnxruntime
    import torch

    return Environment(
        cpu=cpu_name(),
        cpu_flags=relevant_cpu_flags(),
        threads=threads,
        python=platform.python_version(),
        torch=str(torch.__version__),
        onnxruntime=onnxruntime.__version__,
        openvino=version("openvino") if openvino else None,
    )


def _batches(batch_size: int, length: Length, real_lengths: Sequence[int], count: int) -> list[list[int]]:
    """Return the lengths of the texts of each round's batch; one batch where all rounds are alike."""
    if isinstance(length, int):
        return [[length] * batch_size]
    draws = np.random.default_rng(0).choice(np.asarray(real_lengths), size=(count, batch_size))
    return [[int(value) for value in draw] for draw in draws]


def _call(runner: Runner, batches: Sequence[Sequence[int]]) -> Callable[[], object]:
    """Return a call that runs the next batch, all of which are prepared here."""
    prepared: list[Inputs] = [make_inputs(runner, lengths) for lengths in batches]
    turns = itertools.cycle(prepared)
    return lambda: runner.run(next(turns))
