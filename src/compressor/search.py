"""The multi-objective search for sub-networks that no other beats in both error and size.

The loop is ask/tell: a method proposes a config, the sub-network behind it is evaluated once, its objectives are told.
A sub-network that was evaluated before is answered from the results and does not count. The full super-network is
always the first result, so that every trade-off is read against it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from compressor.errors import SearchError
from compressor.pareto import compute_hypervolume, find_front
from compressor.progress import bar_interval
from compressor.search_methods import create_scheduler
from compressor.search_spaces import Config, SearchSpace
from compressor.sub_network import SubNetwork, full_sub_network

if TYPE_CHECKING:
    from compressor.costs import CostModel

OBJECTIVES = ("error", "params", "macs", "latency_ms")
"""What a search can minimise; two or three of them."""
DEFAULT_OBJECTIVES = ("error", "params")
REFERENCE = 1.0
"""Every coordinate of the hypervolume's reference point: an error of 1, the costs of the full super-network."""
_MAX_REPEATS = 100_000
"""Proposals in a row that were evaluated before, after which a method is taken to be exhausted."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedSubNetwork:
    """One evaluated sub-network."""

    index: int
    """Position in the search, from 0; 0 is the full super-network."""
    config: Config | None
    """Its point in the search space; None where the super-network itself lies outside."""
    sub_network: SubNetwork
    error: float
    """1 − metric on the validation rows."""
    params: int
    relative_params: float
    encoder_params: int
    relative_encoder_params: float
    eval_seconds: float
    macs: float | None = None
    """Multiply-accumulates for one text, where they are an objective."""
    latency_ms: float | None = None
    """Median time of the sliced sub-network, where it is an objective."""
    error_interval: tuple[float, float] | None = None
    """95 % interval of the error, from the rows it was measured on; front members only."""
    on_front: bool = False
    test_error: float | None = None
    """1 − metric on the test rows; front members only."""

    @property
    def name(self) -> str:
        """The run name: subnet-007."""
        return f"subnet-{self.index:03d}"

    def to_json(self) -> dict[str, Any]:
        """The fields by name; the sub-network as its config and hash."""
        fields = asdict(replace(self, sub_network=None))  # type: ignore[arg-type]
        return fields | {
            "sub_network": self.sub_network.hash,
            "num_layers": self.sub_network.num_layers,
            "num_heads": self.sub_network.num_heads,
            "num_units": self.sub_network.num_units,
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Everything a search evaluated."""

    evaluations: tuple[EvaluatedSubNetwork, ...]
    hypervolumes: tuple[float, ...]
    """After each evaluation, of `relative_objectives` up to `REFERENCE` in each."""
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES

    @property
    def front(self) -> list[EvaluatedSubNetwork]:
        """The Pareto front, by rising first objective."""
        points = relative_objectives(self.evaluations, self.objectives)
        return [self.evaluations[index] for index in find_front(points)]


def relative_objectives(
    evaluations: Sequence[EvaluatedSubNetwork], objectives: Sequence[str]
) -> list[tuple[float, ...]]:
    """Points [evaluations, objectives]: the error as it is, costs as shares of the first evaluation's, the full one."""
    full = evaluations[0]
    return [
        tuple(e.error if name == "error" else getattr(e, name) / getattr(full, name) for name in objectives)
        for e in evaluations
    ]


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """The objectives, if a search can minimise them.

    Raises:
        SearchError: there are not two or three different ones, or one is unknown.
    """
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not 2 <= len(set(objectives)) == len(objectives) <= 3:
        raise SearchError(
            f"--objectives must be two or three of {', '.join(OBJECTIVES)}, but got {','.join(objectives)!r}. "
            "Write them as error,params."
        )
    return tuple(objectives)


def run_search(
    space: SearchSpace,
    cost_model: "CostModel",
    evaluate: Callable[[SubNetwork], float],
    *,
    objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    measure: Callable[[SubNetwork], dict[str, float]] | None = None,
    method: str = "random_search",
    num_samples: int = 60,
    seed: int = 0,
    on_evaluation: Callable[[EvaluatedSubNetwork, float], None] | None = None,
) -> SearchResult:
    """The result of `num_samples` evaluations (fewer where the space holds fewer), front marked.

    `evaluate` gives a sub-network's validation error, `measure` those of `macs` and `latency_ms` that are objectives;
    `on_evaluation` gets each result with the hypervolume so far.

    Raises:
        SearchError: there is no such method, or `num_samples` is below 1.
    """
    if num_samples < 1:
        raise SearchError(f"--num-samples must be at least 1, but got {num_samples}. Raise it.")
    full = full_sub_network(space.dimensions)
    initial = _initial_design(space)
    objectives = check_objectives(objectives)
    reference = [REFERENCE] * len(objectives)
    scheduler = create_scheduler(method, space, objectives, initial, seed)
    evaluations: list[EvaluatedSubNetwork] = []
    hypervolumes: list[float] = []
    known: dict[str, EvaluatedSubNetwork] = {}

    def evaluate_once(config: Config | None, sub_network: SubNetwork) -> EvaluatedSubNetwork:
        start = time.perf_counter()
        error = evaluate(sub_network)
        measured: dict[str, Any] = dict(measure(sub_network)) if measure is not None else {}
        costs = asdict(cost_model.costs(sub_network))
        evaluation = EvaluatedSubNetwork(
            index=len(evaluations),
            config=config,
            sub_network=sub_network,
            error=error,
            eval_seconds=time.perf_counter() - start,
            **costs,
            **measured,
        )
        evaluations.append(evaluation)
        known[sub_network.hash] = evaluation
        hypervolumes.append(compute_hypervolume(relative_objectives(evaluations, objectives), reference))
        if on_evaluation is not None:
            on_evaluation(evaluation, hypervolumes[-1])
        bar.update()
        bar.set_postfix(hypervolume=f"{hypervolumes[-1]:.4f}", refresh=False)
        return evaluation

    with tqdm(total=min(num_samples, space.size), unit="subnet", desc="search", mininterval=bar_interval()) as bar:
        if full != space.largest:
            evaluate_once(None, full)
        repeats = 0
        while len(evaluations) < num_samples and repeats < _MAX_REPEATS and _num_inside(evaluations) < space.size:
            trial = scheduler.ask()
            sub_network = space.from_config(trial.config)
            found = known.get(sub_network.hash)
            repeats = repeats + 1 if found else 0
            evaluation = found or evaluate_once(dict(trial.config), sub_network)
            scheduler.tell(trial, {name: getattr(evaluation, name) for name in objectives})
    front = set(find_front(relative_objectives(evaluations, objectives)))
    return SearchResult(
        evaluations=tuple(replace(e, on_front=e.index in front) for e in evaluations),
        hypervolumes=tuple(hypervolumes),
        objectives=objectives,
    )


def _num_inside(evaluations: list[EvaluatedSubNetwork]) -> int:
    return sum(1 for evaluation in evaluations if evaluation.config is not None)


def _initial_design(space: SearchSpace) -> list[Config]:
    """The largest, the smallest and a middle sub-network of the space: every method starts from them."""
    return [space.to_config(sub_network) for sub_network in (space.largest, space.smallest, space.middle)]
