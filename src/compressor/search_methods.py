"""The search methods: how the next sub-network is proposed. The one file that knows Syne Tune's schedulers.

Every method is a Syne Tune searcher behind `AskTellScheduler`. Syne Tune's random searcher takes its configs from the
global random state and is for one objective, so `random_search` is a searcher of our own over the search space's draw.
Syne Tune is imported where it is used: the names of the methods are needed for `--help` too.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from compressor.errors import SearchError
from compressor.search_spaces import Config, SearchSpace

if TYPE_CHECKING:
    from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler
    from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher

SearcherFactory = Callable[[SearchSpace, list[Config], int], "BaseSearcher"]
"""From a space, the configs to begin with and a seed."""


def create_scheduler(
    method: str, space: SearchSpace, objectives: tuple[str, ...], initial_design: list[Config], seed: int
) -> "AskTellScheduler":
    """The ask/tell scheduler of a search method; all objectives are minimised.

    Raises:
        SearchError: there is no such method; the message lists those there are.
    """
    if method not in SEARCH_METHODS:
        raise SearchError(
            f"the search strategy must be one of {', '.join(SEARCH_METHODS)}, but got {method!r}. "
            "Correct --search-strategy."
        )
    from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler
    from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

    return AskTellScheduler(
        SingleFidelityScheduler(
            space.config_space(),
            metrics=list(objectives),
            do_minimize=True,
            searcher=SEARCH_METHODS[method](space, initial_design, seed),
            random_seed=seed,
        )
    )


def random_search(space: SearchSpace, initial_design: list[Config], seed: int) -> "BaseSearcher":
    """Independent draws of the search space."""
    from compressor.searchers import RandomSearcher

    return RandomSearcher(space, initial_design, seed)


SEARCH_METHODS: dict[str, SearcherFactory] = {"random_search": random_search}
