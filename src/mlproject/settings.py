"""The settings of the stages, checked when they are made. Apart from `stages` so that `--help` answers at once."""

from dataclasses import dataclass

from compressor.errors import OutputError, SearchError
from compressor.search import DEFAULT_OBJECTIVES, check_objectives


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which encoder is trained and how it is loaded."""

    model_name_or_path: str = "demo"
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    save_checkpoints: bool = True


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How sub-networks are searched."""

    search_space: str = "small"
    search_strategy: str = "random_search"
    num_samples: int = 60
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    seed: int = 0
    per_device_eval_batch_size: int = 64

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        if self.num_samples < 1:
            raise SearchError(f"--num-samples must be at least 1, but got {self.num_samples}. Raise it.")
        if self.seed < 0:
            raise SearchError(f"--seed must be at least 0, but got {self.seed}. Correct it.")
        if self.per_device_eval_batch_size < 1:
            raise SearchError(
                f"--per-device-eval-batch-size must be at least 1, but got {self.per_device_eval_batch_size}. Raise it."
            )


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is timed."""

    batch_sizes: tuple[int, ...] = (1, 8)
    lengths: tuple[int, ...] = (32, 128)
    threads: int = 1
    runs: int = 30

    def __post_init__(self) -> None:
        for name, values in (("batch-sizes", self.batch_sizes), ("lengths", self.lengths)):
            if not values or min(values) < 1:
                raise OutputError(f"--{name} must be numbers above 0, but got {values}. Write them as 1,8.")
        if min(self.threads, self.runs) < 1:
            raise OutputError(f"--threads and --runs must be at least 1, but got {self.threads} and {self.runs}.")
