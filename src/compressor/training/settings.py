"""The settings of super-network training. Apart from `training` so that `--help` need not load PyTorch."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from compressor.limits import check_numbers
from compressor.training.strategies import count_warm_up_epochs, get_strategy

DEFAULT_NUM_EPOCHS, MAX_DEFAULT_EPOCHS, MIN_STEPS = 3, 9, 240
"""Where the user gives no number of epochs; benchmarks/LOG.md has what was measured."""

_NUMBERS = (
    "temperature",
    "learning_rate",
    "num_train_epochs",
    "num_random_sub_nets",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_processes",
    "per_device_eval_batch_size",
    "weight_decay",
    "warmup_ratio",
    "max_grad_norm",
    "seed",
)

SPLIT = ("gradient_accumulation_steps", "num_processes")
"""How the rows of a step are split."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which encoder is trained and how it is loaded."""

    model_name_or_path: str = "demo"
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    save_checkpoints: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a super-network is trained."""

    search_space: str = "small_ordered"
    sampling_strategy: str = "auto"
    num_random_sub_nets: int = 2
    """Random sub-networks per step (k)."""
    temperature: float = 2.0
    """Softens both sides of the distillation (T)."""
    learning_rate: float | None = None
    """Peak of AdamW; None: by the encoder's width (`default_learning_rate` in `training`)."""
    num_train_epochs: int | None = None
    """None: by the number of training rows (`for_rows`)."""
    per_device_train_batch_size: int = 32
    """Rows that a process computes at once."""
    gradient_accumulation_steps: int = 1
    """Batches of each process whose gradients are added up before the optimizer moves."""
    num_processes: int = 1
    """Among which the rows of a step are split; under torchrun training fills it in."""
    per_device_eval_batch_size: int = 64
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: float = 1.0
    seed: int = 0
    bf16: bool | None = None
    """Compute in bfloat16 where PyTorch's autocast allows it; None: where that is faster (`decide_precision`)."""

    @property
    def keeps_last_epoch(self) -> bool:
        """Whether the last epoch's weights are the result, whatever the error of the super-network in each epoch.

        `auto` trains the super-network first and its sub-networks to the end; other strategies keep the best epoch.
        """
        return count_warm_up_epochs(self.sampling_strategy, self.epochs) is not None

    @property
    def num_parts(self) -> int:
        """Batches that the rows of a step are split into, those of all processes together."""
        return self.gradient_accumulation_steps * self.num_processes

    @property
    def rows_per_step(self) -> int:
        """Rows that the optimizer moves for at once: what training depends on, however they are split."""
        return self.per_device_train_batch_size * self.num_parts

    @property
    def identity(self) -> dict[str, Any]:
        """What a training depends on: equal settings give equal weights, up to rounding where rows are split."""
        values = asdict(self) | {"per_device_train_batch_size": self.rows_per_step}
        return {name: value for name, value in values.items() if name not in SPLIT}

    @property
    def epochs(self) -> int:
        """Passes over the training rows."""
        return self.num_train_epochs or DEFAULT_NUM_EPOCHS

    def for_rows(self, num_rows: int) -> "TrainingSettings":
        """These settings with a number of epochs: where none is given 3, but more of few rows.

        So many that there are `MIN_STEPS` steps, at most `MAX_DEFAULT_EPOCHS`.
        """
        if self.num_train_epochs is not None:
            return self
        steps_per_epoch = max(1, math.ceil(num_rows / self.rows_per_step))
        wanted = math.ceil(MIN_STEPS / steps_per_epoch)
        return replace(self, num_train_epochs=min(max(DEFAULT_NUM_EPOCHS, wanted), MAX_DEFAULT_EPOCHS))

    def __post_init__(self) -> None:
        check_numbers(self, _NUMBERS)
        get_strategy(self.sampling_strategy, self.num_random_sub_nets)
