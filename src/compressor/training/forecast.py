"""How long training and search are going to take, estimated up front from a few steps on a typical batch.

The steps change nothing: no optimizer moves, gradients are dropped, random states are put back.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import Batch, EncodedRows, collate, compute_logits, units_of
from compressor.data.tasks import Task
from compressor.device import Pieces, fork_random_state
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions
from compressor.spaces import create_search_space
from compressor.training.loop import count_warm_up, run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Step, Update, get_strategy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOMENTS = (0.0, 0.2, 0.5, 0.7, 0.99)
"""Moments of a training, at which a step is timed: strategies do not do the same all the time."""
_DRAWS = 50
"""Sub-networks whose mean cost stands for that of a search."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Seconds to expect."""

    training_s: float
    evaluation_s: float
    """Seconds of one sub-network of mean size on all validation rows."""
    share: float
    """The share of the encoder that a sub-network of mean size has."""
    row_s: float
    """The super-network's answer to one text of the validation rows, in a batch."""
    token_s: float
    """The same for one token."""
    epoch_s: float
    """An epoch of ordinary fine-tuning of the super-network alone, without its evaluation."""


def forecast(
    model: "PreTrainedModel",
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    settings: TrainingSettings,
    clock: Callable[[], float] = time.perf_counter,
    *,
    is_fine_tuned: bool = False,
) -> Forecast:
    """Return what training with these settings and evaluating a sub-network afterwards will take on this machine."""
    settings = settings.for_rows(len(train))
    space = create_search_space(settings.search_space, get_dimensions(model))
    strategy = get_strategy(settings.sampling_strategy, settings.num_random_sub_nets)
    steps_per_epoch = math.ceil(len(train) / settings.rows_per_step)
    num_steps = steps_per_epoch * settings.epochs
    warm_up = steps_per_epoch * (count_warm_up(task, settings, is_fine_tuned=is_fine_tuned) or 0)
    rng, rows = np.random.default_rng([settings.seed, 6]), settings.per_device_train_batch_size

    def time_steps(num_pieces: int) -> tuple[float, float]:
        """Return the mean seconds of a batch of the training, and of one that updates the super-network alone."""
        # A piece of a batch is timed, and the time multiplied: what training does where memory is short.
        batch, labels = make_typical_batch(train, -(-rows // num_pieces), model.device)

        def take_step(moment: float) -> None:
            step = Step(
                index=int(moment * num_steps),
                num_steps=num_steps,
                num_random_sub_nets=settings.num_random_sub_nets,
                rng=rng,
                num_warm_up_steps=warm_up,
            )
            run_updates(model, batch, labels, strategy(space, step), settings, task.head).tolist()  # a GPU lags behind

        take_step(_MOMENTS[0])  # the first one allocates
        start = clock()
        for moment in _MOMENTS:
            take_step(moment)
        of_training, start = (clock() - start) / len(_MOMENTS), clock()
        run_updates(model, batch, labels, [Update(None)], settings, task.head).tolist()
        return num_pieces * of_training, num_pieces * (clock() - start)

    was_training = model.training
    with fork_random_state():
        model.train()
        batch_s, own_s = Pieces().run(time_steps, rows, lambda: model.zero_grad(set_to_none=True))
        model.zero_grad(set_to_none=True)
    epoch_s = own_s * steps_per_epoch * settings.num_parts  # of one process
    model.eval()
    picked = _typical(validation, settings.per_device_eval_batch_size)
    # One forward pass; the mean share of the encoder scales it, as sliced models are about as fast as they are small.
    row_s = _time_rows(model, validation, picked, clock)
    model.train(was_training)
    cost_model = create_cost_model(model)
    share = float(np.mean([cost_model.costs(space.draw(rng)).relative_encoder_params for _ in range(_DRAWS)]))
    return Forecast(
        training_s=batch_s * num_steps * settings.gradient_accumulation_steps,
        evaluation_s=row_s * len(validation) * share,
        share=share,
        row_s=row_s,
        token_s=row_s / float(validation.lengths[picked].max()),
        epoch_s=epoch_s,
    )


def _time_rows(model: "PreTrainedModel", rows: EncodedRows, picked: np.ndarray, clock: Callable[[], float]) -> float:
    """Return the seconds that each of the picked rows takes in one batch."""
    start = clock()
    compute_logits(model, [(units_of(rows, picked), collate(rows, picked))])
    return (clock() - start) / len(picked)


def format_duration(seconds: float) -> str:
    """Return a duration for people: "about 40 s", "about 4 min", "about 2.5 h"."""
    if seconds < 90:
        return f"about {max(1, round(seconds)):d} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def make_typical_batch(rows: EncodedRows, batch_size: int, device: torch.device) -> tuple[Batch, Tensor]:
    """Return a batch of mean length, and what is learnt of it [units, …] on a device."""
    picked = _typical(rows, batch_size)
    return collate(rows, picked), torch.from_numpy(rows.targets[units_of(rows, picked)]).to(device)


def _typical(rows: EncodedRows, batch_size: int) -> np.ndarray:
    """Return the places of the rows of a batch of mean length."""
    order = np.argsort(rows.lengths, kind="stable")
    # The mean and not the median: time adds up over all batches.
    middle = int(np.searchsorted(rows.lengths[order], rows.lengths.mean()))
    start = min(max(0, middle - batch_size // 2), max(0, len(rows) - batch_size))
    picked: np.ndarray = order[start : start + batch_size]
    return picked
