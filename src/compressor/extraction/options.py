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
    trim_vocabulary: bool = False
    """Whether tokens go that occur neither in the training nor in the validation rows."""
    vocabulary_file: str | None = None
    """A text file, a text per line, whose tokens are kept too."""
    vocabulary_min_count: int = 1
    """How often a token must occur to be kept."""
    vocabulary_extra: int = 0
    """How many of the other tokens are kept besides, the most frequent ones."""

    def __post_init__(self) -> None:
        numbers = ("finetune_epochs", "per_device_eval_batch_size", "vocabulary_min_count", "vocabulary_extra")
        check_numbers(self, numbers)
