"""The settings of the stages, checked when they are made. Apart from the stages so that `--help` answers at once."""

from dataclasses import dataclass

from compressor.errors import OutputError, SearchError
from compressor.search import DEFAULT_OBJECTIVES, check_objectives
from compressor.settings import TrainingSettings

DEFAULT_FINETUNE_EPOCHS = 3
"""Of distillation after extraction, at the most."""
DEFAULT_NUM_TRIALS = 20
"""Of standard NAS without a budget."""


def _require_at_least(options: object, **least: int) -> None:
    """Nothing, if each of these options is not set or not below its limit.

    Raises:
        SearchError: one is.
    """
    for name, limit in least.items():
        value = getattr(options, name)
        if value is not None and not value >= limit:
            raise SearchError(f"--{name.replace('_', '-')} must be at least {limit}, but got {value}. Raise it.")


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

    search_space: str | None = None
    """None: the one that the super-network was trained in."""
    search_strategy: str = "local_search"
    num_samples: int = 60
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    seed: int = 0
    per_device_eval_batch_size: int = 64

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        _require_at_least(self, num_samples=1, seed=0, per_device_eval_batch_size=1)


@dataclass(frozen=True, kw_only=True)
class NasOptions:
    """How sub-networks are searched that are trained one by one."""

    search_space: str = TrainingSettings.search_space
    search_strategy: str = "random_search"
    num_trials: int | None = None
    """None: as many as the time allows, or `DEFAULT_NUM_TRIALS` where that has no limit either."""
    max_wallclock_time: float | None = None
    """Seconds."""
    num_workers: int = 1
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    seed: int = 0

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        if "latency_ms" in self.objectives:
            raise SearchError(
                "--objectives of compressor nas must be of error, params and macs, but got latency_ms: trials that run "
                "side by side would time each other. Drop it, or use compressor search."
            )
        _require_at_least(self, num_trials=1, max_wallclock_time=1, num_workers=1, seed=0)
        if self.num_trials is None and self.max_wallclock_time is None:
            object.__setattr__(self, "num_trials", DEFAULT_NUM_TRIALS)


PRECISIONS = ("fp32", "int8", "fp16")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """In which forms a model is exported."""

    precision: tuple[str, ...] = ("fp32", "int8")
    portable: bool = False
    """Standard ONNX operators alone."""
    max_int8_loss: float = 0.01
    """By how much the error of int8 may exceed that of fp32."""
    register_as: str | None = None
    """The registered model in MLflow that gets a new version."""
    alias: str | None = None
    """Of that version, such as champion."""

    def __post_init__(self) -> None:
        if self.alias and not self.register_as:
            raise OutputError(
                f"--alias must be given with --register-as, but {self.alias!r} is alone. Name the registered model."
            )
        unknown = [name for name in self.precision if name not in PRECISIONS]
        if unknown or not self.precision or len(set(self.precision)) < len(self.precision):
            raise OutputError(
                f"--precision must be of {', '.join(PRECISIONS)}, but got {','.join(self.precision)!r}. "
                "Write it as fp32,int8."
            )


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is timed."""

    batch_sizes: tuple[int, ...] = (1, 8)
    lengths: tuple[int, ...] = (32, 128)
    threads: int = 1
    runs: int = 30
    provider: str = "cpu"
    """Where ONNX Runtime computes: cpu or cuda."""

    def __post_init__(self) -> None:
        for name, values in (("batch-sizes", self.batch_sizes), ("lengths", self.lengths)):
            if not values or min(values) < 1:
                raise OutputError(f"--{name} must be numbers above 0, but got {values}. Write them as 1,8.")
        if min(self.threads, self.runs) < 1:
            raise OutputError(
                f"--threads and --runs must be at least 1, but got {self.threads} and {self.runs}. Raise them."
            )
