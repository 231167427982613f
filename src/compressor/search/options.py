"""The options of searches and of choosing from their fronts, checked when they are made. Nothing heavy is imported."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from compressor.cluster.options import TrialsOnCluster
from compressor.evaluation.bounds import CONFIDENCE
from compressor.evaluation.latency_table import LATENCIES_OF, PYTORCH, SERVED, LatencyKind
from compressor.options import (
    CPU_CORES,
    Limit,
    Problem,
    check_numbers,
    find_limits,
    find_options,
    flags_of,
    option,
    option_like,
    refuse,
    show,
)
from compressor.search.methods import ONE_BY_ONE, SEARCH_METHODS, TRIAL_METHODS, require_fitting_space
from compressor.search.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, check_objectives, cost_names
from compressor.training.settings import TrainingSettings

DEFAULT_NUM_TRIALS = 20
"""Trials of standard NAS without a budget."""
NUM_RIVALS = 24
"""Most members that may take a chosen one's place: a front has a few dozen, and each that is tried is trained."""
SMALL_INCREASE = 0.015
"""An increase of the error: what the default choice loses at most."""
LATENCY_OBJECTIVE, DEFAULT_LATENCY_OF = "latency_ms", SERVED[0]
"""How fast a sub-network is; and what that is of: the form that is served unless a smaller one is asked for."""
THREADS = Limit(least=1, most=CPU_CORES, reason="the cores of this machine: more threads wait for each other")
_LATENCY_OF = "What the objective latency_ms is of: the model as it is served, predicted from parts that are timed once"
ERRORS = "errors lie in 0..1, those of correlations in 0..2"


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """Of what the objective `latency_ms` is; all None where it is none."""

    latency_of: str | None = option(
        None,
        f"{_LATENCY_OF}, or PyTorch, each sub-network timed. Default: {DEFAULT_LATENCY_OF}.",
        choices=LATENCIES_OF,
    )
    threads: int | None = option(None, "Threads that latency_ms is of. Default: 1.", limit=THREADS)
    batch_size: int | None = option(
        None,
        "Texts at once that latency_ms is of. Default: 1.",
        limit=Limit(least=1, most=1024, reason="texts that are computed at once"),
    )
    length: int | None = option(
        None,
        "Tokens of each text that latency_ms is of. Default: those of the median validation row.",
        limit=Limit(least=1, most=100_000, reason="tokens; cut to what the model takes"),
    )

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
        """Return what is wrong with these options, numbers beyond their limits left out."""
        given = [flags_of(name)[0] for name in find_options(LatencyOptions) if getattr(self, name) is not None]
        # Without the objective they would have no effect; naming the first of them is enough.
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

    search_space: str | None = option_like(
        TrainingSettings,
        "search_space",
        default=None,
        help="Which sub-networks exist. Default: those of the super-network's training.",
    )
    search_strategy: str = option(
        "local_search",
        "How the next sub-network is proposed.",
        flags=("--search-strategy", "--method"),
        choices=tuple(SEARCH_METHODS),
    )
    num_samples: int = option(
        60,
        "Sub-networks to evaluate, the full one included.",
        limit=Limit(least=1, most=100_000, reason="each is a run in MLflow"),
    )
    objectives: tuple[str, ...] = option(
        DEFAULT_OBJECTIVES, f"What is minimised: two or three of {', '.join(OBJECTIVES)}."
    )
    batch_of_proposals: int | None = option(
        None,
        "Sub-networks that the method proposes at once, before it gets their results: more work for a cluster at a "
        "time, but each proposal knows less. Default: 1.",
        limit=Limit(least=1, most=10_000, reason="none of a batch learns from the others"),
    )
    seed: int = option_like(TrainingSettings, "seed")
    per_device_eval_batch_size: int = option_like(TrainingSettings, "per_device_eval_batch_size")

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        wrong = self._latency_problems(self.objectives)
        if (self.batch_of_proposals or 1) > 1 and self.search_strategy in ONE_BY_ONE:
            wrong.append(
                Problem(
                    option=f"--batch-of-proposals of {self.search_strategy}",
                    law="1, as it bases each proposal on all that were evaluated",
                    value=str(self.batch_of_proposals),
                    remedy="Lower it, or choose another --search-strategy.",
                )
            )
        check_numbers(self, wrong)
        if self.search_space is not None:
            require_fitting_space(self.search_strategy, self.search_space)


@dataclass(frozen=True, kw_only=True)
class NasOptions(LatencyOptions):
    """How sub-networks are searched that are trained one by one."""

    latency_of: str | None = option_like(
        LatencyOptions,
        "latency_of",
        help=f"{_LATENCY_OF}. Default: {DEFAULT_LATENCY_OF}.",
        choices=SERVED,
    )
    search_space: str = option_like(TrainingSettings, "search_space")
    search_strategy: str = option_like(
        SearchOptions, "search_strategy", default="random_search", choices=tuple(TRIAL_METHODS)
    )
    num_trials: int | None = option(
        None,
        f"Sub-networks to train, the full one included. Default: {DEFAULT_NUM_TRIALS}, or what the time allows.",
        limit=Limit(least=1, most=10_000, reason="each trains a model"),
    )
    max_wallclock_time: float | None = option(
        None,
        "Seconds after which no trial continues. Default: no limit.",
        flags=("--max-wallclock-time", "--runtime"),
        limit=Limit(least=1, most=31_536_000, reason="seconds; the most is a year"),
    )
    num_workers: int = option(
        1,
        "Trials that run side by side.",
        limit=Limit(least=1, most=256, reason="each is a process with a model of its own"),
    )
    objectives: tuple[str, ...] = option_like(SearchOptions, "objectives")
    seed: int = option_like(TrainingSettings, "seed")

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
        check_numbers(self, wrong)
        require_fitting_space(self.search_strategy, self.search_space)
        if self.num_trials is None and self.max_wallclock_time is None:
            # The class is frozen. Not a default of the field: with a limit of time alone there is none.
            object.__setattr__(self, "num_trials", DEFAULT_NUM_TRIALS)


@dataclass(frozen=True, kw_only=True)
class SearchOnCluster:
    """Where the sub-networks of a search are evaluated; what comes out does not depend on it."""

    ray: str | None = option_like(TrialsOnCluster, "ray")
    num_workers: int | None = option_like(
        NasOptions,
        "num_workers",
        default=None,
        help="With --ray: processes that evaluate, each with the super-network. Default: one for each GPU of the "
        "cluster, or else for each CPU.",
    )

    def __post_init__(self) -> None:
        alone = self.ray is None and self.num_workers is not None
        wrong = Problem(
            option="--num-workers", law="given with --ray", value="it alone", remedy="Add --ray, or drop it."
        )
        check_numbers(self, [wrong] if alone else [])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How members are chosen; at most one way. None is the smallest that surely loses at most 0.015 of error."""

    knee: bool = option(
        False,
        f"The front's knee. Without any choice: --max-error-increase {SMALL_INCREASE}.",
    )
    index: int | None = option(
        None,
        "Place on the front, from 0 by rising error: the index of the search's table.",
        limit=Limit(least=0, most=100_000, reason="a place on the front, from 0"),
    )
    max_params: float | None = option(
        None,
        "Smallest error with at most so many parameters; up to 1 a share of the super-network's.",
        limit=Limit(least=0, above=True, most=1e12, reason="a number of parameters, or up to 1 a share"),
    )
    max_error_increase: float | None = option(
        None,
        "Smallest whose true error is at most so far above the super-network's, as sure as --confidence says; "
        "the super-network itself where the validation rows cannot tell.",
        limit=Limit(least=-2, most=2, reason=f"below 0 it is to be better; {ERRORS}"),
    )
    confidence: float = option(
        CONFIDENCE,
        "Of what is promised about the error, from 0.5 to below 1.",
        limit=Limit(least=0.5, most=0.999, reason="a chance; rows of a sample never give certainty"),
    )
    max_latency_ms: float | None = option(
        None,
        "Smallest error with at most so many ms; the search needs the objective latency_ms.",
        limit=Limit(least=0, above=True, most=3_600_000, reason="milliseconds; the most is an hour"),
    )
    max_cost: tuple[str, float] | None = option(
        None, f"Smallest error with at most so much of one of {', '.join(cost_names())}: size_mb=20."
    )
    config: str | None = option(None, "JSON file with a config of the search space, or a sub_network.json.", path=True)
    all: bool = option(False, "The whole front, each in a folder of its own.")
    tiers: tuple[str, ...] = option(
        (),
        "A family: so many of the front, spread by size, smallest first: S,M,L; or each as --max-params has it: "
        "small=0.4,large=0.8.",
    )

    def __post_init__(self) -> None:
        # All fields but the one that only says how sure a way has to be.
        ways = [field.name for field in fields(self) if field.name != "confidence"]
        given = [flags_of(name)[0] for name in ways if self._is_given(name)]
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
        # Sizes are looked at where the names are fine: one error for one mistake.
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
        check_numbers(self, wrong)

    @property
    def tier_sizes(self) -> dict[str, float | None]:
        """The tiers by name, each with the most parameters it may have; None where no number above 0 says it."""
        given = {name: size for name, _, size in (tier.partition("=") for tier in self.tiers)}
        return {name: _size(text) for name, text in given.items()}

    @property
    def limited_cost(self) -> tuple[str, str, float] | None:
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
    """Return a number of parameters, or up to 1 a share; None for a text that says none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value <= find_limits(Choice)["max_params"].most else None


def require_reachable(choice: Choice, objectives: Sequence[str], num_samples: int) -> None:
    """Raise where no search with these objectives and so many samples can give what the choice asks for.

    Raises:
        OptionError: it cannot.
    """
    problems = []
    option, cost, _ = choice.limited_cost or ("", "", 0.0)
    # Costs that are timed are known only where they were an objective; counted ones can be told afterwards.
    if cost in OBJECTIVES and OBJECTIVES[cost].timed and cost not in objectives:
        problems.append(
            Problem(
                option=option,
                law=f"given with the objective {cost}",
                value=f"--objectives {','.join(objectives)}",
                remedy=f"Add --objectives error,{cost}.",
            )
        )
    # A front has at most as many members as sub-networks were evaluated.
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
