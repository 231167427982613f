"""The settings of the stages, checked when they are made. Apart from the stages so that `--help` answers at once."""

from dataclasses import dataclass

from compressor.limits import Problem, check_numbers
from compressor.search.loop import DEFAULT_OBJECTIVES, check_objectives
from compressor.training.settings import TrainingSettings
from exporters.options import ExportOptions

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


@dataclass(frozen=True, kw_only=True)
class LoggedExportOptions(ExportOptions):
    """How a model is exported, and under which name MLflow's registry gets it."""

    register_as: str | None = None
    """The registered model in MLflow that gets a new version."""
    alias: str | None = None
    """Of that version, such as champion."""

    def _problems(self) -> list[Problem]:
        alone = [
            Problem(
                option="--alias",
                law="given with --register-as",
                value=f"{self.alias!r} alone",
                remedy="Name the registered model.",
            )
        ]
        return [*(alone if self.alias and not self.register_as else []), *super()._problems()]
