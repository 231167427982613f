"""The multi-objective search for sub-networks that no other beats in both error and size.

The loop is ask/tell: a method proposes a config, the sub-network behind it is evaluated once, its objectives are told.
A sub-network that was evaluated before is answered from the results and does not count. The full super-network is
always the first result, so that every trade-off is read against it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from compressor.data.trivial import TrivialPredictor, is_useful
from compressor.errors import SearchError
from compressor.limits import check_number
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.progress import progress_bar
from compressor.search.methods import MAX_REPEATS
from compressor.search.pareto import compute_hypervolume, find_front
from compressor.spaces.space import Config, SearchSpace

if TYPE_CHECKING:
    from compressor.network.costs import CostModel

OBJECTIVES = ("error", "params", "macs", "latency_ms")
"""What a search can minimise; two or three of them."""
DEFAULT_OBJECTIVES = ("error", "params")
REFERENCE = 1.0
"""Every coordinate of the hypervolume's reference point: an error of 1, the costs of the full super-network."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedSubNetwork:
    """One evaluated sub-network."""

    index: int
    """Position in the result, from 0."""
    name: str
    """Its run's name, such as subnet-007."""
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
    """Multiply-accumulates for one text of the median length."""
    latency_ms: float | None = None
    """Median time of the sliced sub-network, where it is an objective."""
    error_interval: tuple[float, float] | None = None
    """95 % interval of the error, from the rows it was measured on; front members only."""
    on_front: bool = False
    test_error: float | None = None
    """1 − metric on the test rows; front members only."""
    epochs: int | None = None
    """Epochs it was trained alone; None where the weights are the super-network's."""
    model: str | None = None
    """Directory of its own trained weights, from the result's; None where the weights are the super-network's."""

    @property
    def error_range(self) -> tuple[float, float]:
        """The error's 95 % interval, or the error twice where none is known."""
        return self.error_interval or (self.error, self.error)

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
    full_costs: Mapping[str, float]
    """The full super-network's costs, those that are objectives."""
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    interrupted: bool = False
    """Whether the user stopped it before it was done."""
    trivial: TrivialPredictor | None = None
    """What knows the labels but no text; None where an older version wrote the result."""

    @property
    def front(self) -> list[EvaluatedSubNetwork]:
        """The Pareto front, by rising first objective."""
        points = relative_objectives(self.evaluations, self.objectives, self.full_costs)
        return [self.evaluations[index] for index in find_front(points)]

    @property
    def full(self) -> EvaluatedSubNetwork | None:
        """The full super-network; a search has it always, standard NAS unless its trial was cut short."""
        return next((e for e in self.evaluations if e.relative_encoder_params == 1), None)

    @property
    def useless(self) -> list[int]:
        """Places on the front of members that are no better than the trivial predictor."""
        return [place for place, member in enumerate(self.front) if not is_useful(member.error_range, self.trivial)]

    @property
    def notable(self) -> set[str]:
        """The names of the front's members and of the full super-network."""
        return {member.name for member in (*self.front, self.full) if member is not None}


def relative_objectives(
    evaluations: Sequence[EvaluatedSubNetwork], objectives: Sequence[str], full_costs: Mapping[str, float]
) -> list[tuple[float, ...]]:
    """Points [evaluations, objectives]: the error as it is, costs as shares of the full super-network's."""
    return [
        tuple(e.error if name == "error" else getattr(e, name) / full_costs[name] for name in objectives)
        for e in evaluations
    ]


def summarise(
    evaluations: Sequence[EvaluatedSubNetwork],
    hypervolumes: Sequence[float],
    objectives: tuple[str, ...],
    full_costs: Mapping[str, float],
) -> SearchResult:
    """The result with the front marked."""
    front = set(find_front(relative_objectives(evaluations, objectives, full_costs))) if evaluations else set()
    return SearchResult(
        evaluations=tuple(replace(e, on_front=e.index in front) for e in evaluations),
        hypervolumes=tuple(hypervolumes),
        full_costs=full_costs,
        objectives=objectives,
    )


def hypervolume_of(
    evaluations: Sequence[EvaluatedSubNetwork], objectives: Sequence[str], full_costs: Mapping[str, float]
) -> float:
    """What the evaluations dominate, up to `REFERENCE` in each of `relative_objectives`."""
    points = relative_objectives(evaluations, objectives, full_costs)
    return compute_hypervolume(points, [REFERENCE] * len(objectives))


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
    recorded: Mapping[str, Mapping[str, Any]] | None = None,
) -> SearchResult:
    """The result of `num_samples` evaluations (fewer where the space holds fewer), front marked.

    `recorded` are evaluations of an earlier, interrupted search by the sub-network's hash, as `to_json` writes them:
    they are told to the method in their turn and not made again, so that the search goes on as if nothing had been.

    `evaluate` gives a sub-network's validation error, `measure` those of `macs` and `latency_ms` that are objectives;
    `on_evaluation` gets each result with the hypervolume so far. An interruption by the user ends the search, marked in
    the result, once anything was evaluated.

    Raises:
        SearchError: there is no such method.
        OptionError: `num_samples` is out of its range.
    """
    from compressor.search.schedulers import create_scheduler

    check_number("num_samples", num_samples)
    full = full_sub_network(space.dimensions)
    objectives = check_objectives(objectives)
    scheduler = create_scheduler(method, space, objectives, initial_design(space), seed)
    full_costs: dict[str, float] = {}
    interrupted = False
    evaluations: list[EvaluatedSubNetwork] = []
    hypervolumes: list[float] = []
    told: list[EvaluatedSubNetwork] = []
    known: dict[str, EvaluatedSubNetwork] = {}

    def evaluate_once(config: Config | None, sub_network: SubNetwork) -> EvaluatedSubNetwork:
        start = time.perf_counter()
        before = (recorded or {}).get(sub_network.hash)
        measured: dict[str, Any]
        if before is not None:
            error, eval_seconds = before["error"], before["eval_seconds"]
            measured = {name: before[name] for name in ("macs", "latency_ms")}
        else:
            error = evaluate(sub_network)
            measured = dict(measure(sub_network)) if measure is not None else {}
            eval_seconds = time.perf_counter() - start
        costs = asdict(cost_model.costs(sub_network))
        evaluation = EvaluatedSubNetwork(
            index=len(evaluations),
            name=f"subnet-{len(evaluations):03d}",
            config=config,
            sub_network=sub_network,
            error=error,
            eval_seconds=eval_seconds,
            **costs,
            **measured,
        )
        evaluations.append(evaluation)
        known[sub_network.hash] = evaluation
        if not full_costs:  # the first one is the full super-network
            full_costs.update({name: getattr(evaluation, name) for name in objectives if name != "error"})
        hypervolumes.append(hypervolume_of(evaluations, objectives, full_costs))
        if on_evaluation is not None:
            on_evaluation(evaluation, hypervolumes[-1])
        told.append(evaluation)
        bar.update()
        bar.set_postfix(hypervolume=f"{hypervolumes[-1]:.4f}", refresh=False)
        return evaluation

    with progress_bar(total=min(num_samples, space.size), unit="subnet", desc="search") as bar:
        if full != space.largest:
            evaluate_once(None, full)
        repeats = 0
        try:
            while len(evaluations) < num_samples and repeats < MAX_REPEATS and _num_inside(evaluations) < space.size:
                trial = scheduler.ask()
                sub_network = space.from_config(trial.config)
                found = known.get(sub_network.hash)
                repeats = repeats + 1 if found else 0
                evaluation = found or evaluate_once(dict(trial.config), sub_network)
                scheduler.tell(trial, {name: getattr(evaluation, name) for name in objectives})
        except KeyboardInterrupt:
            if not told:
                raise
            interrupted = True
            del evaluations[len(told) :], hypervolumes[len(told) :]  # the one that was cut short
    return replace(summarise(evaluations, hypervolumes, objectives, full_costs), interrupted=interrupted)


def _num_inside(evaluations: list[EvaluatedSubNetwork]) -> int:
    return sum(1 for evaluation in evaluations if evaluation.config is not None)


def initial_design(space: SearchSpace) -> list[Config]:
    """The largest, the smallest and a middle sub-network of the space: every method starts from them."""
    return [space.to_config(sub_network) for sub_network in (space.largest, space.smallest, space.middle)]
