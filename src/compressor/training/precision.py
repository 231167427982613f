"""Whether training computes in bfloat16: where the processor multiplies in it, and this very model trains faster so.

It is PyTorch's autocast: matrix products are computed in bfloat16; weights, gradients, the optimizer's moments and the
loss stay in fp32. A GPU without bfloat16 computes in float16 in its place, with a scaled loss. Evaluations are always
computed in fp32, so a sub-network's error is the same in all its forms.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from compressor.data.batches import EncodedRows
from compressor.data.tasks import Task
from compressor.device import Pieces, fork_random_state, half_type
from compressor.network.costs import create_cost_model
from compressor.training.forecast import make_typical_batch
from compressor.training.loop import run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Update

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MIN_OPERATIONS = 1e12
"""Of a training (ten seconds of one core, or so), below which measuring takes longer than it may save."""
_MAX_OPERATIONS = 5e10
"""The operations of a step that is measured; where a batch takes more, fewer of its rows are measured."""
_NUM_ROUNDS, _LIMIT_S = 3, 3.0
"""So many steps of each kind in turn, but no round begins after so many seconds."""
_MOST = 0.9
"""The share of the time in fp32; what gains less is not worth it, and noise would decide."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What a training computes in, and why."""

    bf16: bool
    """Whether it is bfloat16, or what the device has in its place."""
    reason: str
    half: str = "bfloat16"
    """What the device has."""

    def describe(self) -> str:
        """Return it as a sentence."""
        return f"Training in {self.half if self.bf16 else 'fp32'}: {self.reason}."


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in half precision: CPUs with AVX512-BF16 or AMX, any GPU (if only float16)."""
    if device.type == "cuda":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def decide_precision(
    model: "PreTrainedModel",
    task: Task,
    rows: EncodedRows,
    settings: TrainingSettings,
    clock: Callable[[], float] | None = None,
) -> Precision:
    """Return what a training of `model` on `rows` computes in: what the settings say, or else what is faster here.

    A few steps are timed, in seconds, on the device that the model is on. They change nothing: no optimizer moves,
    gradients are dropped, random states are put back. The clock is by default the processor's time, which other work
    on the machine hardly changes, and the wall clock where a GPU computes.
    """
    half = str(half_type(model.device)).removeprefix("torch.")
    if settings.bf16 is not None:
        return Precision(bf16=settings.bf16, reason="as asked", half=half)
    if not has_bf16(model.device):
        return Precision(bf16=False, reason="this processor does not multiply in bfloat16")
    settings, cost_model = settings.for_rows(len(rows)), create_cost_model(model)
    texts, length = rows.num_choices, round(float(rows.lengths.mean()))
    per_row = 6 * texts * cost_model.macs(cost_model.full, length)  # two a MAC, forwards once and backwards twice
    if per_row * len(rows) * settings.epochs < _MIN_OPERATIONS:
        return Precision(bf16=False, reason=f"it is too short to measure whether {half} would be faster")
    num_rows = min(settings.per_device_train_batch_size, max(1, round(_MAX_OPERATIONS / per_row)))
    # process_time adds up all threads, of both precisions alike: it is the ratio that counts.
    clock = clock or (time.process_time if model.device.type == "cpu" else time.perf_counter)

    def time_steps(num_pieces: int) -> tuple[float, float]:
        settled = replace(settings, per_device_train_batch_size=-(-num_rows // num_pieces))
        return _time_steps(model, task, rows, settled, clock)

    fp32_s, bf16_s = Pieces().run(time_steps, num_rows, lambda: model.zero_grad(set_to_none=True))
    share = bf16_s / fp32_s
    if share > _MOST:
        return Precision(bf16=False, reason=f"a step in {half} takes {share:.2f} of its time")
    return Precision(bf16=True, reason=f"a step takes {share:.2f} of its time in fp32", half=half)


def _time_steps(
    model: "PreTrainedModel", task: Task, rows: EncodedRows, settings: TrainingSettings, clock: Callable[[], float]
) -> tuple[float, float]:
    """Return the shortest times of a step in fp32 and in bfloat16, in seconds; they are taken in turn."""
    batch, labels = make_typical_batch(rows, settings.per_device_train_batch_size, model.device)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    started, was_training = clock(), model.training
    # Steps draw dropout masks: the training that follows must find the random state as it was.
    with fork_random_state():
        model.train()
        for _ in range(_NUM_ROUNDS):
            # In turn, so that a disturbance hits both.
            for bf16, times in seconds.items():
                start = clock()
                run_updates(model, batch, labels, [Update(None)], replace(settings, bf16=bf16), task.head).tolist()
                model.zero_grad(set_to_none=True)
                times.append(clock() - start)
            # Where a step takes seconds, few rounds have to do.
            if clock() - started > _LIMIT_S:
                break
    model.train(was_training)
    # The shortest: whatever disturbs a step makes it longer.
    return min(seconds[False]), min(seconds[True])
