"""The options of an extraction, checked when they are made. Nothing heavy is imported."""

from dataclasses import dataclass

from compressor.options import Limit, check_numbers, limited, option
from compressor.search.options import NUM_RIVALS
from compressor.training.settings import BATCH, EPOCHS, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How a sub-network is extracted."""

    finetune_epochs: int = option(
        3,
        "Most epochs of distillation after extraction: one, and the others where it has helped; 0 for none. The best "
        "is kept.",
        limit=Limit(least=0, most=10_000, reason=EPOCHS),
    )
    num_candidates: int = option(
        0,
        "Other members of the front that are distilled for an epoch too, 3 say: the smallest that then holds the "
        "promise of the one chosen by its error, or the best within its cost, takes its place.",
        limit=Limit(least=0, most=NUM_RIVALS, reason="each is trained for an epoch"),
    )
    per_device_eval_batch_size: int = limited(TrainingSettings.per_device_eval_batch_size, BATCH)
    """Rows of a batch in which errors are measured; the search's own repeats its errors exactly."""
    trim_vocabulary: bool = option(
        False,
        "Drop tokens that occur neither in the training nor in the validation rows, with their embeddings. "
        "Characters and bytes stay, so that every text can be written.",
    )
    vocabulary_file: str | None = option(None, "Text file, a text per line, whose tokens are kept too.", path=True)
    vocabulary_min_count: int = option(
        1,
        "How often a token must occur to be kept.",
        limit=Limit(least=1, most=10**9, reason="a token that never occurs is not needed"),
    )
    vocabulary_extra: int = option(
        0,
        "So many of the other tokens are kept too, the most frequent first.",
        limit=Limit(least=0, most=10**7, reason="no vocabulary has more tokens"),
    )

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def reads_unlabeled(self) -> bool:
        """Whether texts without labels count: a distillation learns them, and a vocabulary keeps their tokens."""
        return self.finetune_epochs > 0 or self.trim_vocabulary
