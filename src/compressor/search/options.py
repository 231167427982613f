"""The options of searches and of choosing from their fronts, checked when they are made. Nothing heavy is imported."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from compressor.evaluation.bounds import CONFIDENCE
from compressor.evaluation.latency_table import LATENCIES_OF, PYTORCH, SERVED, LatencyKind
from compressor.limits import LIMITS, Problem, check_numbers, refuse, show
from compressor.search.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, check_objectives, cost_names
from compressor.training.settings import TrainingSettings

DEFAULT_NUM_TRIALS = 20
"""Of standard NAS without a budget."""
SMALL_INCREASE = 0.015
"""Of the error: what the default choice loses at most."""
LATENCY_OBJECTIVE, DEFAULT_LATENCY_OF = "latency_ms", SERVED[0]
"""How fast a sub-network is; and what that is of: the form that is served unless a smaller one is asked for."""
LATENCY_NUMBERS = ("threads", "batch_size", "length")
"""The fields of `LatencyOptions` that are numbers."""


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """Of what the objective `latency_ms` is; all None where it is none."""

    latency_of: str | None = None
    """Of `LATENCIES_OF`; None: `DEFAULT_LATENCY_OF`."""
    threads: int | None = None
    """None: one."""
    batch_size: int | None = None
    """Texts that are computed at once; None: one."""
    length: int | None = None
    """Tokens of each; None: those of the median validation row."""

    def latency_kind(self, objectives: Sequence[str], median_length: int, longest: int) -> LatencyKind | None:
        """Return what is timed of a model that takes so long a text; None where it is no objective."""
        if LATENCY_OBJECTIVE not in objectives:
            return None
        return LatencyKind(
            latency_of=self.latency_of or DEFAULT_LATENCY_OF,
            threads=self.threads or 1,
            batch_size=self.batch_size or 1,
            length=min(self.length or median_length, longest),
        )

    def _latency_problems(self, objectives: Sequence[str]) -> list[Problem]:
        """What is wrong with these options, numbers beyond their limits left out."""
        given = [f"--{name.replace('_', '-')}" for name in LATENCY_NUMBERS if getattr(self, name) is not None]
        given = [*(["--latency-of"] if self.latency_of is not None else []), *given]
        if LATENCY_OBJECTIVE not in objectives:
            return [
                Problem(
                    option=option,
                    law=f"given with the objective {LATENCY_OBJECTIVE}",
                    value=f"--objectives {','.join(objectives)}",
                    remedy=f"Add --objectives error,{LATENCY_OBJECTIVE}.",
                )
                for option in given[:1]
            ]
        if self.latency_of is None or self.latency_of in LATENCIES_OF:
            return []
        return [
            Problem(
                option="--latency-of",
                law=f"one of {', '.join(LATENCIES_OF)}",
                value=repr(self.latency_of[:100]),
                remedy="Choose one of them.",
            )
        ]


@dataclass(frozen=True, kw_only=True)
class SearchOptions(LatencyOptions):
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
        numbers = ("num_samples", "seed", "per_device_eval_batch_size", *LATENCY_NUMBERS)
        check_numbers(self, numbers, self._latency_problems(self.objectives))


@dataclass(frozen=True, kw_only=True)
class NasOptions(LatencyOptions):
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
        wrong = self._latency_problems(self.objectives)
        if self.latency_of == PYTORCH and not wrong:
            wrong.append(
                Problem(
                    option="--latency-of of compressor nas",
                    law=f"one of {', '.join(SERVED)}",
                    value=f"{PYTORCH}: trials that run side by side would time each other",
                    remedy="Choose another, or use compressor search.",
                )
            )
        check_numbers(self, ("num_trials", "max_wallclock_time", "num_workers", "seed", *LATENCY_NUMBERS), wrong)
        if self.num_trials is None and self.max_wallclock_time is None:
            object.__setattr__(self, "num_trials", DEFAULT_NUM_TRIALS)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How members are chosen; at most one way. None is the smallest that surely loses at most 0.015 of error."""

    knee: bool = False
    """The front member farthest below the line between the front's ends, objectives scaled to 0..1."""
    index: int | None = None
    """Place on the front, by rising error, from 0."""
    max_params: float | None = None
    """Parameters; up to 1 a share of the super-network's."""
    max_error_increase: float | None = None
    """Of the true error above the super-network's, with `confidence`."""
    confidence: float = CONFIDENCE
    """That the increase is no larger."""
    max_latency_ms: float | None = None
    max_cost: tuple[str, float] | None = None
    """An objective's name and the most of it, such as ("size_mb", 20)."""
    config: str | None = None
    """A JSON file: a config of the search space, or kept heads and units as in `sub_network.json`."""
    all: bool = False
    """The whole front."""
    tiers: tuple[str, ...] = ()
    """Names, from the smallest to the largest, spread over the front by size; or each with the most parameters, up to
    1 a share of the super-network's: small=0.4."""

    def __post_init__(self) -> None:
        ways = [field.name for field in fields(self) if field.name != "confidence"]
        given = [f"--{name.replace('_', '-')}" for name in ways if self._is_given(name)]
        wrong = []
        if len(given) > 1:
            wrong.append(
                Problem(option="one way to choose", law="given", value=" and ".join(given), remedy="Drop all but one.")
            )
        names = [tier.partition("=")[0] for tier in self.tiers]
        unfit = [name for name in names if not re.fullmatch(r"[^\W_][\w-]{0,49}", name)]
        if len(set(names)) < len(names) or unfit:
            wrong.append(
                Problem(
                    option="--tiers",
                    law="different names of letters and digits, up to 50 of them",
                    value=repr(",".join(self.tiers)[:100]),
                    remedy="Write them as S,M,L.",
                )
            )
        elif "=" in "".join(self.tiers) and None in self.tier_sizes.values():
            wrong.append(
                Problem(
                    option="--tiers",
                    law="names alone, or each with its most parameters, above 0",
                    value=repr(",".join(self.tiers)[:100]),
                    remedy="Write them as S,M,L or small=0.4,large=0.8.",
                )
            )
        if self.max_cost is not None and not (self.max_cost[0] in cost_names() and self.max_cost[1] > 0):
            wrong.append(
                Problem(
                    option="--max-cost",
                    law=f"one of {', '.join(cost_names())} and a number above 0",
                    value=repr(f"{self.max_cost[0]}={show(self.max_cost[1])}"[:100]),
                    remedy="Write it as size_mb=20.",
                )
            )
        check_numbers(self, ("index", "max_params", "max_error_increase", "confidence", "max_latency_ms"), wrong)

    @property
    def tier_sizes(self) -> dict[str, float | None]:
        """The tiers by name, each with the most parameters it may have; None where no number above 0 says it."""
        given = {name: size for name, _, size in (tier.partition("=") for tier in self.tiers)}
        return {name: _size(text) for name, text in given.items()}

    @property
    def most(self) -> tuple[str, str, float] | None:
        """The option that limits a cost, the name of the number that it limits, and the limit; None without one."""
        if self.max_params is not None:
            return "--max-params", "relative_params" if self.max_params <= 1 else "params", self.max_params
        if self.max_latency_ms is not None:
            return "--max-latency-ms", "latency_ms", self.max_latency_ms
        return None if self.max_cost is None else ("--max-cost", *self.max_cost)

    def _is_given(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and value is not False and value != ()  # an index of 0 is given

    @property
    def several(self) -> bool:
        """Whether more than one model is made, each in a folder of its own."""
        return self.all or bool(self.tiers)


def _size(text: str) -> float | None:
    """A number of parameters, or up to 1 a share; None for a text that says none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value <= LIMITS["max_params"].most else None


def require_fit(choice: Choice, objectives: Sequence[str], num_samples: int) -> None:
    """Raise where no search with these objectives and so many samples can give what the choice asks for.

    Raises:
        OptionError: it cannot.
    """
    problems = []
    option, cost, _ = choice.most or ("", "", 0.0)
    if cost in OBJECTIVES and OBJECTIVES[cost].timed and cost not in objectives:
        problems.append(
            Problem(
                option=option,
                law=f"given with the objective {cost}",
                value=f"--objectives {','.join(objectives)}",
                remedy=f"Add --objectives error,{cost}.",
            )
        )
    if choice.index is not None and choice.index >= num_samples:
        problems.append(
            Problem(
                option="--index",
                law=f"below --num-samples, {num_samples}",
                value=str(choice.index),
                remedy="Lower it, or search for longer.",
            )
        )
    refuse(problems)
