"""The options of an extraction, checked when they are made. Nothing heavy is imported."""

from dataclasses import dataclass

from compressor.limits import check_numbers


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How a sub-network is extracted."""

    finetune_epochs: int = 3
    """The most epochs of distillation, which ends with the first that is no better; 0 for none."""
    per_device_eval_batch_size: int = 64
    """Rows of a batch in which errors are measured; the search's own repeats its errors exactly."""

    def __post_init__(self) -> None:
        check_numbers(self, ("finetune_epochs", "per_device_eval_batch_size"))
