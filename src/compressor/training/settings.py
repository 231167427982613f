"""The settings of super-network training. Apart from `training` so that `--help` need not load PyTorch."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from compressor.options import SEED, Limit, check_numbers, option
from compressor.spaces import SEARCH_SPACES
from compressor.training.strategies import (
    SAMPLING_STRATEGIES,
    STRATEGY_ALIASES,
    count_warm_up_epochs,
    get_strategy,
)

DEFAULT_NUM_EPOCHS, MAX_DEFAULT_EPOCHS, MIN_STEPS = 3, 9, 240
"""Where the user gives no number of epochs; benchmarks/LOG.md has what was measured."""

EPOCHS = "each epoch is a pass over all training rows, and a checkpoint"
BATCH = Limit(least=1, most=1_000_000, reason="beyond the number of rows a batch is all of them")
SPLIT = ("gradient_accumulation_steps", "num_processes")
"""How the rows of a step are split."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which encoder is trained and how it is loaded."""

    model_name_or_path: str = option(
        "demo",
        "Encoder to start from: 'demo', 'demo-base' (109 M parameters), a directory made by save_pretrained, or a "
        "name on the Hugging Face Hub.",
        flags=("--model-name-or-path", "--model-name"),
        path=True,
    )
    teacher_model: str | None = option(
        None,
        "Fine-tuned model of the same task, mostly a larger one, whose outputs super-network and sub-networks learn "
        "beside the labels: a directory, or a name on the Hub.",
        path=True,
    )
    attn_implementation: str = option("sdpa", "How PyTorch computes attention.", choices=("sdpa", "eager"))
    trust_remote_code: bool = option(False, "Run code that comes with the base model. Only for models you trust.")
    save_checkpoints: bool = option(
        True,
        "Keep a checkpoint after each epoch, or only the last weights.",
        flags=("--save-strategy",),
        words={"epoch": True, "no": False},
    )

    @property
    def full_model(self) -> str:
        """Who answers texts that have no labels: the teacher, or else the model itself."""
        return self.teacher_model or self.model_name_or_path


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a super-network is trained."""

    search_space: str = option("small_ordered", "Which sub-networks exist.", choices=tuple(SEARCH_SPACES))
    sampling_strategy: str = option(
        "auto",
        "Which sub-networks a training step updates.",
        choices=(*SAMPLING_STRATEGIES, *STRATEGY_ALIASES),
    )
    num_random_sub_nets: int = option(
        2,
        "Random sub-networks per step.",
        limit=Limit(least=0, most=1000, reason="each is a pass forward and backward of every step"),
    )
    temperature: float = option(
        2.0,
        "Softens both sides of the distillation.",
        limit=Limit(least=0, above=True, most=1000, reason="logits are divided by it"),
    )
    learning_rate: float | None = option(
        None,
        "Peak learning rate of AdamW. Default: 2e-4 at a width of 384 (the demo's), 5e-5 at 768.",
        limit=Limit(least=0, above=True, most=1, reason="AdamW moves each weight by about so much a step"),
    )
    num_train_epochs: int | None = option(
        None,
        f"Passes over the training rows. Default: {DEFAULT_NUM_EPOCHS}, or up to {MAX_DEFAULT_EPOCHS} to make "
        f"{MIN_STEPS} steps.",
        limit=Limit(least=1, most=10_000, reason=EPOCHS),
    )
    per_device_train_batch_size: int = option(
        32,
        "Rows that a process computes at once. Times --gradient-accumulation-steps and the number of processes "
        "it is the rows of a step.",
        limit=BATCH,
    )
    gradient_accumulation_steps: int = option(
        1,
        "Batches of a step whose gradients are added up, where the rows of one do not fit into memory.",
        limit=Limit(least=1, most=10_000, reason="each is a batch of every step"),
    )
    num_processes: int = option(
        1,
        "Processes of this machine that train together, each with its share of a step's rows; on several machines "
        "torchrun starts them.",
        limit=Limit(least=1, most=4096, reason="each is a process with a model of its own"),
    )
    per_device_eval_batch_size: int = option(64, "Rows per batch when evaluating.", limit=BATCH)
    weight_decay: float = option(
        0.01,
        "Decay of weight matrices.",
        limit=Limit(least=0, most=10, reason="a share of the learning rate by which weights shrink"),
    )
    warmup_ratio: float = option(
        0.1,
        "Share of the steps in which the learning rate rises.",
        limit=Limit(least=0, most=1, reason="a share of the steps"),
    )
    max_grad_norm: float = option(
        1.0,
        "Gradients are clipped to it.",
        limit=Limit(least=0, above=True, most=1e6, reason="gradients of that length are not clipped any more"),
    )
    seed: int = option(0, "Seed of weights, data order and sub-networks.", limit=SEED)
    bf16: bool | None = option(
        None,
        "What training computes in; evaluations are fp32. auto: bfloat16 where the processor has it and a few "
        "steps are faster, else fp32. The older --bf16 true is bf16, --bf16 false fp32.",
        flags=("--precision-training", "--bf16"),
        words={"auto": None, "fp32": False, "bf16": True},
    )

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
        # A machine with more memory, or more processes, may resume where another one stopped.
        values = asdict(self) | {"per_device_train_batch_size": self.rows_per_step}
        return {name: value for name, value in values.items() if name not in SPLIT}

    @property
    def epochs(self) -> int:
        """Passes over the training rows."""
        return self.num_train_epochs or DEFAULT_NUM_EPOCHS

    def for_rows(self, num_rows: int) -> "TrainingSettings":
        """Return these settings with a number of epochs: where none is given 3, but more of few rows.

        So many that there are `MIN_STEPS` steps, at most `MAX_DEFAULT_EPOCHS`.
        """
        if self.num_train_epochs is not None:
            return self
        steps_per_epoch = max(1, math.ceil(num_rows / self.rows_per_step))
        wanted = math.ceil(MIN_STEPS / steps_per_epoch)
        return replace(self, num_train_epochs=min(max(DEFAULT_NUM_EPOCHS, wanted), MAX_DEFAULT_EPOCHS))

    def __post_init__(self) -> None:
        check_numbers(self)
        # For its errors alone: a strategy without random sub-networks is refused when settings are made.
        get_strategy(self.sampling_strategy, self.num_random_sub_nets)
