"""Timing calls honestly: warm-up, then rounds in which every call is timed once, in turn."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from compressor.families import picks_choices
from compressor.slicing import slice_model
from compressor.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def time_alternating(
    calls: Mapping[str, Callable[[], object]],
    *,
    runs: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each call: all are warmed up first, then each round times every one of them once, in turn."""
    for _ in range(warm_up):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return times


def measure_latency_ms(
    model: "PreTrainedModel",
    sub_network: SubNetwork,
    length: int,
    *,
    batch_size: int = 1,
    threads: int = 1,
    runs: int = 20,
    warm_up: int = 3,
) -> float:
    """The median time in milliseconds of the physically sliced sub-network on `batch_size` texts of `length` tokens.

    PyTorch on a fixed number of threads; the search's `latency_ms` objective. What is served is timed after the export.
    """
    sliced = slice_model(model, sub_network).eval()
    shape = (batch_size, 2, length) if picks_choices(model) else (batch_size, length)
    inputs = torch.full(shape, min(5, model.config.vocab_size - 1), device=model.device)
    mask = torch.ones_like(inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            call = {"sliced": lambda: sliced(input_ids=inputs, attention_mask=mask).logits.cpu()}
            seconds = time_alternating(call, runs=runs, warm_up=warm_up)["sliced"]
    finally:
        torch.set_num_threads(before)
    return 1e3 * float(np.median(seconds))
