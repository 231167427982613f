"""The settings of the stages, checked when they are made. Apart from the stages so that `--help` answers at once."""

from dataclasses import dataclass

from compressor.evaluation.bounds import CONFIDENCE
from compressor.limits import LIMITS, Problem, check_numbers, show
from compressor.search.loop import DEFAULT_OBJECTIVES, check_objectives
from compressor.training.settings import TrainingSettings

DEFAULT_FINETUNE_EPOCHS = 3
"""Of distillation after extraction, at the most."""
DEFAULT_NUM_TRIALS = 20
"""Of standard NAS without a budget."""


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
        check_numbers(self, ("num_samples", "seed", "per_device_eval_batch_size"))


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
        wrong = [
            Problem(
                option="--objectives of compressor nas",
                law="of error, params and macs",
                value=f"{name}: trials that run side by side would time each other",
                remedy="Drop it, or use compressor search.",
            )
            for name in self.objectives
            if name == "latency_ms"
        ]
        check_numbers(self, ("num_trials", "max_wallclock_time", "num_workers", "seed"), wrong)
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
    """By how much the true error of int8 may exceed that of fp32, with `confidence`."""
    confidence: float = CONFIDENCE
    """That int8 loses no more."""
    register_as: str | None = None
    """The registered model in MLflow that gets a new version."""
    alias: str | None = None
    """Of that version, such as champion."""

    def __post_init__(self) -> None:
        wrong = []
        if self.alias and not self.register_as:
            wrong.append(
                Problem(
                    option="--alias",
                    law="given with --register-as",
                    value=f"{self.alias!r} alone",
                    remedy="Name the registered model.",
                )
            )
        if set(self.precision) - set(PRECISIONS) or len(set(self.precision)) != max(1, len(self.precision)):
            wrong.append(
                Problem(
                    option="--precision",
                    law=f"of {', '.join(PRECISIONS)}, each once",
                    value=repr(",".join(self.precision)[:100]),
                    remedy="Write it as fp32,int8.",
                )
            )
        check_numbers(self, ("max_int8_loss", "confidence"), wrong)


MAX_TOKENS = 2**20
"""Of a timed batch."""


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
        given = {"--batch-sizes": self.batch_sizes, "--lengths": self.lengths}
        wrong = [
            Problem(
                option=option,
                law="different numbers",
                value=",".join(map(show, values)),
                remedy="Write them as 1,8.",
            )
            for option, values in given.items()
            if len(set(values)) != max(1, len(values))
        ]
        largest, longest = max(self.batch_sizes, default=0), max(self.lengths, default=0)
        fine = largest <= LIMITS["batch_sizes"].most and longest <= LIMITS["lengths"].most
        if fine and largest * longest > MAX_TOKENS:
            wrong.append(
                Problem(
                    option="the largest of --batch-sizes times the longest of --lengths",
                    law=f"at most {MAX_TOKENS:,} tokens",
                    value=f"{largest} times {longest}",
                    remedy="Lower one of them.",
                )
            )
        check_numbers(self, ("batch_sizes", "lengths", "threads", "runs"), wrong)
