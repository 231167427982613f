"""The search methods by name: how the next sub-network is proposed.

Every method is a Syne Tune searcher; `searchers.py` says why they are our own, `schedulers.py` puts them to work.
Syne Tune is imported where it is used: the names of the methods are needed for `--help` too.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from compressor.errors import SearchError
from compressor.spaces import SEARCH_SPACES
from compressor.spaces.space import Config, IntegerSpace, SearchSpace

if TYPE_CHECKING:
    from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher

SearcherFactory = Callable[[SearchSpace, list[Config], int], "BaseSearcher"]
"""From a space, the configs to begin with and a seed."""


def random_search(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
    """Propose independent draws of the search space."""
    # Imported here, as in all of them: searchers load Syne Tune, and help texts that list the methods must not.
    from compressor.search.searchers import SeededSearcher

    return SeededSearcher(space, initial_design, seed)


def local_search(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
    """Propose mutations of front members."""
    from compressor.search.searchers import LocalSearcher

    return LocalSearcher(space, initial_design, seed)


def morea(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
    """Propose by multi-objective regularised evolution."""
    from compressor.search.searchers import EvolutionSearcher

    return EvolutionSearcher(space, initial_design, seed)


def nsga2(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
    """Propose by the non-dominated sorting genetic algorithm (NSGA-II)."""
    from compressor.search.searchers import Nsga2Searcher

    return Nsga2Searcher(space, initial_design, seed)


def require_fitting_space(method: str, space: str) -> None:
    """Raise unless a search method can search the space of that name.

    Raises:
        SearchError: it cannot.
    """
    # An unknown space is refused where it is made.
    if method in _BAYESIAN and not issubclass(SEARCH_SPACES.get(space, IntegerSpace), IntegerSpace):
        raise SearchError(
            f"the search strategy {method} must have a space of a few numbers, but {space} has one bit per head "
            "and unit. Use random_search, local_search, morea or nsga2 there."
        )


_BAYESIAN = {"ehvi": "hypervolume", "lsbo": "linear", "rsbo": "random"}
"""Methods that fit a model to a few numbers, by their acquisition."""
ONE_BY_ONE = tuple(_BAYESIAN)
"""Methods whose every proposal is to be evaluated before the next: their model does not know of those on the way."""


def _bayesian(name: str, acquisition: str) -> SearcherFactory:
    def create(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
        from compressor.search.searchers import BayesianSearcher

        # Checked by the options too; this is for whoever makes a searcher without them.
        require_fitting_space(name, space.name)
        assert isinstance(space, IntegerSpace)
        return BayesianSearcher(space, initial_design, seed, acquisition)

    return create


SEARCH_METHODS: dict[str, SearcherFactory] = {
    "random_search": random_search,
    "local_search": local_search,
    "morea": morea,
    "nsga2": nsga2,
    **{name: _bayesian(name, acquisition) for name, acquisition in _BAYESIAN.items()},
}

MAX_REPEATS = 100_000
"""Proposals in a row that were made before, after which a method is taken to be exhausted."""
EARLY_STOPPING = "moasha"
"""Multi-objective asynchronous successive halving: stops trials early, so it needs trials that report each epoch."""
TRIAL_METHODS = (*SEARCH_METHODS, EARLY_STOPPING)
"""What standard NAS can use."""
