"""What the number of each option may be, and why: one table for all settings classes and for the documentation.

A number beyond its limit is refused before any work starts. Limits are far from what is of use: they stop what would
hang, fill the memory, or end in an error of a library below.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.errors import OptionError

CPU_CORES = os.cpu_count() or 1
_MAX_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The range of one option."""

    least: float
    most: float
    reason: str
    """Why not less, or not more."""
    above: bool = False
    """Whether `least` itself is too little."""


_SEED = Limit(least=0, most=2**32 - 1, reason="what NumPy, PyTorch and Syne Tune all take")
_EPOCHS = "each epoch is a pass over all training rows, and a checkpoint"
_BATCH = "beyond the number of rows a batch is all of them"
_ROWS = "beyond the number of rows all are used"
_ERROR = "errors lie in 0..1, those of correlations in 0..2"

LIMITS: dict[str, Limit] = {
    "learning_rate": Limit(least=0, above=True, most=1, reason="AdamW moves each weight by about so much a step"),
    "num_train_epochs": Limit(least=1, most=10_000, reason=_EPOCHS),
    "finetune_epochs": Limit(least=0, most=10_000, reason=_EPOCHS),
    "vocabulary_min_count": Limit(least=1, most=10**9, reason="a token that never occurs is not needed"),
    "vocabulary_extra": Limit(least=0, most=10**7, reason="no vocabulary has more tokens"),
    "per_device_train_batch_size": Limit(least=1, most=1_000_000, reason=_BATCH),
    "gradient_accumulation_steps": Limit(least=1, most=10_000, reason="each is a batch of every step"),
    "num_processes": Limit(least=1, most=4096, reason="each is a process with a model of its own"),
    "per_device_eval_batch_size": Limit(least=1, most=1_000_000, reason=_BATCH),
    "weight_decay": Limit(least=0, most=10, reason="a share of the learning rate by which weights shrink"),
    "warmup_ratio": Limit(least=0, most=1, reason="a share of the steps"),
    "max_grad_norm": Limit(least=0, above=True, most=1e6, reason="gradients of that length are not clipped any more"),
    "temperature": Limit(least=0, above=True, most=1000, reason="logits are divided by it"),
    "num_random_sub_nets": Limit(least=0, most=1000, reason="each is a pass forward and backward of every step"),
    "seed": _SEED,
    "dataset_seed": _SEED,
    "max_seq_length": Limit(least=4, most=100_000, reason="no encoder has more positions"),
    "max_train_samples": Limit(least=1, most=10**9, reason=_ROWS),
    "max_eval_samples": Limit(least=1, most=10**9, reason=_ROWS),
    "num_samples": Limit(least=1, most=100_000, reason="each is a run in MLflow"),
    "num_trials": Limit(least=1, most=10_000, reason="each trains a model"),
    "max_wallclock_time": Limit(least=1, most=31_536_000, reason="seconds; the most is a year"),
    "num_workers": Limit(least=1, most=256, reason="each is a process with a model of its own"),
    "index": Limit(least=0, most=100_000, reason="a place on the front, from 0"),
    "max_params": Limit(least=0, above=True, most=1e12, reason="a number of parameters, or up to 1 a share"),
    "max_error": Limit(least=0, most=2, reason=_ERROR),
    "max_error_increase": Limit(least=-2, most=2, reason=f"below 0 it is to be better; {_ERROR}"),
    "confidence": Limit(least=0.5, most=0.999, reason="a chance; rows of a sample never give certainty"),
    "max_latency_ms": Limit(least=0, above=True, most=3_600_000, reason="milliseconds; the most is an hour"),
    "max_int8_loss": Limit(least=0, most=2, reason=_ERROR),
    "batch_sizes": Limit(least=1, most=1024, reason="all rows of a batch are in memory at once"),
    "lengths": Limit(least=1, most=100_000, reason="tokens; cut to what the models take"),
    "batch_size": Limit(least=1, most=1024, reason="texts that are computed at once"),
    "length": Limit(least=1, most=100_000, reason="tokens; cut to what the model takes"),
    "threads": Limit(least=1, most=CPU_CORES, reason="the cores of this machine: more threads wait for each other"),
    "rate": Limit(least=0, above=True, most=100_000, reason="requests a second; no CPU answers as many"),
    "runs": Limit(least=1, most=10_000, reason="each shape and model is timed so often"),
}
"""By the option's name in Python."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with options: "OPTION must be LAW, but got VALUE. REMEDY"."""

    option: str
    law: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.option} must be {self.law}, but got {self.value}"


def find_problem(name: str, value: float | None) -> Problem | None:
    """What is wrong with the number of the option `name`; None for a fine one, or where it is not given."""
    limit = LIMITS[name]
    if value is None:
        return None
    if isinstance(value, float) and math.isnan(value):
        law, remedy = "a number", "Correct it."
    elif value < limit.least or (limit.above and value == limit.least):
        law, remedy = f"{'above' if limit.above else 'at least'} {limit.least:,}", "Raise it."
    elif value > limit.most:
        law, remedy = f"at most {limit.most:,}", "Lower it."
    else:
        return None
    return Problem(option=f"--{name.replace('_', '-')}", law=law, value=show(value), remedy=remedy)


def check_number(name: str, value: float) -> float:
    """The number of the option `name`, once it is known to be within its limit.

    Raises:
        OptionError: it is not.
    """
    refuse([problem for problem in [find_problem(name, value)] if problem is not None])
    return value


def check_numbers(options: object, names: Iterable[str], more: Sequence[Problem] = ()) -> None:
    """Raises unless each of these fields of a settings class is within its limit or None; all wrong ones at once.

    A field may hold several numbers. `more` is what is wrong with the options besides.

    Raises:
        OptionError: a number is out of its range or not a number, or there are `more` problems.
    """
    problems: list[Problem] = []
    for name in names:
        value = getattr(options, name)
        wrong = [find_problem(name, number) for number in (value if isinstance(value, tuple) else (value,))]
        problems += [problem for problem in wrong if problem is not None][:1]
    refuse([*problems, *more])


def refuse(problems: Sequence[Problem]) -> None:
    """Raises one error for all problems, if there are any.

    Raises:
        OptionError: there are.
    """
    if len(problems) == 1:
        wrong = problems[0]
        raise OptionError(f"{wrong.option} must be {wrong.law}, but got {wrong.value}. {wrong.remedy}", problems)
    if problems:
        raise OptionError(f"{'; '.join(map(str, problems))}. Correct the options.", problems)


def show(number: float) -> str:
    """A number as it was typed, but never more than a few dozen characters."""
    try:
        text = str(number)
    except ValueError:  # Python refuses to write numbers of more than 4,300 digits
        return "thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"
