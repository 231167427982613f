"""Timing calls side by side: every call once in each round, in turn, and how much others used the machine.

On a busy machine a wall clock lies, and not by the same factor for all: a call of 1 ms often runs through between two
interruptions, one of 20 ms never does. So the processor time of each call is read beside the wall clock, and of each
block of rounds the share of the time that this process waited for a processor.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from compressor.data.heads import form_of
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Usage:
    """What this process has used of the machine so far."""

    switches: int
    """How often it was put aside for another process (involuntary context switches)."""
    delay_s: float | None
    """For how long its threads were ready to run, but did not; None where the system does not tell."""


def read_usage() -> Usage:
    """Return the usage as Linux counts it; elsewhere without the delay."""
    import resource  # not on every system

    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    try:
        # Per thread: time on a processor, time ready but waiting, number of turns; in nanoseconds.
        files = [Path(entry.path) / "schedstat" for entry in os.scandir("/proc/self/task")]
        return Usage(switches, sum(int(file.read_text().split()[1]) for file in files) / 1e9)
    except OSError:  # another system, or a thread that ended in between
        return Usage(switches, None)


@dataclass(frozen=True, kw_only=True)
class Meters:
    """What is read around calls; tests put others in place of them."""

    clock: Callable[[], float] = time.perf_counter
    cpu_clock: Callable[[], float] | None = None
    """None: of this thread where calls compute on it alone, so that the log's thread does not count; else of all."""
    usage: Callable[[], Usage] = read_usage


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rounds that were timed one after the other."""

    seconds: Mapping[str, Sequence[float]]
    """Durations of each call in each round."""
    cpu_seconds: Mapping[str, Sequence[float]]
    """Processor time."""
    waited: float | None
    """The share of its time that the process was ready to run but did not; None where nothing tells."""
    switches_per_second: float


def warm_up(calls: Mapping[str, Callable[[], object]], times: int) -> None:
    """Make each call so many times, in turn."""
    for _ in range(times):
        for call in calls.values():
            call()


def time_block(
    calls: Mapping[str, Callable[[], object]],
    rounds: range,
    *,
    one_thread: bool = True,
    meters: Meters | None = None,
) -> Block:
    """Time each call once in each of these rounds, which begin with another call each, so that none is always first.

    `one_thread` says that calls compute on one thread of the CPU and never sleep: then wall clock and processor time
    tell what was waited, pauses by a quota too; else the system does, where it can.
    """
    meters = meters or Meters()
    cpu_clock = meters.cpu_clock or (time.thread_time if one_thread else time.process_time)
    clock, names = meters.clock, list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in names}
    before = meters.usage()
    for number in rounds:
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            call = calls[name]
            # The wall clock is the inner pair: reading the other one costs more, and must not count.
            cpu_start, start = cpu_clock(), clock()
            call()
            end, cpu_end = clock(), cpu_clock()
            seconds[name].append(end - start)
            cpu_seconds[name].append(cpu_end - cpu_start)
    after = meters.usage()
    wall, cpu = (sum(sum(times) for times in parts.values()) for parts in (seconds, cpu_seconds))
    waited = None
    if one_thread:
        # Of one thread that never sleeps, all wall time that is no processor time was waited; the clocks' grain may
        # give less than nothing.
        waited = max(1 - cpu / wall, 0.0) if wall else 0.0
    elif before.delay_s is not None and after.delay_s is not None:
        delay = after.delay_s - before.delay_s
        waited = delay / (delay + cpu) if delay > 0 else 0.0
    return Block(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        waited=waited,
        switches_per_second=(after.switches - before.switches) / wall if wall else 0.0,
    )


def measure_latency_ms(
    model: "PreTrainedModel",
    sub_network: SubNetwork,
    length: int,
    *,
    batch_size: int = 1,
    threads: int = 1,
    runs: int = 20,
    warm_ups: int = 3,
) -> float:
    """Return the median milliseconds of the physically sliced sub-network on `batch_size` texts of `length` tokens.

    PyTorch on a fixed number of threads; the search's `latency_ms` objective. On one thread of the CPU it is processor
    time: what the wall clock shows on a quiet machine, and what others on a busy one hardly change, so that
    sub-networks timed minutes apart compare. What is served is timed after the export.
    """
    # The sub-network is cut out: with masks or views of the super-network's weights the times would be others.
    sliced = slice_model(model, sub_network).eval()
    form = form_of(model)
    shape = form.shape(batch_size, length)
    # Which token does not matter to the time, as long as it is no padding: RoBERTa's positions count those out.
    inputs = torch.full(shape, min(5, model.config.vocab_size - 1), device=model.device)
    mask = torch.ones_like(inputs)
    one_thread = threads == 1 and model.device.type == "cpu"
    # PyTorch's number of threads is of the whole process: it is put back even where the model fails.
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            batch = {"input_ids": inputs, "attention_mask": mask}
            # `.cpu()` waits for a GPU; without it only the launch of the kernels would be timed.
            calls = {"sliced": lambda: form.read(sliced(**batch), mask, sliced.config).cpu()}
            warm_up(calls, warm_ups)
            block = time_block(calls, range(runs), one_thread=one_thread)
    finally:
        torch.set_num_threads(before)
    seconds = block.cpu_seconds if one_thread else block.seconds
    return 1e3 * float(np.median(seconds["sliced"]))
