"""The loop of a multi-objective search: a method proposes, the sub-network is evaluated once and reported back.

A sub-network that was evaluated before is answered from the results and does not count. The full super-network is
always the first result, so that every trade-off is read against it.

A method is asked for a batch of proposals at once (one by default) and gets their results in the order in which it made
them, so that nothing depends on which of them was evaluated first.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from compressor.evaluation.pareto import GrowingFront, compute_hypervolume
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.progress import progress_bar
from compressor.search.journal import Recorded
from compressor.search.methods import MAX_REPEATS
from compressor.search.objectives import REFERENCE
from compressor.search.options import SearchOptions
from compressor.search.record import EvaluatedSubNetwork, SearchResult, relative_objectives, summarise
from compressor.search.schedulers import create_scheduler
from compressor.spaces.space import Config, SearchSpace

if TYPE_CHECKING:
    from syne_tune.backend.trial_status import Trial

    from compressor.network.costs import CostModel


OnEvaluation = Callable[[EvaluatedSubNetwork, float], None]
"""Called with each result and the hypervolume so far."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a search begins with."""

    recorded: Mapping[str, Recorded] = field(default_factory=dict)
    """Evaluations of an earlier, interrupted search by the sub-network's hash: they are reported back in their
    turn and not made again, so that the search resumes as if nothing had been."""
    proposed: Sequence[SubNetwork] = ()
    """Sub-networks of the space that every method begins with, after the initial design."""


def run_search(
    space: SearchSpace,
    cost_model: "CostModel",
    evaluate: Callable[[SubNetwork], float],
    options: SearchOptions | None = None,
    *,
    measure: Callable[[SubNetwork], Mapping[str, float]] | None = None,
    announce: Callable[[Sequence[SubNetwork]], None] | None = None,
    on_evaluation: OnEvaluation | None = None,
    beginning: Beginning | None = None,
) -> SearchResult:
    """Return the result of `num_samples` evaluations (fewer where the space holds fewer), its front marked.

    `evaluate` gives a sub-network's validation error, `measure` its costs by the objectives' names, parameters or not.
    `announce` gets which sub-networks will be evaluated next, so that what computes elsewhere can begin with all.
    An interruption by the user ends the search, marked in the result, once anything was evaluated.

    Raises:
        SearchError: there is no such method.
    """
    options = options or SearchOptions()
    beginning = beginning or Beginning()
    full, objectives = full_sub_network(space.dimensions), options.objectives
    design = [*initial_design(space), *map(space.to_config, beginning.proposed)]
    scheduler = create_scheduler(options.search_strategy, space, objectives, design, options.seed)
    search = _Evaluations(
        cost_model=cost_model,
        evaluate=evaluate,
        measure=measure or (lambda _: {}),
        objectives=objectives,
        on_evaluation=on_evaluation or (lambda *_: None),
        announce=announce or (lambda _: None),
        recorded=beginning.recorded,
        front=GrowingFront(len(objectives)),
    )
    interrupted = False
    with progress_bar(total=min(options.num_samples, space.size), unit="subnet", desc="search") as bar:

        def evaluate_once(config: Config | None, sub_network: SubNetwork) -> EvaluatedSubNetwork:
            evaluation = search.add(config, sub_network)
            bar.update()
            bar.set_postfix(hypervolume=f"{search.hypervolumes[-1]:.4f}", refresh=False)
            return evaluation

        # Spaces whose largest member is the full network begin with it anyway (`initial_design`).
        if full != space.largest:
            search.begin([full])
            evaluate_once(None, full)
        repeats = 0
        try:
            while len(search.made) < options.num_samples and repeats < MAX_REPEATS and search.num_inside < space.size:
                # No batch asks for more than is wanted, or a resumed search with more samples would get other batches.
                left = min(options.num_samples - len(search.made), space.size - search.num_inside)
                trials: list[Trial] = [scheduler.ask() for _ in range(min(options.batch_of_proposals or 1, left))]
                sub_networks = [space.from_config(trial.config) for trial in trials]
                search.begin(sub_networks)
                for trial, sub_network in zip(trials, sub_networks, strict=True):
                    found = search.by_hash.get(sub_network.hash)
                    # Only repeats in a row say that a method is exhausted; random draws of a small space repeat all the
                    # time.
                    repeats = repeats + 1 if found else 0
                    evaluation = found or evaluate_once(dict(trial.config), sub_network)
                    scheduler.tell(trial, {name: evaluation.objectives[name] for name in objectives})
        except KeyboardInterrupt:
            # Nothing was evaluated as a whole, so there is no result to end with.
            if not search.num_reported:
                raise
            interrupted = True
            search.drop_unreported()
    result = summarise(search.made, search.hypervolumes, objectives, search.full_costs)
    return replace(result, interrupted=interrupted)


@dataclass(kw_only=True)
class _Evaluations:
    """The evaluations of a search so far."""

    cost_model: "CostModel"
    evaluate: Callable[[SubNetwork], float]
    measure: Callable[[SubNetwork], Mapping[str, float]]
    announce: Callable[[Sequence[SubNetwork]], None]
    objectives: tuple[str, ...]
    on_evaluation: OnEvaluation
    recorded: Mapping[str, Recorded]
    front: GrowingFront
    """The front of `relative_objectives`."""
    made: list[EvaluatedSubNetwork] = field(default_factory=list)
    hypervolumes: list[float] = field(default_factory=list)
    by_hash: dict[str, EvaluatedSubNetwork] = field(default_factory=dict)
    full_costs: dict[str, float] = field(default_factory=dict)
    num_reported: int = 0
    """How many of those made, from the first on, were reported as a whole."""
    num_inside: int = 0
    """How many of those made lie in the search space."""

    def begin(self, sub_networks: Sequence[SubNetwork]) -> None:
        """Announce those that will be evaluated."""
        known = (self.by_hash, self.recorded)
        new = {one.hash: one for one in sub_networks if not any(one.hash in hashes for hashes in known)}
        self.announce(list(new.values()))

    def add(self, config: Config | None, sub_network: SubNetwork) -> EvaluatedSubNetwork:
        """Evaluate a sub-network, or take what is recorded of it."""
        # An interrupted search has recorded it under the hash of what it keeps, whatever its config was.
        before = self.recorded.get(sub_network.hash) or self._measure(sub_network)
        evaluation = EvaluatedSubNetwork(
            index=len(self.made),
            name=f"subnet-{len(self.made):03d}",
            config=config,
            sub_network=sub_network,
            error=before.error,
            eval_seconds=before.eval_seconds,
            costs=dict(before.costs),
            **asdict(self.cost_model.costs(sub_network)),
        )
        self.made.append(evaluation)
        self.by_hash[sub_network.hash] = evaluation
        if not self.full_costs:  # the first one is the full super-network
            self.full_costs.update({name: evaluation.objectives[name] for name in self.objectives if name != "error"})
        self.num_inside += config is not None
        self.hypervolumes.append(self._hypervolume_with(evaluation))
        self.on_evaluation(evaluation, self.hypervolumes[-1])
        self.num_reported += 1
        return evaluation

    def _hypervolume_with(self, evaluation: EvaluatedSubNetwork) -> float:
        """Return the hypervolume of all those made; what lies behind the front adds nothing."""
        point = relative_objectives([evaluation], self.objectives, self.full_costs)[0]
        if not self.front.add(point) and self.hypervolumes:
            return self.hypervolumes[-1]
        # Of the front alone: the hypervolume of 10⁵ points would take longer than evaluating them.
        return compute_hypervolume(self.front.points, [REFERENCE] * len(self.objectives))

    def _measure(self, sub_network: SubNetwork) -> Recorded:
        start = time.perf_counter()
        error, measured = self.evaluate(sub_network), self.measure(sub_network)
        seconds = time.perf_counter() - start
        return Recorded(
            sub_network=sub_network.hash,
            error=error,
            eval_seconds=seconds,
            # Parameters are counted for each evaluation, and are a field of their own.
            costs={name: value for name, value in measured.items() if name != "params"},
        )

    def drop_unreported(self) -> None:
        """Forget the evaluation whose report was cut short."""
        del self.made[self.num_reported :], self.hypervolumes[self.num_reported :]


def initial_design(space: SearchSpace) -> list[Config]:
    """Return the largest, the smallest and a middle sub-network of the space: every method starts from them."""
    return [space.to_config(sub_network) for sub_network in (space.largest, space.smallest, space.middle)]
