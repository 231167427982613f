"""Syne Tune's schedulers, and this is the one file that knows them: ask/tell for `search`, trials for standard NAS."""

from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler, TrialSuggestion
from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from compressor.errors import SearchError
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.methods import EARLY_STOPPING, MAX_REPEATS, SEARCH_METHODS, TRIAL_METHODS
from compressor.spaces.space import Config, SearchSpace


def create_scheduler(
    method: str, space: SearchSpace, objectives: tuple[str, ...], initial_design: list[Config], seed: int
) -> AskTellScheduler:
    """Return the ask/tell scheduler of a search method; all objectives are minimised.

    Raises:
        SearchError: there is no such method; the message lists those there are.
    """
    if method not in SEARCH_METHODS:
        raise _unknown_method(method, tuple(SEARCH_METHODS))
    return AskTellScheduler(_single_fidelity(method, space, objectives, initial_design, seed))


def create_trial_scheduler(
    method: str,
    space: SearchSpace,
    objectives: tuple[str, ...],
    initial_design: list[Config],
    *,
    num_trials: int | None,
    num_epochs: int,
    seed: int,
) -> "DistinctTrials":
    """Return the scheduler of standard NAS: at most `num_trials` different sub-networks, the super-network first.

    Raises:
        SearchError: there is no such method; the message lists those there are.
    """
    if method not in TRIAL_METHODS:
        raise _unknown_method(method, TRIAL_METHODS)
    inner = (
        SeededMoasha(space, objectives, initial_design, num_epochs, seed)
        if method == EARLY_STOPPING
        else _single_fidelity(method, space, objectives, initial_design, seed)
    )
    return DistinctTrials(inner, space, num_trials)


class SeededMoasha(MOASHA):  # type: ignore[misc]
    """MOASHA that begins with the initial design and draws from the space; Syne Tune's draws from the global state.

    After 1, 3, 9, … epochs a trial continues only if it is in the best third, by non-dominated sorting.
    """

    def __init__(
        self, space: SearchSpace, objectives: tuple[str, ...], initial_design: list[Config], num_epochs: int, seed: int
    ) -> None:
        super().__init__(
            # `epoch` is a key of what trials report; rungs lie at 1, 3, 9, … of it.
            space.config_space(),
            metrics=list(objectives),
            time_attr="epoch",
            max_t=num_epochs,
            random_seed=seed,
        )
        self._space, self._initial, self._rng = space, list(initial_design), np.random.default_rng([seed, 3])

    def suggest(self) -> TrialSuggestion:
        """Return the next config of the initial design, or a draw."""
        config = self._initial.pop(0) if self._initial else self._space.draw_config(self._rng)
        return TrialSuggestion.start_suggestion(config)

    def on_trial_add(self, trial: Trial) -> None:
        """Put a trial into the only bracket."""
        # Syne Tune draws a bracket from the global state, although there is one alone.
        self.trial_info[trial.trial_id] = self.brackets[0]


class DistinctTrials(TrialScheduler):  # type: ignore[misc]
    """Lets another scheduler propose trials, but none twice, and the super-network before all others.

    The super-network is a trial even where it lies outside of the search space (then it is unknown to the method), and
    it is never stopped early: every trade-off is read against it.
    """

    def __init__(self, inner: TrialScheduler, space: SearchSpace, num_trials: int | None) -> None:
        super().__init__(random_seed=0)
        self.inner, self.space, self._left = inner, space, num_trials
        self._full = full_sub_network(space.dimensions)
        self._outside = self._full != space.largest
        self._proposed: set[str] = set()

    def sub_network(self, config: Config) -> SubNetwork:
        """Return sub-network of a trial's config; an empty one stands for the super-network outside of the space."""
        return self.space.from_config(config) if config else self._full

    def suggest(self) -> TrialSuggestion | None:
        """Return a trial that was not proposed before; None when there are no more."""
        # Syne Tune ends when a scheduler suggests None and nothing runs any more.
        if self._left is not None and len(self._proposed) >= self._left:
            return None
        if self._outside and not self._proposed:
            self._proposed.add(self._full.hash)
            # An empty config: the method's searcher could not read one that lies outside of its space.
            return TrialSuggestion.start_suggestion({})
        for _ in range(MAX_REPEATS):
            if len(self._proposed) - self._outside >= self.space.size:
                return None
            suggestion = self.inner.suggest()
            proposal = self.sub_network(suggestion.config).hash
            if proposal not in self._proposed:
                self._proposed.add(proposal)
                return suggestion
        return None

    def on_trial_add(self, trial: Trial) -> None:
        """Delegate to the wrapped scheduler."""
        if trial.config:
            self.inner.on_trial_add(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Delegate to the wrapped scheduler."""
        if trial.config:
            self.inner.on_trial_error(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        """Return the method's decision; the super-network always continues."""
        decision: str = self.inner.on_trial_result(trial, result) if trial.config else SchedulerDecision.CONTINUE
        return SchedulerDecision.CONTINUE if self.sub_network(trial.config) == self._full else decision

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:
        """Delegate to the wrapped scheduler."""
        if trial.config:
            self.inner.on_trial_complete(trial, result)

    def on_trial_remove(self, trial: Trial) -> None:
        """Delegate to the wrapped scheduler."""
        self.inner.on_trial_remove(trial)

    def metric_names(self) -> list[str]:
        """Return the objectives."""
        return list(self.inner.metric_names())

    def metric_mode(self) -> str:
        """Return the mode of each objective: all are minimised."""
        return "min"

    def metadata(self) -> dict[str, Any]:
        """Return what Syne Tune writes down of an experiment."""
        return {"metric_names": self.metric_names(), "metric_mode": self.metric_mode()}


def _single_fidelity(
    method: str, space: SearchSpace, objectives: tuple[str, ...], initial_design: list[Config], seed: int
) -> SingleFidelityScheduler:
    return SingleFidelityScheduler(
        space.config_space(),
        metrics=list(objectives),
        do_minimize=True,
        searcher=SEARCH_METHODS[method](space, initial_design, seed),
        random_seed=seed,
    )


def _unknown_method(method: str, known: tuple[str, ...]) -> SearchError:
    return SearchError(
        f"the search strategy must be one of {', '.join(known)}, but got {method!r}. Correct --search-strategy."
    )
